"""Settings of an earlier run: read from its record the same way, whatever they are wanted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.config import Settings
from common.errors import InputError
from common.plant.server.redelivery import delivering
from common.plant.server.resuming import resumed


def left(runs: Path, status: str, **changes: Any) -> None:
    """A run's folder as a plant writes it: no path is told."""
    settings = {**Settings(seed=7).to_run_config(), "data-root": "", "output-dir": "", **changes}
    (runs / "5" / "model").mkdir(parents=True)
    (runs / "5" / "model" / "model.json").write_text("{}")
    (runs / "5" / "run.json").write_text(json.dumps({"status": status, "settings": settings}))


READ: dict[str, tuple[str, Callable[[Path], Settings]]] = {
    "resume": ("failed", lambda runs: resumed("5", runs)),
    "deliver": ("completed", lambda runs: delivering("5", runs, ["gate"])),
}


@pytest.mark.parametrize("what", READ)
def test_what_the_record_tells_is_taken_and_paths_are_as_by_default(
    what: str, tmp_path: Path
) -> None:
    status, read = READ[what]
    left(tmp_path, status)
    found = read(tmp_path)
    assert (found.seed, found.output_dir) == (7, Settings().output_dir)


@pytest.mark.parametrize("what", READ)
def test_a_setting_that_nobody_knows_is_one_error_that_says_what_to_do(
    what: str, tmp_path: Path
) -> None:
    status, read = READ[what]
    left(tmp_path, status, **{"a-later-setting": 1})
    with pytest.raises(
        InputError, match=r"its settings cannot be used: .*a-later-setting.*; "
    ) as e:
        read(tmp_path)
    assert "\n" not in str(e.value)
    assert "5" in str(e.value).split(":")[0]
