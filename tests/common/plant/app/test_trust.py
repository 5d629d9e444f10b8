"""Which apps may run: the setting, and what is said of an app that may not."""

from __future__ import annotations

import pytest
from app_archives import MINIMAL, pack
from flwr.cli.build import build_fab_from_disk

from common.errors import InputError
from common.plant.app.content import App
from common.plant.app.installed import installed_app
from common.plant.app.trust import ANY, INSTALLED, SERVER, STATION, Trust
from common.runs.flower_run import app_folder

OTHER = App(MINIMAL).hash
ARCHIVE = pack(MINIMAL)


def test_the_installed_app_is_trusted_and_no_other() -> None:
    trust = Trust.of(INSTALLED, STATION)
    own = installed_app().hash
    assert trust.words == (own,)
    assert trust.judge(build_fab_from_disk(app_folder())).refusal == ""
    refusal = trust.judge(ARCHIVE).refusal
    assert refusal.startswith(f"the app {OTHER} is not one that this station allows ({own}); ")
    assert refusal.endswith("put the hash into trusted-app of its station.toml")
    assert len(refusal) < 500  # the server cuts longer ones off
    assert trust.warning == ""


def test_a_list_of_hashes() -> None:
    trust = Trust.of(("0" * 64, OTHER), SERVER)
    assert trust.judge(ARCHIVE).refusal == ""
    refusal = trust.judge(build_fab_from_disk(app_folder())).refusal
    assert f"that this server allows ({'0' * 64} and 1 more); " in refusal
    assert refusal.endswith("give the executor the hash with --trusted-app")
    assert len(refusal) < 500


def test_the_installed_one_and_its_successor() -> None:
    trust = Trust.of((INSTALLED, OTHER), SERVER)
    assert trust.hashes == (installed_app().hash, OTHER)


def test_any_is_any_and_warns() -> None:
    trust = Trust.of(ANY, STATION)
    assert trust.judge(ARCHIVE).refusal == ""
    assert 'trusted-app is "any": this station runs whatever app is submitted' in trust.warning
    assert Trust.of(trust.words, STATION) == trust
    # Not what can be read in two ways, though.
    assert "cannot be read" in trust.judge(b"no zip").refusal
    assert trust.judge(ARCHIVE[:-50]).app is None


@pytest.mark.parametrize(
    "setting",
    [
        "",
        "none",
        "Installed",
        OTHER.upper(),
        OTHER[:-1],
        OTHER + "0",
        (),
        (ANY, OTHER),
        (OTHER, ""),
    ],
)
def test_a_setting_that_is_none(setting: str | tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="trusted-app"):
        Trust.of(setting, STATION)
