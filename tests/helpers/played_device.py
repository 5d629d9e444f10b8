"""A device that the CPU plays: torch takes `cpu:0` for the CPU, and the product does not.

`play` makes it the device of every network made from then on; the other functions make it lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from plain_loops import plain_up_to
from torch import nn

from client_app import computing
from common.patchcore.exact import device, device_cover, device_proof, device_search
from common.patchcore.exact.device_filter import DeviceTable
from common.patchcore.network import backbone
from common.patchcore.network.backbone import FeatureExtractor

PLAYED = torch.device("cpu:0")
CRASH = "CUDA error: an illegal memory access was encountered"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process: no device was tried yet, none failed; also small work goes to it."""
    monkeypatch.setattr(device, "_failed", {})
    monkeypatch.setattr(device, "_notices", {})
    monkeypatch.setattr(device_proof, "_proved", set())
    plain_up_to(monkeypatch, 0)
    computing._load_extractor.cache_clear()


def play(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every network ask for the played device."""
    forget(monkeypatch)
    monkeypatch.setattr(backbone, "choose_device", lambda name: PLAYED)


class Calls:
    """Counts what the device does, and lets it break off."""

    def __init__(self) -> None:
        self.selecting = self.searching = self.images = 0

    def watch(self, monkeypatch: pytest.MonkeyPatch, **crashes: tuple[int, Exception]) -> Calls:
        """Count; `selecting=(3, error)` raises the error from the third call on."""

        def count(step: str) -> None:
            setattr(self, step, getattr(self, step) + 1)
            first, error = crashes.get(step, (10**9, None))
            if error is not None and getattr(self, step) >= first:
                raise error

        def table(step: str) -> type[DeviceTable]:
            class Watched(DeviceTable):
                def merge(self, *arguments: Any) -> None:
                    count(step)
                    super().merge(*arguments)

            return Watched

        run = FeatureExtractor._run_modules

        def modules(
            extractor: FeatureExtractor, stages: nn.ModuleDict, x: torch.Tensor
        ) -> Iterator[tuple[str, torch.Tensor]]:
            count("images")
            return run(extractor, stages, x)

        monkeypatch.setattr(device_cover, "DeviceTable", table("selecting"))
        monkeypatch.setattr(device_search, "DeviceTable", table("searching"))
        monkeypatch.setattr(FeatureExtractor, "_run_modules", modules)
        return self


class Forgetful(DeviceTable):
    """Keeps its rows wrongly."""

    def append(self, end: int) -> None:
        super().append(end)
        self._doubled[:end] *= 0.5


def lie(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Let the device compute a step wrongly: picks, neighbours, features."""
    if step == "picks":
        monkeypatch.setattr(device_cover, "DeviceTable", Forgetful)
    elif step == "neighbours":
        monkeypatch.setattr(device_search, "DeviceTable", Forgetful)
    else:
        run = FeatureExtractor._run_modules

        def wrong(*arguments: Any) -> Iterator[tuple[str, torch.Tensor]]:
            return ((name, x * (1 + 5e-4)) for name, x in run(*arguments))

        monkeypatch.setattr(FeatureExtractor, "_run_modules", wrong)
