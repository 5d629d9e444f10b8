"""The command's entry: the signals before all else, then the imports, which take a second."""

from __future__ import annotations

from common.system.signals import begin

begin()  # on import: whoever imports this is the command


def main() -> None:
    """Run the command in this process, which is its own."""
    import sys

    if sys.platform == "win32":
        sys.exit(
            "fedpatchcore: runs on Linux and macOS, as Flower's simulation does; on Windows run it "
            "in WSL 2 (`wsl --install`) or in a Linux container"
        )
    from common.cli.main import main as run

    run()
