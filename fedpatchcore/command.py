"""The `fedpatchcore` command's entry: answers to signals before it imports anything slow."""

from __future__ import annotations

# The C half of `signal`, as in `common.system.signals`, which is not to be found yet.
import _signal
import os
import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command in this process, which is its own: the app's packages go first in it."""
    try:
        for number in (_signal.SIGTERM, getattr(_signal, "SIGHUP", None)):  # Windows has no SIGHUP
            if number is not None and _signal.getsignal(number) != _signal.SIG_IGN:
                _signal.signal(number, _signal.default_int_handler)
        from fedpatchcore._app import put_first

        put_first()
        # The app's first import: from here on it answers by itself.
        from common.cli.entry import main as run
    except ImportError as error:
        sys.exit(f"fedpatchcore: {error}")
    except KeyboardInterrupt:
        os.write(2, b"fedpatchcore: interrupted\n")
        os._exit(_INTERRUPTED)
    run()
