"""A service as a process of its own, for the benchmarks: started, asked, ended."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

START, END = 120, 60


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve `folder/model` with its journal in `folder/journal`; gives the address."""
    command = [sys.executable, "-c", "from common.cli.main import main; main()"]
    command += ["serve", str(folder / "model")]
    command += ["--journal", str(folder / "journal"), "--port", "0", "--set", "device=cpu"]
    log = folder / "serve.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + START
        while (told := re.search(r"listening on (https?://\S+)", log.read_text())) is None:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the service did not start:\n{log.read_text()}")
            time.sleep(0.1)
        yield told[1]
    finally:
        process.terminate()
        process.wait(END)


def post(client: httpx.Client, image: Path) -> dict[str, Any]:
    """Post a picture; the verdict."""
    files = {"image": (image.name, image.read_bytes())}
    answer = client.post("/api/v1/parts", files=files, data={"category": "part"})
    answer.raise_for_status()
    entry: dict[str, Any] = answer.json()
    return entry
