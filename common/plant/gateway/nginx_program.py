"""The nginx of this machine: where it is, what it can, and whether it takes a configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.errors import InputError

INSTALL: Final = "apt-get install nginx libnginx-mod-stream"
"""Debian's and Ubuntu's; other systems name the two alike."""
OLDEST: Final = (1, 21, 1)
"""Older ones let a request pass that has two lengths."""
SECONDS: Final = 30.0
_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin")
"""Not on the PATH of everybody."""
_STREAM: Final = "ngx_stream_module.so"


@dataclass(frozen=True)
class Nginx:
    """A program that can do what the gateway needs.

    Attributes
    ----------
    path : str
    version : tuple of int
    built : str
        The words with which it was built.
    module : Path or None
        Its stream module, where that is a file of its own.
    """

    path: str
    version: tuple[int, ...]
    built: str
    module: Path | None

    def command(self, folder: Path, *words: str) -> list[str]:
        """Start it with the configuration in a folder, its lines to standard error."""
        return [self.path, "-p", f"{folder}/", "-e", "stderr", "-c", "nginx.conf", *words]

    def preamble(self) -> str:
        """Directives that depend on how it was built and on who runs it."""
        lines = [f'load_module "{self.module}";'] if self.module else []
        # Workers of another user could not reach the sockets in the private folder.
        lines += ["user root;"] if os.geteuid() == 0 else []
        return "\n".join(lines)

    def folders(self) -> str:
        """Directives that keep its temporary files out of the system's folders."""
        kinds = ["client_body", "proxy", *("fastcgi", "uwsgi", "scgi")]
        return "\n".join(
            f"{kind}_temp_path {kind};"
            for kind in kinds
            if f"--without-http_{kind}_module" not in self.built
        )

    def refusal(self, folder: Path, configuration: str) -> str:
        """Why it does not take a configuration; "" if it does.

        Parameters
        ----------
        folder : Path
            In which it runs or shall run; written there is `trial.conf` alone.
        configuration : str
        """
        trial = folder / "trial.conf"
        trial.write_text(configuration)
        command = [self.path, "-t", "-q", "-p", f"{folder}/", "-e", "stderr", "-c", trial.name]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"nginx could not be asked ({error})"
        if done.returncode == 0:
            return ""
        lines = [line for line in done.stderr.splitlines() if "[emerg]" in line]
        return "; ".join(plain(line) for line in lines) or done.stderr.strip()[-500:]


def find_nginx() -> Nginx:
    """Find nginx with its stream module.

    Raises
    ------
    InputError
        With the line that installs what is missing.
    """
    path = shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))
    if path is None:
        raise InputError(
            f"nginx: not found on PATH, nor in {' nor '.join(_FOLDERS)}; the gateway runs it: "
            f"{INSTALL}"
        )
    try:
        done = subprocess.run(
            [path, "-V"], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{path}: cannot be run ({error}); install it: {INSTALL}") from error
    built = done.stderr
    found = re.search(r"version: \S+?/(\d+)\.(\d+)\.(\d+)", built)
    if not found:
        raise InputError(f"{path}: is no nginx, as `{path} -V` says; install it: {INSTALL}")
    version = tuple(int(number) for number in found.groups())
    if version < OLDEST:
        raise InputError(
            f"{path}: is version {'.'.join(found.groups())}; expected "
            f"{'.'.join(map(str, OLDEST))} or later: {INSTALL}"
        )
    return Nginx(path, version, built, _stream(path, built))


def plain(line: str) -> str:
    """What a line of nginx's error log says, without time, level and numbers."""
    return re.sub(r"^\S+ \S+ \[\w+\] \d+#\d+: (\*\d+ )?", "", line)


def _stream(path: str, built: str) -> Path | None:
    """The stream module; None where it is built in."""
    words = set(built.split())
    lacking = [
        word for word in ("--with-http_ssl_module", "--with-stream_ssl_module") if word not in words
    ]
    if lacking or not words & {"--with-stream", "--with-stream=dynamic"}:
        raise InputError(
            f"{path}: was built without its stream or TLS modules; install one with them: {INSTALL}"
        )
    if "--with-stream" in words:
        return None
    option = re.search(r"--modules-path=(\S+)", built)
    prefix = re.search(r"--prefix=(\S+)", built)
    folder = Path(option[1] if option else f"{prefix[1] if prefix else '/usr/local/nginx'}/modules")
    if not (folder / _STREAM).is_file():
        raise InputError(
            f"{path}: its stream module {folder / _STREAM} is not installed: {INSTALL}"
        )
    return folder / _STREAM
