"""Weights: the same tensors give the same fingerprint, wrong files one clear error."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from users import another_user

from common.config import Settings
from common.errors import InputError
from common.patchcore.network import weights as module
from common.patchcore.network.architectures import BACKBONES, DEFAULT, FALLBACK
from common.patchcore.network.choice import settle_network
from common.patchcore.network.weights import (
    State,
    expected_shapes,
    fetch_imagenet,
    load_weights,
    missing_published,
    published_file,
    random_seed,
)

LAYERS = ("layer2", "layer3")


def publish(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Let the weights of ResNet-18 lie somewhere else."""
    own = BACKBONES["resnet18"]
    file = Path(url).name
    weights = replace(
        own.weights, path=lambda: Path(torch.hub.get_dir()) / "checkpoints" / file, url=url
    )
    monkeypatch.setitem(BACKBONES, "resnet18", replace(own, weights=weights))


@pytest.fixture(scope="module")
def full() -> State:
    """A whole ResNet-18 as torchvision saves it."""
    torch.manual_seed(3)
    return torchvision.models.resnet18(weights=None).state_dict()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty torch hub folder of this test's own."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub"


def trunk(state: State) -> State:
    return {n: t for n, t in state.items() if not n.startswith(("layer4", "fc"))}


def load(
    path: Path, backbone: str = "resnet18", layers: tuple[str, ...] = LAYERS
) -> module.Weights:
    return load_weights(backbone, layers, str(path), seed=0)


def test_a_full_file_and_a_trunk_agree_in_both_formats(tmp_path: Path, full: State) -> None:
    torch.save(full, tmp_path / "full.pth")
    torch.save(trunk(full), tmp_path / "trunk.pth")
    save_file(full, tmp_path / "full.safetensors")
    save_file(trunk(full), tmp_path / "trunk.safetensors")
    loaded = [load(path) for path in sorted(tmp_path.iterdir())]
    assert len({w.sha256 for w in loaded}) == 1
    assert [w.label for w in loaded] == sorted(path.name for path in tmp_path.iterdir())
    for found in loaded:
        assert list(found.state) == list(expected_shapes("resnet18", LAYERS))
        for name, tensor in found.state.items():
            assert torch.equal(tensor, full[name])


def test_the_fingerprint_is_that_of_the_layers_used(tmp_path: Path, full: State) -> None:
    torch.save(full, tmp_path / "a.pth")
    changed = {name: tensor.clone() for name, tensor in full.items()}
    changed["layer3.1.conv2.weight"][0, 0, 0, 0] += 1
    torch.save(changed, tmp_path / "b.pth")
    a, b = load(tmp_path / "a.pth"), load(tmp_path / "b.pth")
    assert a.sha256 != b.sha256
    shallow = ("layer1", "layer2")
    assert (
        load(tmp_path / "a.pth", layers=shallow).sha256
        == load(tmp_path / "b.pth", layers=shallow).sha256
    )
    halves = {name: tensor.half() for name, tensor in full.items()}
    torch.save(halves, tmp_path / "half.pth")
    assert load(tmp_path / "half.pth").state["conv1.weight"].dtype == torch.float32


def drop(state: State, path: Path) -> None:
    torch.save({n: t for n, t in state.items() if n != "layer2.0.bn1.running_var"}, path)


def reshape(state: State, path: Path) -> None:
    torch.save({**state, "conv1.weight": torch.zeros(64, 3, 3, 3)}, path)


def poison(state: State, path: Path) -> None:
    torch.save({**state, "bn1.bias": torch.full((64,), float("nan"))}, path)


def a_list(state: State, path: Path) -> None:
    torch.save([1, 2], path)


def a_pickle(state: State, path: Path) -> None:
    torch.save({"model": torchvision.models.resnet18(weights=None)}, path)


def text(state: State, path: Path) -> None:
    path.write_text("not weights")


def truncated(state: State, path: Path) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:10_000])


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


def other_backbone(state: State, path: Path) -> None:
    torch.save(torchvision.models.resnet34(weights=None).state_dict(), path)


