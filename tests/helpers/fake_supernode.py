"""In the place of `flower-supernode`: does what the file beside its cache says, then the next.

Each start takes one word from `plan` (the last one again and again):
`talk` answers and asks without end, `mute` says a word and then nothing, `dumb` says nothing at
all, `exit:CODE:LINE` prints and ends, `stubborn` talks and ignores SIGTERM, `family` talks and
leaves a child in a session of its own, `broken-heartbeat` talks and prints what a real one does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    options = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
    folder = Path(os.environ["FAKE_FOLDER"])
    starts = folder / "starts.jsonl"
    number = len(starts.read_text().splitlines()) if starts.exists() else 0
    told = {
        "time": time.monotonic(),
        "pid": os.getpid(),
        "options": options,
        "environment": dict(os.environ),
        "session": os.getsid(0) == os.getpid(),
    }
    with starts.open("a") as file:
        file.write(json.dumps(told) + "\n")
    plan = (folder / "plan").read_text().split("\n")
    word = plan[min(number, len(plan) - 1)]
    if word.startswith("exit:"):
        _, code, line = word.split(":", 2)
        print(line, flush=True)
        sys.exit(int(code))
    if word == "dumb":
        time.sleep(600)
    if word == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if word == "family":
        child = [sys.executable, "-c", "import time; time.sleep(600)"]
        for detached in (True, False):
            subprocess.Popen(child, start_new_session=detached)
    host, port = options["superlink"].split(":")
    talk(host, int(port), word)


def talk(host: str, port: int, word: str) -> None:
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host, port), timeout=5) as one,
        ):
            one.sendall(b"hello")
            if one.recv(100):
                print("INFO :      SuperNode ID: 7", flush=True)
            if word == "mute":
                time.sleep(600)
            if word == "broken-heartbeat":
                print("Exception in thread Thread-2 (_run):\n  in send_node_heartbeat", flush=True)
            while True:
                one.sendall(b"again")
                if not one.recv(100):
                    break
                time.sleep(0.1)
        time.sleep(0.1)


main()
