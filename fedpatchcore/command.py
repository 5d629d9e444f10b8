"""The `fedpatchcore` command's entry."""

from __future__ import annotations

import sys

from fedpatchcore._app import put_first


def main() -> None:
    """Run the command in this process, which is its own: the app's packages go first in it."""
    try:
        put_first()
    except ImportError as error:
        sys.exit(f"fedpatchcore: {error}")
    from common.cli.main import main as run

    run()
