"""Settings that a command would take and ignore are refused, or told in a comparison."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from saved_models import write_facts

from common.cli.main import run
from common.config import Settings
from common.errors import InputError
from common.runs.experiment_plan import read_plan
from common.runs.honoured import FEDERATED_ONLY, REFUSED, require_used, unused

pytestmark = pytest.mark.usefixtures("plain_files")

KEYS = tuple(Settings().to_run_config())


def test_every_refused_key_is_a_setting() -> None:
    for command, keys in REFUSED.items():
        assert set(keys) <= set(KEYS), command
        for key in keys:
            with pytest.raises(InputError, match=rf"^{command} does not use the setting {key}: "):
                require_used(command, [f"{key}=1"])
    assert set(FEDERATED_ONLY) <= set(KEYS)


@pytest.mark.parametrize(
    ("command", "used"),
    [
        ("inspect", {"device", "batch-size", "num-workers", "weights", "image-score"}),
        ("evaluate", {"device", "batch-size", "num-workers", "weights", "image-score"}),
        ("add", {"device", "batch-size", "num-workers", "weights"}),
        ("calibrate", {"device", "batch-size", "num-workers", "weights"}),
        ("evaluate --maps", set()),
    ],
)
def test_what_a_command_with_a_model_takes(command: str, used: set[str]) -> None:
    """Where and how to compute; and the feature space, which is compared with the model's."""
    space = {"backbone", "layers", "neighborhood-size", "image-size", "precision"}
    assert set(KEYS) - set(REFUSED[command]) == (used | space if used else set())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["inspect", "{model}", "{image}", "--out", "{out}", "--set", "{rate}"],
            "inspect does not use the setting target-false-alarm-rate: judge by another score",
        ),
        (
            ["evaluate", "{model}", "{data}", "--out", "{out}", "--set", "{rate}"],
            "evaluate does not use the setting target-false-alarm-rate",
        ),
        (
            ["evaluate", "--maps", "{data}", "{data}", "--out", "{out}", "--set", "batch-size=2"],
            "evaluate --maps does not use the setting batch-size",
        ),
        (
            ["evaluate", "--maps", "{data}", "{data}", "--out", "{out}", "--set", "{score}"],
            "evaluate --maps does not use the setting image-score: an image's score is the "
            "maximum of its map (reweighted, for one, needs patches and a memory bank",
        ),
        (
            ["add", "{model}", "{image}", "--set", "global-bank-size=900"],
            "add does not use the setting global-bank-size: say with --rows",
        ),
        (
            ["baseline", "{data}", "--out", "{out}", "--set", "output-dir=x"],
            "baseline does not use the setting output-dir: give it with --out",
        ),
        (
            ["federate", "{data}", "--out", "{out}", "--set", "data-root=x"],
            "federate does not use the setting data-root: give the data folder as DATA",
        ),
        (
            ["federate", "{data}", "--out", "{out}", "--partition=iid", "--set=partition=category"],
            "--partition iid and --set partition=category: give one of them",
        ),
        (
            ["demo", "--out", "{out}", "--set", "data-root=x"],
            "demo does not use the setting data-root",
        ),
        (
            ["check", "--station", "{data}", "--set", "partition=iid"],
            "check --station does not use the setting partition: in a plant the images lie where",
        ),
        (
            ["plant", "run", "--keys=x", "--superlink=a:1", "--set", "num-stations=3"],
            "plant run does not use the setting num-stations",
        ),
        (
            ["plant", "run", "--keys=x", "--superlink=a:1", "--set", "data-root=x"],
            "plant run does not use the setting data-root: every station names its own",
        ),
    ],
)
def test_a_command_refuses_what_it_cannot_use(
    words: list[str],
    said: str,
    saved: Path,
    parts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`inspect --set target-false-alarm-rate=0.01` was accepted, and changed nothing."""
    places = {
        "model": saved,
        "data": parts,
        "image": parts / "plate/test/good/000.png",
        "out": tmp_path / "out",
        "rate": "target-false-alarm-rate=0.01",
        "score": "image-score=reweighted",
    }
    assert run([word.format(**places) for word in words]) == 2
    line = " ".join(capsys.readouterr().err.split())
    assert said in line
    assert not (tmp_path / "out").exists()


def test_what_changes_nothing_in_a_run_is_told() -> None:
    """Methods that are compared share their settings, so these are told and not refused."""
    given = [f"{key}={value}" for key, value in Settings().to_run_config().items()]
    told = unused("baseline", Settings(), given)
    assert told[0].startswith("no effect here: dirichlet-alpha (the partition is category)")
    assert any(
        sentence == f"no effect here: {', '.join(FEDERATED_ONLY)} (only a federation uses it)"
        for sentence in told
    )
    assert unused("federate", Settings(partition="dirichlet"), ["dirichlet-alpha=2"]) == []
    assert unused("federate", Settings(), ["seed=7", "num-server-rounds=2"]) == []
    off = Settings(calibration_fraction=0)
    for kind in ("baseline", "federate"):
        (line,) = unused(kind, off, ["target-false-alarm-rate=0.1"])
        assert "without held-out images" in line
    (line,) = unused("federate", Settings(), ["min-station-share=0.2"])
    assert "federated_coreset guarantees no share" in line
    assert not unused(
        "federate", Settings(aggregation="diversity_preserving"), ["min-station-share=0.2"]
    )


def test_a_baseline_tells_before_it_starts(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["baseline", str(parts), "--out", str(tmp_path / "out"), "--set", "backbone=resnet18"]
    words += ["--set", "weights=random", "--set", "num-server-rounds=3"]
    assert run(words) == 0
    text = capsys.readouterr().out
    assert "no effect here: num-server-rounds (only a federation uses it)" in text


def test_an_experiment_refuses_what_none_of_its_methods_uses(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    text = "settings: {backbone: resnet18, num-server-rounds: 2}\nmethods: "
    path.write_text(f"{text}[centralized, local]")
    with pytest.raises(InputError, match=r"num-server-rounds is used by the method federated"):
        read_plan(path)
    path.write_text(f"{text}[centralized, federated]")
    assert read_plan(path).settings.num_server_rounds == 2


def test_another_image_score_has_no_threshold(
    saved: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A percentile was judged by the threshold of the maximum, which few percentiles reach."""
    image = str(parts / "plate/test/cut/000.png")
    words = ["inspect", str(saved), image, "--set", "image-score=50", "--out", str(tmp_path / "a")]
    assert run(words) == 2
    assert "its thresholds are for image-score max, not for 50" in capsys.readouterr().err
    assert run([*words, "--threshold", "0.1"]) == 0
    assert run([*words, "--scores-only"]) == 0
    out = ["--out", str(tmp_path / "b"), "--set", "image-score=50"]
    assert run(["evaluate", str(saved), str(parts), *out]) == 0
    assert "judged without a threshold" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("fraction", "said", "unsaid"),
    [
        (0.0, "fitted with calibration-fraction 0, which holds no good image out", "num-stations"),
        (0.1, "calibration-fraction 0.1, but a station holds an image", "with a higher one"),
        (None, "If calibration-fraction was 0", "fitted with calibration-fraction"),
    ],
)
def test_the_advice_without_a_threshold_is_one_that_helps(
    fraction: float | None,
    said: str,
    unsaid: str,
    saved: Path,
    parts: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Five images at five stations: `inspect` advised a calibration-fraction that was set."""
    model = Path(shutil.copytree(saved, tmp_path / "model"))
    facts = json.loads((model / "model.json").read_text())
    facts |= {"thresholds": {}, "calibration": {}}
    if fraction is not None:
        facts["provenance"]["calibration_fraction"] = fraction
    write_facts(model / "model.json", facts)
    words = ["inspect", str(model), str(parts / "plate/test/good"), "--out", str(tmp_path / "out")]
    assert run(words) == 2
    line = " ".join(capsys.readouterr().err.split())
    assert said in line
    assert unsaid not in line
