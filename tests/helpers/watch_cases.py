"""A watching process, as a station would start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def start_watching(model: Path, folder: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    """Start `fedpatchcore inspect MODEL --watch FOLDER` as a process of its own."""
    command = [sys.executable, "-c", "from common.cli.main import main; main()"]
    command += ["inspect", str(model), "--watch", str(folder), "--out", str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, cwd=Path(__file__).parents[2])


def journal_lines(out: Path) -> list[dict[str, Any]]:
    """Whole lines of a journal but its header; none if there is no journal yet."""
    path = out / "journal.jsonl"
    text = path.read_bytes() if path.is_file() else b""
    return [json.loads(line) for line in text[: text.rfind(b"\n") + 1].splitlines()[1:]]