def bottlenecks(state: State, path: Path) -> None:
    torch.save(torchvision.models.resnet50(weights=None).state_dict(), path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (drop, "tensor 'layer2.0.bn1.running_var' is missing"),
        (reshape, "tensor 'conv1.weight' has shape (64, 3, 3, 3), resnet18 expects (64, 3, 7, 7)"),
        (poison, "tensor 'bn1.bias' holds a value that is not finite"),
        (a_list, "found list; expected a torchvision state dict"),
        (a_pickle, "holds Python objects, as a whole model"),
        (text, "is a text file; expected a torchvision state dict"),
        (lambda _, path: path.write_bytes(b""), "is empty"),
        (lambda _, path: path.write_text("<!DOCTYPE html><html>Sign in"), "is a web page"),
        (lambda _, path: path.write_text(LFS), "is a pointer of Git LFS"),
        (lambda _, path: path.write_bytes(bytes(range(256)) * 9), "or is damaged"),
        (truncated, "is not whole, or no weight file (10000 bytes)"),
        (lambda state, path: save_file(trunk(state), path) or cut(path), "is not whole"),
        (other_backbone, "tensor 'layer1.2.conv1.weight' is none of resnet18's"),
        (bottlenecks, "is none of resnet18's; is it another backbone's file?"),
    ],
)
def test_a_wrong_file_is_one_error_that_names_it(
    tmp_path: Path, full: State, spoil: Callable[[State, Path], None], said: str
) -> None:
    path = tmp_path / "w.pth"
    spoil(full, path)
    with pytest.raises(InputError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    # What torch advises to a file that it does not trust is to trust it.
    assert "weights_only" not in str(caught.value)


WRAPPED: dict[str, Callable[[State], object]] = {
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "lr": 0.1}},
    "module.": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "state_dict and module.": lambda state: {
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}
    },
    "beside a head": lambda state: {
        **{f"backbone.{name}": tensor for name, tensor in state.items()},
        "head.weight": torch.zeros(2, 512),
    },
}


@pytest.mark.parametrize("form", WRAPPED)
def test_a_wrapped_state_dict_is_taken_out(tmp_path: Path, full: State, form: str) -> None:
    """Checkpoints that hold this very network were called another backbone's file."""
    torch.save(full, tmp_path / "plain.pth")
    torch.save(WRAPPED[form](full), tmp_path / "wrapped.pth")
    plain, wrapped = load(tmp_path / "plain.pth"), load(tmp_path / "wrapped.pth")
    assert wrapped.sha256 == plain.sha256
    assert wrapped.state.keys() == plain.state.keys()


def test_a_network_that_is_there_twice_is_not_chosen_by_chance(tmp_path: Path, full: State) -> None:
    path = tmp_path / "w.pth"
    torch.save({"model": full, "model_ema": full}, path)
    with pytest.raises(InputError, match=r"w\.pth: holds the network 2 times, as model/, "):
        load(path)
    torch.save({"model": torchvision.models.resnet50(weights=None).state_dict()}, path)
    with pytest.raises(InputError, match=r"is it another backbone's file\?"):
        load(path)


def test_the_content_decides_not_the_ending(tmp_path: Path, full: State) -> None:
    save_file(trunk(full), tmp_path / "renamed.pth")
    torch.save(full, tmp_path / "renamed.safetensors")
    found = [load(tmp_path / f"renamed.{ending}").sha256 for ending in ("pth", "safetensors")]
    assert found[0] == found[1]


