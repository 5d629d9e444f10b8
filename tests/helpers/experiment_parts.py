"""A small experiment, and who listens to it."""

from __future__ import annotations

from pathlib import Path

from common.data.layout import DataIndex
from common.runs.experiment import Outcome
from common.runs.experiment_plan import PlannedRun, read_plan

TINY = """
settings:
  backbone: resnet18
  weights: random
  global-bank-size: 60
  num-workers: 0
  num-stations: 2
  device: cpu
"""


class Ears:
    """Listens to an experiment."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.left: list[float | None] = []

    def begin(self, run: PlannedRun, number: int, total: int, left: float | None) -> None:
        self.begun.append(run.name)
        self.left.append(left)

    def step(self, text: str, done: int, total: int) -> None: ...

    def end(self, outcome: Outcome) -> None: ...


def planned(plan_file: Path, text: str, index: DataIndex) -> list[PlannedRun]:
    plan_file.write_text(text + TINY, encoding="utf-8")
    plan = read_plan(plan_file)
    return plan.runs(plan.settings.with_(data_root=str(index.root)).absolute())
