"""Processes of Flower's that our commands start: their environment, and how they end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from common.errors import RunError
from common.system.ending import undone

# Jupyter sets these for everything below it; coloured JSON is no JSON.
END_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_FORCED_COLOR: Final = frozenset({"FORCE_COLOR", "CLICOLOR_FORCE", "PY_COLORS"})
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LIBC: Final = ctypes.CDLL(None)


def tool(name: str) -> str:
    """Path of a command that was installed with this Python, such as `flwr`.

    Raises
    ------
    RunError
        If it is neither beside the interpreter nor where `pip install --user` puts commands.
    """
    folders = [str(Path(sys.executable).parent), sysconfig.get_path("scripts", "posix_user")]
    if found := shutil.which(name, path=os.pathsep.join(folders)):
        return found
    raise RunError(
        f"{name}: a command of Flower, in neither {' nor '.join(folders)}; install fedpatchcore "
        f"and what it needs into an environment of its own (`{sys.executable} -m venv FOLDER`)"
    )


def flower_environment(home: Path) -> dict[str, str]:
    """Environment of Flower's processes: ours, with a home of their own and no calls home.

    Parameters
    ----------
    home : Path
        Folder for `FLWR_HOME`, private to the process.

    Returns
    -------
    dict
        For `subprocess.Popen(env=...)`. This machine's own ports are reached without a proxy:
        a plant's network has one, which knows nothing of them.
    """
    tools = str(Path(tool("flwr")).parent)
    return {
        **{name: value for name, value in os.environ.items() if name not in _FORCED_COLOR},
        "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
        # It prints more than an ASCII terminal can show, and we read it.
        "PYTHONIOENCODING": "utf-8",
        **{name: _without_proxy(os.environ.get(name)) for name in ("no_proxy", "NO_PROXY")},
    }


def end_with_parent() -> None:
    """Let a process end when this one is killed outright; a `preexec_fn`.

    Notes
    -----
    Linux ties this to the thread that starts the process: start it from one that lives as long
    as the process shall.
    """
    if hasattr(_LIBC, "prctl"):  # Linux
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none is lost from sight."""
    if hasattr(_LIBC, "prctl"):  # Linux
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children_of(pid: int) -> set[int]:
    """Ids of the processes whose parent is `pid`, ended ones included; empty without /proc."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in brackets, may hold anything; state and parent follow it.
            parent = path.read_bytes().rpartition(b")")[2].split()[1]
            if int(parent) == pid:
                found.add(int(path.parent.name))
    return found


@contextlib.contextmanager
def session(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that leads a session of its own; it and all below it end with the block.

    Parameters
    ----------
    command : sequence of str
    environment : mapping
        As `flower_environment` gives it: its `FLWR_HOME` is how processes are known again that
        left the session, as Flower's simulation and Ray's do.
    folder : Path
        Its working directory.
    log : Path
        Gets what it prints.
    """

    def start() -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )

    def stop(process: subprocess.Popen[bytes]) -> None:
        stop_session(process)
        _kill_marked(f"FLWR_HOME={environment['FLWR_HOME']}".encode())

    with undone(start, stop) as process:
        yield process


def _kill_marked(mark: bytes, patience: float = 10.0) -> None:
    """Kill every process that has this in its environment, until none is left; needs /proc."""
    until, quiet = time.monotonic() + patience, 0
    while quiet < 2 and time.monotonic() < until:
        found = _marked(mark)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        quiet = 0 if found else quiet + 1  # one may just have started another
        time.sleep(0.05)


def _marked(mark: bytes) -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes().split(b"\0"):
                found.add(int(path.parent.name))
    return found - {os.getpid()}


def stop_session(process: subprocess.Popen[bytes], patience: float = 10.0) -> None:
    """End a process that leads a session, and everything else in it; twice `patience` seconds."""
    for way in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, way)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            break
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """Ports of this machine's loopback that nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _without_proxy(known: str | None) -> str:
    """Hosts that are reached directly: those known, and this machine."""
    return ",".join(filter(None, [known, "127.0.0.1", "localhost"]))