def test_a_file_of_another_user_is_not_called_damaged(full: State) -> None:
    """The super-user may read all, so there the test becomes another user for a moment."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        path = Path(place) / "w.pth"
        torch.save(full, path)
        path.chmod(0)
        with another_user(), pytest.raises(InputError, match=r"w\.pth: this user may not read it"):
            load(path)


def test_a_broken_safetensors_file_and_a_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"1234567890")
    with pytest.raises(InputError, match=r"w\.safetensors: is a text file"):
        load(path)
    with pytest.raises(InputError, match=r"nowhere\.pth': no such file; expected auto, imagenet"):
        load(tmp_path / "nowhere.pth")
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path)


@pytest.mark.parametrize("backbone", [name for name in BACKBONES if "resnet" in name])
def test_random_weights_are_a_function_of_the_seed(backbone: str) -> None:
    once, twice, other = (load_weights(backbone, LAYERS, "random", seed) for seed in (1, 1, 2))
    assert once.sha256 == twice.sha256 != other.sha256
    assert once.label == "random (seed 1)"
    assert once.random
    conv = once.state["conv1.weight"]
    # He, fan-out: variance 2 / (64 filters x 7 x 7).
    assert float(conv.var()) == pytest.approx(2 / (64 * 49), rel=0.05)
    assert float(once.state["bn1.running_var"].min()) == 1.0
    assert float(once.state["bn1.running_mean"].abs().max()) == 0.0
    shallow = load_weights(backbone, ("layer1",), "random", 1)
    assert all(torch.equal(t, once.state[n]) for n, t in shallow.state.items())


def test_random_weights_are_the_same_on_every_machine() -> None:
    assert load_weights("resnet18", LAYERS, "random", 42).sha256.startswith("d2f6ee39aa61c4da")


def test_labels_of_random_weights() -> None:
    assert random_seed("random (seed 42)") == 42
    for label in ("random.pth", "random_init_7.pth", "imagenet", "random", ""):
        assert random_seed(label) is None
        assert not module.Weights({}, label, "").random


def test_published_places_are_torchvisions(hub: Path) -> None:
    for name, architecture in BACKBONES.items():
        if architecture.family == "resnet":
            published = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url
            assert architecture.weights.url == published
            assert architecture.weights.path() == hub / "checkpoints" / Path(published).name


def test_auto_weights_are_the_published_ones_or_an_error(hub: Path, full: State) -> None:
    chosen = Settings(backbone="resnet18")
    for may_fall_back in (True, False):
        with pytest.raises(InputError) as caught:
            settle_network(chosen, may_fall_back=may_fall_back)
        assert str(hub / "checkpoints" / "resnet18-f37072fd.pth") in str(caught.value)
        assert str(caught.value) == missing_published("resnet18")
    with pytest.raises(InputError, match=r"resnet18-f37072fd\.pth"):
        load_weights("resnet18", LAYERS, "imagenet", 0)

    file = BACKBONES["resnet18"].weights.path()
    assert file is not None
    assert published_file("resnet18") is None
    file.parent.mkdir(parents=True)
    torch.save(full, file)
    assert published_file("resnet18") == file
    settled, notice = settle_network(chosen, may_fall_back=False)
    assert (settled.weights, settled.layers, notice) == ("imagenet", "layer2,layer3", None)
    assert load_weights("resnet18", LAYERS, "imagenet", 0).label == "imagenet"
    with pytest.raises(ValueError, match="settle_network"):
        load_weights("resnet18", LAYERS, "auto", 0)


def test_where_nobody_chose_a_small_real_network_takes_the_place(hub: Path) -> None:
    settled, notice = settle_network(Settings(), may_fall_back=True)
    assert (settled.backbone, settled.weights) == (FALLBACK, "imagenet")
    assert settled.layers == "stage3,stage5"
    assert notice is not None
    assert DEFAULT in notice
    assert FALLBACK in notice
    # One plant has one network: nothing takes its place there.
    with pytest.raises(InputError, match=DEFAULT):
        settle_network(Settings(), may_fall_back=False)
    # Whoever named layers or weights meant the network that has them.
    for chosen in (Settings(layers="layer2"), Settings(weights="imagenet")):
        assert chosen.backbone == "auto"
    with pytest.raises(InputError, match=DEFAULT):
        settle_network(Settings(layers="layer2"), may_fall_back=True)
    named, notice = settle_network(Settings(weights="random"), may_fall_back=True)
    assert (named.backbone, named.weights, notice) == (DEFAULT, "random", None)


def test_the_default_is_taken_where_its_weights_are(hub: Path) -> None:
    file = BACKBONES[DEFAULT].weights.path()
    assert file is not None
    file.parent.mkdir(parents=True)
    file.touch()
    for may_fall_back in (True, False):
        settled, notice = settle_network(Settings(), may_fall_back=may_fall_back)
        assert (settled.backbone, settled.weights, notice) == (DEFAULT, "imagenet", None)


CONTENT = b"weights" * 100


class Server(BaseHTTPRequestHandler):
    """Answers well, cut off, slowly or not at all, by path."""

    def do_GET(self) -> None:
        if "silent" in self.path:
            time.sleep(3)
            return
        if "absent" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if "cut" in self.path:
            self.wfile.write(CONTENT[:100])
        elif "slow" in self.path:
            for start in range(0, len(CONTENT), 10):
                self.wfile.write(CONTENT[start : start + 10])
                time.sleep(0.1)
        else:
            self.wfile.write(CONTENT)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        running.daemon_threads = True
        running.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(
    ("kind", "digest", "wanted"),
    [
        ("good", hashlib.sha256(CONTENT).hexdigest()[:8], True),
        ("good", "00000000", False),
        ("cut", hashlib.sha256(CONTENT).hexdigest()[:8], False),
        ("absent", "00000000", False),
        ("slow", hashlib.sha256(CONTENT).hexdigest()[:8], False),
        ("silent", "00000000", False),
    ],
)
def test_fetching_is_whole_or_nothing_within_the_deadline(
    hub: Path, monkeypatch: pytest.MonkeyPatch, server: str, kind: str, digest: str, wanted: bool
) -> None:
    publish(monkeypatch, f"{server}/{kind}-{digest}.pth")
    started = time.monotonic()
    assert fetch_imagenet("resnet18", deadline=0.5) is wanted
    assert time.monotonic() - started < 2
    files = [path.name for path in (hub / "checkpoints").iterdir()]
    assert files == ([f"{kind}-{digest}.pth"] if wanted else [])


def test_nothing_is_fetched_twice_or_from_nowhere(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch, "http://127.0.0.1:9/net-0.pth")
    assert not fetch_imagenet("resnet18", deadline=0.5)
    (hub / "checkpoints/net-0.pth").touch()
    assert fetch_imagenet("resnet18", deadline=0.5)
