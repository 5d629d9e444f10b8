"""Settings: the defaults of the project file, kinds, and one clear error for each bad value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from common.config import Settings
from common.errors import InputError
from common.patchcore.names import check_names

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_defaults_are_those_of_the_project_file_key_for_key() -> None:
    listed = tomllib.loads(PROJECT.read_text())["tool"]["flwr"]["app"]["config"]
    defaults = Settings().to_run_config()
    assert listed == defaults
    assert list(listed) == list(defaults)
    assert {k: type(v) for k, v in listed.items()} == {k: type(v) for k, v in defaults.items()}


def test_an_unknown_key_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'image-sizes'.*did you mean 'image-size'\?"):
        Settings.from_run_config({"image-sizes": 256})
    with pytest.raises(InputError, match=r"unknown setting 'zzzz'; known ones are: data-root, "):
        Settings.from_run_config({"zzzz": 256})
    with pytest.raises(InputError, match=r"did you mean 'seed'"):
        Settings().override(["sed=1"])


def test_run_config_round_trip() -> None:
    settings = Settings(seed=7, image_score="99.5", weights="/w.pth", weighted_by_samples=False)
    assert Settings.from_run_config(settings.to_run_config()) == settings
    assert Settings.from_run_config({}) == Settings()
    assert Settings.from_run_config({"num_stations": 3}).num_stations == 3


@pytest.mark.parametrize(
    ("key", "given", "wanted"),
    [
        ("num-stations", "7", 7),
        ("num-stations", 7.0, 7),
        ("seed", 2**63 - 1, 2**63 - 1),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("local-coreset-ratio", "0.25", 0.25),
        ("local-coreset-ratio", 1, 1.0),
        ("weighted-by-samples", "False", False),
        ("weighted-by-samples", True, True),
        ("image-score", 99.5, "99.5"),
        ("weights", Path("/w.pth"), "/w.pth"),
        ("device", "cuda:1", "cuda:1"),
        ("layers", "layer1,layer3", "layer1,layer3"),
    ],
)
def test_values_are_brought_to_the_kind_of_their_default(key: str, given: Any, wanted: Any) -> None:
    name = key.replace("-", "_")
    for settings in (
        Settings.from_run_config({key: given}),
        Settings(**{name: given}),
        Settings().with_(**{name: given}),
    ):
        value = getattr(settings, name)
        assert value == wanted
        assert type(value) is type(wanted)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data-root", True),
        ("data-root", None),
        ("partition", "random"),
        ("num-stations", 0),
        ("num-stations", "five"),
        ("num-stations", 2.5),
        ("num-stations", "2.5"),
        ("num-stations", True),
        ("num-stations", None),
        ("num-stations", float("inf")),
        ("dirichlet-alpha", 0.0),
        ("dirichlet-alpha", float("nan")),
        ("backbone", "vgg16"),
        ("layers", ""),
        ("layers", "layer5"),
        ("layers", "layer3,layer2"),
        ("layers", "layer2,layer2"),
        ("neighborhood-size", 2),
        ("neighborhood-size", 0),
        ("weights", ""),
        ("weights", " "),
        ("image-size", 31),
        ("image-size", -1),
        ("image-size", 10_000),
        ("precision", "float16"),
        ("device", "gpu"),
        ("device", "cuda:"),
        ("device", "cuda:one"),
        ("batch-size", 0),
        ("num-workers", -1),
        ("local-coreset-ratio", 0.0),
        ("local-coreset-ratio", 1.1),
        ("local-coreset-ratio", "a lot"),
        ("coreset-projection", -1),
        ("global-bank-size", 0),
        ("bank-scope", "station"),
        ("aggregation", "mean"),
        ("weighted-by-samples", "yes"),
        ("weighted-by-samples", 1),
        ("oversample-factor", 0.9),
        ("min-station-share", -0.1),
        ("wire-dtype", "bfloat16"),
        ("num-server-rounds", 0),
        ("min-stations", -1),
        ("round-timeout", 0),
        ("max-station-share", 0.0),
        ("on-suspicion", "ignore"),
        ("evaluation", "client"),
        ("image-score", "mean"),
        ("image-score", "101"),
        ("image-score", "nan"),
        ("image-score", "top-0"),
        ("image-score", "Reweighted"),
        ("calibration-fraction", 0.95),
        ("target-false-alarm-rate", 0.0),
        ("target-false-alarm-rate", 1.0),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 10**400),
        ("output-dir", ""),
    ],
)
def test_a_bad_value_is_one_error_that_names_key_value_and_expectation(
    key: str, value: Any
) -> None:
    for make in (
        lambda: check_names(Settings.from_run_config({key: value})),
        lambda: check_names(Settings().with_(**{key.replace("-", "_"): value})),
    ):
        with pytest.raises(InputError) as caught:
            make()
        message = str(caught.value)
        assert message.startswith(f"setting {key}: found ")
        assert ", expected " in message
        assert "\n" not in message


def test_override_takes_assignments_of_the_command_line() -> None:
    settings = Settings().override([" seed = 7", "data-root=/a=b", "num_workers=0"])
    assert (settings.seed, settings.data_root, settings.num_workers) == (7, "/a=b", 0)
    assert Settings().override(["seed=1", "seed=2"]).seed == 2
    with pytest.raises(InputError, match="'seed' is not of the form key=value"):
        Settings().override(["seed"])


def test_absolute_leaves_names_alone_and_frees_paths_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = Settings(data_root="parts", weights="~/w.pth", output_dir="runs/../out").absolute()
    assert settings.data_root == str(tmp_path / "parts")
    assert settings.weights == "/home/somebody/w.pth"
    assert settings.output_dir == str(tmp_path / "out")
    for name in ("auto", "imagenet", "random"):
        kept = Settings(weights=name).absolute()
        assert (kept.weights, kept.data_root) == (name, "")
