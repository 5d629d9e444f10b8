"""The command line as a person meets it: help, exit codes, one clear line for what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.cli.main import app, run
from common.data.synthetic import write_synthetic

pytestmark = pytest.mark.usefixtures("plain_files")

COMMANDS = sorted(
    str(command.callback.__name__).replace("_", "-")  # type: ignore[union-attr]
    for command in app.registered_commands
)
SMALL = ["--set", "backbone=resnet18", "--set", "weights=random", "--set", "coreset-projection=16"]


@pytest.fixture(scope="session")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "data"
    write_synthetic(folder, images=6, size=32)
    for unused in ("tank_screw", "underbody_pipes", "underbody_screw", "engine_wiring"):
        shutil.rmtree(folder / unused)
    return folder


@pytest.fixture
def data(two_parts: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return shutil.copytree(two_parts, tmp_path / "data")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))


def fails(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """Run a command that must end with exit code 2 and one line; return the line."""
    assert run([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    return lines[0]


def test_the_contract_s_commands_are_there() -> None:
    expected = {"demo", "synth", "split", "baseline", "federate", "evaluate", "report"}
    assert expected <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    assert f"Example: fedpatchcore {command}" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["baseline", "federate"])
def test_a_wrong_path_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fails(capsys, command, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert str(tmp_path / "nowhere") in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["baseline", "federate"])
def test_an_empty_folder_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    line = fails(capsys, command, tmp_path / "empty", "--out", tmp_path / "out")
    assert str(tmp_path / "empty") in line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--set", "sede=7"], "seed"),
        (["--set", "seed"], "key=value"),
        (["--set", "seed=x"], "seed"),
        (["--set", "partition=random"], "partition"),
        (["--partition", "random"], "partition"),
        (["--colour", "red"], "--colour"),
        (["--set", "weights=/no/such/file.pth"], "/no/such/file.pth"),
        (["--set", "num-stations=500"], "500"),
    ],
)
def test_unusable_settings_are_one_line(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    told: str,
) -> None:
    assert told in fails(capsys, "federate", data, "--out", tmp_path / "out", *words)


@pytest.mark.parametrize("command", ["baseline", "federate"])
def test_a_truncated_png_is_named_in_one_line(
    command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for category in ("pipe_clip", "pipe_staple"):
        broken = data / category / "train" / "good" / "0002.png"
        broken.write_bytes(broken.read_bytes()[:-40])
    line = fails(capsys, command, data, "--out", tmp_path / "out", *SMALL)
    assert "pipe_clip/train/good/0002.png" in line
    assert "truncated" in line


def test_evaluate_says_which_folders_it_takes(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "MODEL and DATA" in fails(capsys, "evaluate", data, "--out", tmp_path / "out")
    maps = tmp_path / "maps"
    line = fails(capsys, "evaluate", "--maps", maps, data, data, "--out", tmp_path / "out")
    assert "DATA" in line
    assert "no model" in fails(capsys, "evaluate", data, data, "--out", tmp_path / "out")


def test_out_may_not_be_a_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert "is a file" in fails(capsys, "baseline", data, "--out", tmp_path / "file")


def test_demo_removes_nothing_that_it_did_not_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    assert "no demo wrote" in fails(capsys, "demo", "--out", tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "years of work"


def test_synth_split_baseline_evaluate_and_maps_agree(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A baseline, its saved model evaluated again, and its exported maps: the same figures."""
    baseline, again = tmp_path / "baseline", tmp_path / "again"
    small = [*SMALL, "--set", "num-stations=2"]
    assert run(["baseline", str(data), "--out", str(baseline), *small]) == 0
    maps = str(tmp_path / "maps")
    words = ["evaluate", str(baseline), str(data), "--out", str(again), "--export-maps", maps]
    assert run(words) == 0
    theirs = tmp_path / "theirs"
    words = ["evaluate", "--maps", maps, str(data), "--out", str(theirs), "--method", "theirs"]
    assert run(words) == 0
    for category in ("pipe_clip", "pipe_staple"):
        place = Path("evaluation") / "metrics"
        first, second, third = (
            json.loads((folder / place / method / category / "metrics.json").read_text())
            for folder, method in (
                (baseline, "centralized"),
                (again, "centralized"),
                (theirs, "theirs"),
            )
        )
        assert first == second
        for limit, value in first["localization"]["auc_spro"].items():
            # Exported maps have 65,536 levels over the whole category.
            assert third["localization"]["auc_spro"][limit] == pytest.approx(value, abs=1e-3)
    stations = tmp_path / "stations"
    words = ["split", str(data), "--out", str(stations), "--stations", "3", "--partition", "iid"]
    assert run(words) == 0
    assert sorted(path.name for path in stations.iterdir()) == [
        "station-0",
        "station-1",
        "station-2",
    ]
    images = [
        sorted(
            path.relative_to(root).as_posix() for root in roots for path in root.rglob("*/good/*")
        )
        for roots in ([data], list(stations.iterdir()))
    ]
    assert images[0] == images[1]
    capsys.readouterr()


