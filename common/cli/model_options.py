"""What the commands that work with a model have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from common.cli.console import note
from common.data.names import normal

ModelArgument = Annotated[Path, typer.Argument(help="Model folder, or a run folder.")]
CategoryOption = Annotated[
    str | None,
    typer.Option(
        callback=lambda name: normal(name) if name else None,
        help="The part; may be left out if the model has one bank.",
    ),
]


def print_range(paths: list[Path]) -> None:
    """Warn of a camera's bits in a larger file."""
    from common.data.remarks import range_remark

    if paths and (remark := range_remark(paths)) is not None:
        note(remark)


def short(path: Path) -> str:
    """Name an image by its folder and file."""
    return str(Path(path.parent.name) / path.name)
