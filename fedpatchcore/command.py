"""The `fedpatchcore` command's entry."""

from __future__ import annotations

import os
import sys

from fedpatchcore._app import put_first

_INTERRUPTED = 130


def main() -> None:
    """Run the command in this process, which is its own: the app's packages go first in it."""
    try:
        put_first()
        # The first import of the app's: from here on it answers to signals by itself.
        from common.cli.entry import main as run
    except ImportError as error:
        sys.exit(f"fedpatchcore: {error}")
    except KeyboardInterrupt:
        os.write(2, b"fedpatchcore: interrupted\n")
        sys.exit(_INTERRUPTED)
    run()