def test_a_failing_category_does_not_stop_the_others(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = data / "pipe_clip" / "train" / "good" / "0001.png"
    broken.write_bytes(b"")
    out = tmp_path / "out"
    assert run(["baseline", str(data), "--out", str(out), *SMALL, "--set", "num-stations=2"]) == 1
    summary = json.loads((out / "training_summary.json").read_text())
    assert summary["pipe_clip"]["status"] == "failed"
    assert "0001.png" in summary["pipe_clip"]["error"]
    assert summary["pipe_staple"]["status"] == "completed"
    model = json.loads((out / "model" / "model.json").read_text())
    assert list(model["rows"]) == ["pipe_staple"]
    assert "1 of 2 categories failed" in capsys.readouterr().err


def test_an_earlier_run_is_moved_aside_never_overwritten(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["baseline", str(data), "--out", str(out), *SMALL, "--set", "num-stations=2"]
    assert run([*words, "--set", "seed=1"]) == 0
    assert run([*words, "--set", "seed=2"]) == 0
    assert json.loads((out / "run.json").read_text())["seed"] == 2
    assert json.loads((tmp_path / "out.1" / "run.json").read_text())["seed"] == 1
    capsys.readouterr()


def test_real_data_without_weights_is_an_error_that_says_where_to_put_them(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("common.cli.shared.FETCH_SECONDS", 0.0)
    monkeypatch.setattr("common.patchcore.network.weights.fetch_imagenet", lambda *_: False)
    (data / "synthetic.json").unlink()
    words = ["baseline", data, "--out", tmp_path / "out"]
    line = fails(capsys, *words, "--set", "backbone=wide_resnet50_2")
    assert "wide_resnet50_2-95faca4d.pth" in line
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in line
    # Whoever chose none gets real figures of a small network, and is told which.
    assert run(list(map(str, [*words, "--set", "global-bank-size=20"]))) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "efficientnet_lite0, a smaller network with ImageNet weights, takes its place" in told
    facts = json.loads((tmp_path / "out/run.json").read_text())
    assert facts["feature_space"]["weights"] == "imagenet"
    assert facts["settings"]["backbone"] == "efficientnet_lite0"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("aggregation=mean", "federated_coreset, diversity_preserving, concatenate"),
        ("partition=random", "iid, category, dirichlet"),
        ("backbone=vgg16", "wide_resnet50_2, resnet18, resnet34, resnet50, resnet101"),
        ("image-score=mean", 'max, reweighted, top-P as "top-1" or a percentile as'),
        ("layers=layer3,layer2", "some of layer1, layer2, layer3, layer4, from shallow to deep"),
    ],
)
@pytest.mark.parametrize("command", ["federate", "baseline"])
def test_a_name_in_no_table_is_refused_before_anything_starts(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    setting: str,
    expected: str,
) -> None:
    line = fails(capsys, command, data, "--out", tmp_path / "out", "--set", setting)
    key, _, name = setting.partition("=")
    assert f"setting {key}: found {name!r}, expected " in line
    assert expected in line
    assert not (tmp_path / "out").exists()


def test_a_wrong_name_answers_at_once() -> None:
    """Neither Flower nor torch is imported to look a name up."""
    code = (
        "import sys; from common.cli.main import run; "
        "code = run(['federate', 'x', '--out', 'y', '--set', 'aggregation=mean']); "
        "print(code, [name for name in ('flwr', 'torch', 'numba') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert answer.stdout.strip() == "2 []"


def test_help_answers_at_once() -> None:
    """Without importing torch: seconds on every call otherwise."""
    code = "import sys, common.cli.main; print('torch' in sys.modules, 'matplotlib' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert answer.stdout.split() == ["False", "False"]
