"""A line service on a real socket: in a thread of the test, or as the process a plant starts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from common.line.journal import Journal, KeepRule
from common.line.models.admission import StationRules
from common.line.service.access import Tokens
from common.line.service.bounds import Bounds
from common.line.service.resident import ModelSource, PlainFolder
from common.line.service.server import Address, bind, run_server
from common.line.service.service import Service

PARTS = "/api/v1/parts"


@dataclass
class Running:
    """A service that answers."""

    url: str
    service: Service
    tokens: Tokens

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, **options)


@contextmanager
def running(
    source: Path | ModelSource,
    journal: Path,
    bounds: Bounds | None = None,
    address: Address | None = None,
    station: str | None = None,
    rules: StationRules | None = None,
) -> Iterator[Running]:
    """Serve in a thread, on a free port of this machine."""
    address = address or Address(port=0)
    source = PlainFolder(source) if isinstance(source, Path) else source
    tokens, own, said = Tokens(journal), bind(address), threading.Event()
    urls: list[str] = []
    service = Service(
        source,
        Journal(journal, keep=KeepRule(one_in=1)),
        bounds or Bounds(),
        station=station,
        rules=rules,
    )

    def ready(url: str) -> None:
        urls.append(url)
        said.set()

    thread = threading.Thread(target=run_server, args=(service, address, tokens, own, ready))
    thread.start()
    try:
        assert said.wait(20)
        yield Running(urls[0], service, tokens)
    finally:
        service.end()
        thread.join(30)
        service.close()
        own.close()
    assert not thread.is_alive()


def start(*arguments: str, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start `fedpatchcore serve` as a process; returns it and its URL when it listens."""
    command = [sys.executable, "-c", "from common.cli.main import main; main()", "serve"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *arguments, "--port", "0"],
            env=environment,
            cwd=Path(__file__).parents[2],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + 180  # beside whole plants a start may take a minute
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"listening on (https?://\S+)", log.read_text()):
            return process, found[1]
        time.sleep(0.05)
    process.kill()
    raise AssertionError(log.read_text())


def post(client: httpx.Client, image: Path, category: str = "plate", **more: str) -> httpx.Response:
    """Post a part as a line does."""
    return client.post(
        PARTS,
        files={"image": (image.name, image.read_bytes())},
        data={"category": category, **more},
    )
