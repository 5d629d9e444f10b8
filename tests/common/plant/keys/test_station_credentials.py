"""Stations' certificates: taken by TLS with revocation lists, renewed, revoked, brought over."""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from tls_servers import tls_server

from common.cli.main import run
from common.errors import InputError
from common.plant.keys.app_keys import read_app_key, read_app_public
from common.plant.keys.certificates import (
    certificate_pem,
    new_private_key,
    private_pem,
    read_certificate,
    read_certificates,
    read_private_key,
)
from common.plant.keys.key_list import list_keys
from common.plant.keys.making import Wanted, make_keys
from common.plant.keys.registered_images import read_registered_images
from common.plant.keys.revocation import number_of, read_revocation_lists, revoked_serials
from common.plant.keys.revoking import revoke_station
from common.plant.keys.signing import make_server_certificate

NOW = dt.datetime(2030, 6, 1, 12, tzinfo=dt.UTC)
TWO = Wanted(stations=("north", "south"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def changed(root: Path, before: dict[str, bytes]) -> set[str]:
    after = contents(root)
    return {name for name in {*before, *after} if after.get(name) != before.get(name)}


def problems(root: Path, now: dt.datetime | None = None) -> list[str]:
    return [f"{entry.path}: {text}" for entry in list_keys(root, now) for text in entry.problems]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_keys(tmp_path / "keys", TWO)
    return tmp_path / "keys"


def first_version(root: Path) -> Path:
    """Take away what the first version did not make, and sign its kind of authority."""
    for name in contents(root):
        new = ("stations-ca.key", "stations-ca.crt", "revoked.pem", "app.key", "app.pub")
        if name.endswith((*new, "station.pem")) or name.startswith(("cert", "gateway/stations")):
            (root / name).unlink()
    key, old = read_private_key(root / "ca.key"), read_certificate(root / "ca.crt")
    builder = (
        x509.CertificateBuilder(old.issuer, old.subject, key.public_key(), old.serial_number)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for extension in old.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            value = x509.BasicConstraints(ca=True, path_length=0)
        builder = builder.add_extension(value, critical=extension.critical)
    pem = certificate_pem(builder.sign(key, hashes.SHA384()))
    for path in root.rglob("ca.crt"):
        path.write_bytes(pem)
    return root


def greeted(root: Path, pem: Path | None, name: str = "gateway") -> str:
    """What a gateway that asks for certificates says: the client's common name, or why not."""
    gate = root / "gateway"
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(gate / "gateway.crt", gate / "gateway.key")
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN | ssl.VERIFY_X509_STRICT
    for trusted in ("ca.crt", "stations-ca.crt", "revoked.pem"):
        server.load_verify_locations(gate / trusted)
    client = ssl.create_default_context(cafile=str(gate / "ca.crt"))
    if pem is not None:
        client.load_cert_chain(pem)
    found: list[str] = []

    def serve(listening: socket.socket) -> None:
        there, _ = listening.accept()
        there.settimeout(10)
        try:
            with server.wrap_socket(there, server_side=True) as tls:
                shown = tls.getpeercert(binary_form=True)
                assert shown is not None
                subject = x509.load_der_x509_certificate(shown).subject
                found.append(subject.rfc4514_string().removeprefix("CN="))
        except ssl.SSLError as error:
            found.append(str(error))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        plain = socket.create_connection(listening.getsockname(), timeout=10)
        # With TLS 1.3 a refusal comes after the client's own handshake.
        refused = contextlib.suppress(ssl.SSLError, ConnectionError)
        with client.wrap_socket(plain, server_hostname=name) as tls, refused:
            tls.recv(1)
        thread.join(10)
    return found[0]


def test_the_gateway_knows_a_station_by_its_certificate(root: Path, tmp_path: Path) -> None:
    assert greeted(root, root / "stations/north/station.pem") == "north"
    assert greeted(root, root / "stations/south/station.pem") == "south"
    assert "did not return a certificate" in greeted(root, None)
    make_keys(tmp_path / "other", TWO)
    refused = greeted(root, tmp_path / "other/stations/north/station.pem")
    assert "certificate verify failed" in refused


def test_a_servers_certificate_is_none_of_a_station(root: Path, tmp_path: Path) -> None:
    pair = tmp_path / "server.pem"
    pair.write_bytes(
        (root / "server/superlink.key").read_bytes() + (root / "server/superlink.crt").read_bytes()
    )
    assert "certificate verify failed" in greeted(root, pair)


def test_the_stations_authority_cannot_pose_as_a_server(root: Path) -> None:
    """Wrongly taken: a gateway's certificate that it signed, with itself as the chain."""
    key, authority = new_private_key(), read_certificate(root / "stations-ca.crt")
    signer = read_private_key(root / "stations-ca.key")
    now = dt.datetime.now(dt.UTC)
    forged = make_server_certificate(["gateway", "127.0.0.1"], key, authority, signer, now)
    chain = root / "forged.crt"
    chain.write_bytes(certificate_pem(forged) + certificate_pem(authority))
    chain.with_suffix(".key").write_bytes(private_pem(key))
    for ca in ("stations/north/ca.crt", "server/ca.crt", "gateway/ca.crt"):
        client = ssl.create_default_context(cafile=str(root / ca))
        with (
            tls_server(chain, lambda there: there.sendall(b"hello")) as port,
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            pytest.raises(ssl.SSLCertVerificationError, match="purpose"),
        ):
            client.wrap_socket(plain, server_hostname="gateway")


def test_names_that_differ_in_case_are_two(tmp_path: Path) -> None:
    root = tmp_path / "keys"
    make_keys(root, Wanted(stations=("clips", "Clips", "a" * 64)))
    assert greeted(root, root / "stations/Clips/station.pem") == "Clips"
    assert greeted(root, root / f"stations/{'a' * 64}/station.pem") == "a" * 64


def test_openssl_verifies_the_chain_with_both_lists(root: Path) -> None:
    gate = root / "gateway"
    words = ["openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-crl_check_all"]
    words += ["-CAfile", str(gate / "ca.crt"), "-untrusted", str(gate / "stations-ca.crt")]
    words += ["-CRLfile", str(gate / "revoked.pem"), str(root / "certificates/north.crt")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_revoking_shuts_one_station_out(root: Path) -> None:
    stolen = root.parent / "stolen.pem"
    stolen.write_bytes((root / "stations/north/station.pem").read_bytes())
    (root / "stations/north/station.toml").write_text("mine")
    south = {name: text for name, text in contents(root).items() if "south" in name}
    done = revoke_station(root, "north")
    assert done.certificates == 1
    assert "revoked" in greeted(root, stolen)
    assert greeted(root, root / "stations/south/station.pem") == "south"
    left = {name for name in contents(root) if "north" in name}
    assert left == {"stations/north/station.toml"}  # what it did not make it does not remove
    assert {name: text for name, text in contents(root).items() if "south" in name} == south
    assert (root / "revoked.pem").read_bytes() == (root / "gateway/revoked.pem").read_bytes()
    assert [str(entry.path) for entry in list_keys(root)][-1:] == ["stations/south"]
    assert problems(root) == []
    assert "revoked certificates of stations: 1" in " ".join(e.purpose for e in list_keys(root))
    with pytest.raises(InputError, match="no station of this name has a certificate: south"):
        revoke_station(root, "north")


def test_a_name_may_come_back_with_new_keys(root: Path) -> None:
    stolen = root.parent / "stolen.pem"
    stolen.write_bytes((root / "stations/north/station.pem").read_bytes())
    key = (root / "stations/north/station.key").read_bytes()
    revoke_station(root, "north")
    make_keys(root, Wanted(stations=("north",)))
    assert greeted(root, root / "stations/north/station.pem") == "north"
    assert "revoked" in greeted(root, stolen)
    assert (root / "stations/north/station.key").read_bytes() != key


def test_all_that_a_station_ever_had_is_revoked(root: Path) -> None:
    first = root.parent / "first.pem"
    first.write_bytes((root / "stations/north/station.pem").read_bytes())
    make_keys(root, Wanted(renew=True, stations=("north",)))
    second = root.parent / "second.pem"
    second.write_bytes((root / "stations/north/station.pem").read_bytes())
    # Nobody has to be at every station on one day: what there was stays good.
    assert greeted(root, first) == greeted(root, second) == "north"
    assert revoke_station(root, "north").certificates == 2
    assert "revoked" in greeted(root, first)
    assert "revoked" in greeted(root, second)


def test_revoking_that_was_cut_off_is_ended_by_the_next_try(root: Path) -> None:
    stolen = root.parent / "stolen.pem"
    stolen.write_bytes((root / "stations/north/station.pem").read_bytes())
    record = (root / "certificates/north.crt").read_bytes()
    revoke_station(root, "north")
    numbers = [number_of(crl) for crl in read_revocation_lists(root / "revoked.pem")]
    # The list was written, the station's files were not all removed; the record goes last.
    (root / "certificates/north.crt").write_bytes(record)
    (root / "server/stations/north.pub").write_bytes(
        (root / "server/stations/south.pub").read_bytes()
    )
    revoke_station(root, "north")
    assert not {name for name in contents(root) if "north" in name}
    assert [number_of(crl) for crl in read_revocation_lists(root / "revoked.pem")] == numbers
    assert "revoked" in greeted(root, stolen)


def test_a_lost_list_is_not_begun_anew_in_silence(root: Path) -> None:
    revoke_station(root, "north")
    list_there = (root / "revoked.pem").read_bytes()
    (root / "revoked.pem").unlink()
    before = contents(root)
    with pytest.raises(InputError, match=r"revoked\.pem: is missing.*the gateway has a copy"):
        make_keys(root, Wanted(stations=("east",)))
    with pytest.raises(InputError, match=r"revoked\.pem: is missing"):
        revoke_station(root, "south")
    assert contents(root) == before
    # Nor one of which the stations' half is lost.
    half = list_there.split(b"-----END X509 CRL-----")[0] + b"-----END X509 CRL-----\n"
    (root / "revoked.pem").write_bytes(half)
    with pytest.raises(InputError, match=r"holds no list of stations-ca\.crt"):
        make_keys(root, Wanted(stations=("east",)))
    (root / "revoked.pem").write_bytes(list_there)
    make_keys(root, Wanted(stations=("east",)))
    assert len(revoked_serials(read_revocation_lists(root / "revoked.pem"))) == 1


def test_the_list_cannot_end_before_its_authority(tmp_path: Path) -> None:
    root = tmp_path / "keys"
    make_keys(root, TWO, NOW)
    for crl, name in zip(
        read_revocation_lists(root / "revoked.pem"), ("ca.crt", "stations-ca.crt"), strict=True
    ):
        assert crl.next_update_utc == read_certificate(root / name).not_valid_after_utc
        # A gateway whose clock is late must not take it for one of tomorrow.
        assert crl.last_update_utc <= NOW - dt.timedelta(hours=1)
    revoke_station(root, "north", NOW + dt.timedelta(days=400))
    _, own = read_revocation_lists(root / "revoked.pem")
    assert own.next_update_utc == NOW + dt.timedelta(days=3650)
    assert own.last_update_utc <= NOW


def test_what_is_named_is_what_is_renewed(root: Path) -> None:
    before = contents(root)
    make_keys(root, Wanted(renew=True, stations=("north",)))
    assert changed(root, before) == {"certificates/north.crt", "stations/north/station.pem"}
    assert len(read_certificates(root / "certificates/north.crt")) == 2
    before = contents(root)
    make_keys(root, Wanted(renew=True))
    assert changed(root, before) == {
        *("server/superlink.crt", "gateway/gateway.crt"),
        *("certificates/north.crt", "stations/north/station.pem"),
        *("certificates/south.crt", "stations/south/station.pem"),
    }
    assert problems(root) == []


def test_a_station_is_renewed_without_the_plants_key(root: Path) -> None:
    (root / "ca.key").unlink()
    make_keys(root, Wanted(renew=True, stations=("north",)))
    assert greeted(root, root / "stations/north/station.pem") == "north"
    assert revoke_station(root, "north").certificates == 2
    (root / "stations-ca.key").unlink()
    before = contents(root)
    for wanted in (Wanted(stations=("east",)), Wanted(renew=True, stations=("south",))):
        with pytest.raises(InputError, match=r"stations-ca\.key: is not here"):
            make_keys(root, wanted)
    with pytest.raises(InputError, match=r"stations-ca\.key: is not here"):
        revoke_station(root, "south")
    assert contents(root) == before


def test_a_stolen_authority_of_stations_is_worth_nothing_after_it_was_replaced(root: Path) -> None:
    """What it signed has a sound chain to the plant's authority still, but no revocation list."""
    old = [(root / name).read_bytes() for name in ("stations-ca.key", "stations-ca.crt")]
    stolen = root.parent / "stolen.pem"
    forged = (root / "stations/north/station.pem").read_bytes()
    stolen.write_bytes(forged + old[1])
    assert greeted(root, stolen) == "north"
    for name in ("stations-ca.key", "stations-ca.crt", "revoked.pem"):
        (root / name).unlink()
    shutil.rmtree(root / "certificates")
    make_keys(root, Wanted(renew=True))
    assert "unable to get certificate CRL" in greeted(root, stolen)
    assert greeted(root, root / "stations/north/station.pem") == "north"
    assert problems(root) == []


def test_a_plant_of_the_first_version_is_brought_over(root: Path) -> None:
    old = contents(first_version(root))
    ca = root.parent / "old-ca.crt"
    ca.write_bytes(old["ca.crt"])
    assert any("has no certificate for the gateway" in text for text in problems(root))
    with pytest.raises(InputError, match="whose stations have certificates"):
        revoke_station(root, "north")
    make_keys(root, Wanted())
    now = contents(root)
    kept = {name for name in old if not name.endswith("/ca.crt") and name != "ca.crt"}
    assert {name for name in kept if now[name] != old[name]} == set()
    assert problems(root) == []
    assert greeted(root, root / "stations/north/station.pem") == "north"
    # Stations that still have the old ca.crt know both servers by it.
    client = read_certificate(ca)
    for name in ("server/superlink.crt", "gateway/gateway.crt"):
        read_certificate(root / name).verify_directly_issued_by(client)


def test_bringing_over_needs_the_plants_key_once(root: Path) -> None:
    first_version(root)
    key = (root / "ca.key").read_bytes()
    (root / "ca.key").unlink()
    before = contents(root)
    with pytest.raises(InputError, match=r"ca\.key: is not here, so stations-ca\.crt"):
        make_keys(root, Wanted())
    assert contents(root) == before
    (root / "ca.key").write_bytes(key)
    (root / "ca.key").chmod(0o600)
    make_keys(root, Wanted())
    (root / "ca.key").unlink()
    make_keys(root, Wanted(stations=("east",)))
    assert greeted(root, root / "stations/east/station.pem") == "east"


def test_what_a_handed_over_station_of_the_first_version_gets(root: Path) -> None:
    first_version(root)
    for path in (root / "stations/north").iterdir():
        path.unlink()
    (root / "stations/north").rmdir()
    make_keys(root, Wanted())
    made = {name for name in contents(root) if name.startswith("stations/north/")}
    assert made == {f"stations/north/{name}" for name in ("ca.crt", "app.pub", "station.pem")}


def test_the_apps_key(root: Path) -> None:
    key = read_app_key(root / "server/app.key")
    public = read_app_public(root / "stations/north/app.pub")
    public.verify(key.sign(b"asked"), b"asked")
    (root / "server/app.key").unlink()  # the executor's host alone has it
    make_keys(root, Wanted(stations=("east",)))
    assert not (root / "server/app.key").exists()
    assert read_app_public(root / "stations/east/app.pub") == public
    with pytest.raises(InputError, match=r"app\.pub: is no key that can be used"):
        read_app_key(root / "server/app.pub")
    with pytest.raises(InputError, match=r"found a EC.*expected app\.key"):
        read_app_key(root / "server/superlink.key")
    with pytest.raises(InputError, match="is no public key"):
        read_app_public(root / "ca.crt")
    (root / "server/app.key").write_bytes((root / "stations/north/station.key").read_bytes())
    with pytest.raises(InputError, match=r"app\.key: is no key that can be used"):
        make_keys(root, Wanted())


def test_the_command_revokes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["keys", str(root)]
    assert run([*words, "--revoke", "north", "--renew"]) == 2
    assert "--revoke only shuts stations out" in capsys.readouterr().err
    assert run([*words, "--revoke", "nobody"]) == 2
    assert "--revoke nobody: no station of this name" in capsys.readouterr().err
    assert run([*words, "--revoke", "north"]) == 0
    said = capsys.readouterr().out
    assert "north: 1 certificate revoked" in said
    assert "plant register --remove NAME" in said
    assert "revoked certificates of stations: 1" in said
    assert run([*words, "--list"]) == 0


def test_numbers_of_images_are_registered(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["keys", str(root)]
    assert run([*words, "--station", "north", "--images", "500"]) == 0
    assert run([*words, "--station", "a.b", "--station", "south", "--images", "40"]) == 0
    path = root / "server/stations/images.toml"
    assert read_registered_images(path) == {"a.b": 40, "north": 500, "south": 40}
    assert run([*words, "--station", "south", "--images", "60"]) == 0
    assert read_registered_images(path) == {"a.b": 40, "north": 500, "south": 60}
    assert run([*words, "--revoke", "south"]) == 0
    assert read_registered_images(path) == {"a.b": 40, "north": 500}
    assert run([*words, "--station", "south", "--images", "60"]) == 0
    assert "Copy server/stations/images.toml to the executor's" in capsys.readouterr().out
    for wrong in (["--images", "5"], ["--station", "north", "--images", "0"]):
        assert run([*words, *wrong]) == 2
        assert "expected a number of training images" in capsys.readouterr().err
    assert read_registered_images(path) == {"a.b": 40, "north": 500, "south": 60}
