"""The folder of public keys: what is read, what is refused, who is a stranger."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from flwr.cli.supernode.register import try_load_public_key
from flwr.proto.node_pb2 import NodeInfo

from common.errors import InputError
from common.paths import STATIONS_VARIABLE
from server_app.registry import Member, read_registry


def write_key(path: Path, key: ec.EllipticCurvePublicKey | None = None) -> Path:
    key = key or ec.generate_private_key(ec.SECP384R1()).public_key()
    path.write_bytes(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b" who@where\n")
    return path


def test_a_node_is_known_by_the_key_that_flowers_register_command_sends(tmp_path: Path) -> None:
    files = [write_key(tmp_path / f"{name}.pub") for name in ("press", "mill")]
    registry = read_registry(tmp_path)
    assert registry.expected == ("mill", "press")
    nodes = [
        NodeInfo(node_id=9 - number, public_key=try_load_public_key(file), name="as registered")
        for number, file in enumerate(files)
    ]
    # In order of node id, under the names of the files, whatever Flower calls them.
    assert registry.members(nodes) == [Member(8, "mill"), Member(9, "press")]


@pytest.mark.parametrize("content", [b"", b"not a key", "other"])
def test_any_other_key_is_a_strangers(tmp_path: Path, content: bytes | str) -> None:
    write_key(tmp_path / "press.pub")
    if content == "other":
        (tmp_path / "elsewhere").mkdir()
        content = try_load_public_key(write_key(tmp_path / "elsewhere" / "mill.pub"))
    assert isinstance(content, bytes)
    (member,) = read_registry(tmp_path).members([NodeInfo(node_id=1, public_key=content)])
    assert member.name is None
    assert "is none of the 1 in the server's folder of station keys" in (member.stranger or "")


def test_without_a_folder_everyone_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATIONS_VARIABLE, raising=False)
    registry = read_registry()
    assert registry.expected == ()
    assert registry.members([NodeInfo(node_id=1), NodeInfo(node_id=2, name="mill")]) == [
        Member(1),
        Member(2, "mill"),
    ]


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_key(tmp_path / "press.pub")
    monkeypatch.setenv(STATIONS_VARIABLE, str(tmp_path))
    assert read_registry().expected == ("press",)


def test_unusable_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder; expected the folder of the stations'"):
        read_registry(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no <name>\.pub file"):
        read_registry(tmp_path)
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    write_key(tmp_path / "a.pub", key)
    write_key(tmp_path / "b.pub", key)
    with pytest.raises(InputError, match=r"b\.pub: holds the same key as a\.pub"):
        read_registry(tmp_path)


def test_unusable_files(tmp_path: Path) -> None:
    bad = tmp_path / "mill.pub"
    private = ed25519.Ed25519PrivateKey.generate()
    for content in (
        b"",
        b"ecdsa-sha2-nistp384 AAAA",
        private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
    ):
        bad.write_bytes(content)
        with pytest.raises(
            InputError, match=r"key of station mill cannot be used: .*mill\.pub: is no public key"
        ):
            read_registry(tmp_path)
    bad.unlink()
    write_key(tmp_path / "two words.pub")
    with pytest.raises(InputError, match="'two words' is no usable station name"):
        read_registry(tmp_path)
