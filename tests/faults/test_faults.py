"""The fault factory: every fault through every command that it touches.

What a user gets is the result of the clean twin, or is told what is wrong: never a traceback, and
never another result without a word.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import folders
import images
import machines
import masks
import models
import names
import pytest
from cases import SMALL, Case, Expected, Make, Place
from commands import Results, arguments, results
from inspection_cases import SIZE, draw_part
from local_grid import run_local
from pictures import draw_mask

import experiments
from common.cli.main import run
from common.config import Settings
from common.errors import RunError

MODULES = (folders, images, masks, names, models, machines, experiments)
CASES: dict[str, Case] = {
    f"{module.__name__}: {case.name}": case for module in MODULES for case in module.CASES
}
RUNS = [(name, command) for name, case in CASES.items() for command in case.expect]


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One plate in MVTec's layout, pictures of it, a model of it and an experiment with it."""
    place = Place(tmp_path_factory.mktemp("factory") / "clean")
    for number in range(6):
        draw_part(place.home / f"train/good/{number:03d}.png", number)
    for number in range(2):
        draw_part(place.home / f"test/good/{number:03d}.png", 100 + number)
        draw_part(place.home / f"test/cut/{number:03d}.png", 200 + number, defect=True)
        draw_mask(place.home / f"ground_truth/cut/{number:03d}_mask.png")
        draw_part(place.photos / f"{number}.png", 300 + number)
        draw_part(place.parts / f"{number}.png", 400 + number)
    draw_part(place.photos / "2.png", 302, defect=True)
    lines = "".join(
        f"  {setting.replace('=', ': ')}\n"
        for setting in ("device=cpu", "num-workers=0", *SMALL)
        if not setting.startswith("partition")
    )
    place.plan.write_text(f"data: data\nmethods: [centralized]\nsettings:\n{lines}")
    with pytest.MonkeyPatch.context() as patch:
        surroundings(place, patch)
        words = arguments("baseline", place)
        words[words.index("--out") + 1] = str(place.run)
        assert run(words) == 0
    return place


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("factory-cache")


def surroundings(place: Place, patch: pytest.MonkeyPatch) -> None:
    """Stand in the place; leave out pictures and pages, which cost most and are not compared."""
    patch.chdir(place.root)
    patch.setattr("common.runs.output.write_run_plots", lambda folder: [])
    patch.setattr("common.runs.output.write_report", lambda folders, out, **more: out)
    patch.setattr("common.runs.experiment.write_report", lambda folders, out, **more: out)
    patch.setattr("common.runs.simulation.run_simulation", simulated)
    for name, value in place.environment.items():
        patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)


def simulated(settings: Settings, on_step: Any = None) -> Path:
    """Server and stations in this process instead of Flower's simulation."""
    finished = run_local(settings.absolute())
    if finished.error is not None:
        raise RunError(f"the Flower run ended as failed: {finished.error}")
    return finished.folder


def called(command: str, place: Place) -> tuple[int, str, str]:
    """Run a command in its place; its exit code, and what it wrote to a strict terminal."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    out, err = streams
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        surroundings(place, patch)
        code = run(arguments(command, place))
    said, complained = (stream.buffer.getvalue().decode() for stream in streams)  # type: ignore[attr-defined]
    return code, said, complained


Twins = Callable[[Make | None, str], Results]


@pytest.fixture(scope="session")
def twins(clean: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """Results of a clean twin, computed once."""
    known: dict[tuple[Make | None, str], Results] = {}

    def twin(make: Make | None, command: str) -> Results:
        if (make, command) not in known:
            place = clean.copy(tmp_path_factory.mktemp("twin") / "place")
            if make is not None:
                make(place)
            code, said, complained = called(command, place)
            assert code == 0, complained
            known[make, command] = results(command, place, said)
        return known[make, command]

    return twin


@pytest.mark.usefixtures("flower_task")
@pytest.mark.parametrize(("name", "command"), RUNS, ids=[f"{n} - {c}" for n, c in RUNS])
def test_the_right_result_or_one_line_that_says_what_to_mend(
    name: str, command: str, clean: Place, twins: Twins, cache: Path, tmp_path: Path
) -> None:
    case = CASES[name]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEDPATCHCORE_CACHE", str(cache))
        place = clean.copy(tmp_path / "place")
        case.make(place)
        code, said, complained = called(command, place)
        expected = case.expect[command]
        told = " ".join(f"{said} {complained}".split())
        assert "Traceback" not in told
        assert "internal error" not in told, complained
        assert not [word for word in expected.words if word not in told], told
        found = {} if expected.ending == "told" else results(command, place, said)
        if expected.ending == "same":
            assert code == 0, complained
            compare(found, twins(case.twin, command), case.renamed)
        elif expected.ending == "told":
            assert code in (0, 1), complained
        else:
            assert one_line(complained)
            judge_failure(expected, code, found, lambda: twins(case.twin, command), told)


def one_line(complained: str) -> bool:
    lines = [line for line in complained.splitlines() if line.strip()]
    assert len(lines) == 1, complained
    return lines[0].startswith("fedpatchcore: ")


def compare(found: Results, twin: Results, renamed: bool) -> None:
    """Equal, by name or, where names differ, in order."""
    assert twin
    if renamed:
        assert [numbers(own) for own in found.values()] == [numbers(own) for own in twin.values()]
    else:
        assert list(found) == list(twin)
        assert [name for name, value in found.items() if value != twin[name]] == []


def numbers(value: Any) -> list[str]:
    """What is left of a result without its names."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return sorted(number for part in parts for number in numbers(part))
    return [] if value is None or isinstance(value, str) else [repr(value)]


def judge_failure(
    expected: Expected, code: int, found: Results, twin: Callable[[], Results], told: str
) -> None:
    """Exit code 2 before the work; 1 during it, and what was done stays as the twin has it."""
    if expected.ending == "refused":
        assert (code, found) == (2, {}), told
    else:
        assert code == 1 or (code == 2 and expected.ending == "stopped"), told
        if expected.ending == "stopped":  # figures of fewer images: it is said which are missing
            found = {name: own for name, own in found.items() if "figures" not in name}
        others = twin() if found else {}
        assert [name for name in found if found[name] != others.get(name)] == []


def test_there_are_enough_faults_of_each_kind() -> None:
    assert len(CASES) == sum(len(module.CASES) for module in MODULES)
    assert len(CASES) >= 100
    assert SIZE[0] * SIZE[1] < 4000, "tiny pictures, or the factory takes minutes"
