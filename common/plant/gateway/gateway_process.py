"""The gateway as a process of its own: little but what watches nginx, so that it stays small."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from common.errors import FedPatchCoreError, RunError
from common.plant.gateway.gateway import Gateway
from common.system.service_log import log_to_output


def become_gateway(
    keys: Path, superlink: tuple[str, int], host: str, port: int, health_port: int
) -> NoReturn:
    """Check everything, then let this process become the gateway; see `Gateway`.

    Raises
    ------
    InputError
        If a file is missing or wrong, nginx is not there, or the address cannot be used.
    """
    Gateway(keys, superlink, host, port, health_port).try_out()
    words = [str(keys.absolute()), superlink[0], str(superlink[1]), host, str(port)]
    # -P: whatever lies in the folder of whoever starts it is none of ours.
    command = [sys.executable, "-P", "-m", "common.plant.gateway.gateway_process", *words]
    try:
        os.execv(sys.executable, [*command, str(health_port)])
    except OSError as error:
        raise RunError(f"{sys.executable} cannot be started ({error})") from error


async def _serve(gateway: Gateway) -> None:
    told_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_end.set)
    await gateway.run(told_to_end)


def main(words: list[str]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    parser = argparse.ArgumentParser(prog="gateway")
    parser.add_argument("keys", type=Path)
    parser.add_argument("superlink")
    parser.add_argument("superlink_port", type=int)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("health_port", type=int)
    given = parser.parse_args(words)
    log_to_output("gateway")
    superlink = (given.superlink, given.superlink_port)
    try:
        asyncio.run(
            _serve(Gateway(given.keys, superlink, given.host, given.port, given.health_port))
        )
    except FedPatchCoreError as error:
        print(f"fedpatchcore: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
