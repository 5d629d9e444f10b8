"""What a case of the fault factory is: a place gone wrong, and what each command makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

FAST = ("device=cpu", "num-workers=0")
SMALL = (
    *("backbone=resnet18", "weights=random", "global-bank-size=60", "local-coreset-ratio=0.5"),
    *("coreset-projection=16", "calibration-fraction=0.5", "num-stations=2", "partition=iid"),
)
"""Six training images of 48 x 72 pixels, three of them held out."""


@dataclass
class Place:
    """Everything that commands get, in a folder that a case may spoil.

    Attributes
    ----------
    root : Path
        Working folder of the commands.
    data, photos, parts, run, plan, out
        Data folder, pictures to judge, good parts to add, a finished run with its model, an
        experiment file, and where commands write: a folder in `out` for each command.
    options : dict
        More arguments by command.
    environment : dict
        Variables to set; None removes one.
    """

    root: Path
    data: Path = field(init=False)
    photos: Path = field(init=False)
    parts: Path = field(init=False)
    run: Path = field(init=False)
    plan: Path = field(init=False)
    out: str = "out"
    options: dict[str, list[str]] = field(default_factory=dict)
    environment: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("data", "photos", "parts", "run"):
            setattr(self, name, self.root / name)
        self.plan = self.root / "plan.yaml"

    @property
    def home(self) -> Path:
        """The category."""
        return self.data / "plate"

    @property
    def model(self) -> Path:
        return self.run / "model"

    @property
    def first(self) -> Path:
        """The first training image."""
        return self.home / "train/good/000.png"

    @property
    def cut(self) -> Path:
        """The first defective image."""
        return self.home / "test/cut/000.png"

    @property
    def mask(self) -> Path:
        """Its mask."""
        return self.home / "ground_truth/cut/000_mask.png"

    def set(self, command: str, *settings: str) -> None:
        """Give a command settings."""
        for setting in settings:
            self.options.setdefault(command, []).extend(("--set", setting))

    def copy(self, root: Path) -> Place:
        """Lay the same out elsewhere; only for a place that is as it was made."""
        shutil.copytree(self.root, root, symlinks=True)
        return Place(root)


Make = Callable[[Place], object]
Ending = Literal["same", "refused", "failed", "stopped", "told"]


@dataclass(frozen=True)
class Expected:
    """How one command ends.

    Attributes
    ----------
    ending : str
        `same`: exit code 0 and the results of the clean twin. `refused`: exit code 2, one line,
        nothing written. `failed`: exit code 1, the line says what; what was done equals the twin's.
        `stopped`: one of the two; figures may be those of fewer images.
        `told`: exit code 0 or 1, and the fault is named: the user knows that results are others.
    words : tuple of str
        All of them are in what the command says.
    """

    ending: Ending
    words: tuple[str, ...] = ()


same = Expected("same")


def refused(*words: str) -> Expected:
    return Expected("refused", words)


def failed(*words: str) -> Expected:
    return Expected("failed", words)


def stopped(*words: str) -> Expected:
    return Expected("stopped", words)


def told(*words: str) -> Expected:
    return Expected("told", words)


def every(commands: str, expected: Expected) -> dict[str, Expected]:
    """The same of several commands, named in one text."""
    return dict.fromkeys(commands.split(), expected)


RUNS = "baseline federate"
READERS = "check explore evaluate baseline federate"
"""Commands that look a data folder over."""
JUDGES = "inspect watch"


@dataclass(frozen=True)
class Case:
    """One fault.

    Attributes
    ----------
    name : str
    make : callable (Place)
        Spoils the place.
    expect : mapping
        Command -> how it ends.
    twin : callable (Place), optional
        Makes the clean twin; without one it is the place as it was.
    renamed : bool
        Names differ from the twin's, their order does not: results are compared in order.
    """

    name: str
    make: Make
    expect: Mapping[str, Expected]
    twin: Make | None = None
    renamed: bool = False
