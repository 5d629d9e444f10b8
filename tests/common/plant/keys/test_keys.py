"""A plant's keys: made once, added to, renewed; taken by OpenSSL, Python's TLS and Flower."""

from __future__ import annotations

import argparse
import datetime as dt
import ipaddress
import os
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from flwr.cli.supernode.register import try_load_public_key
from flwr.supercore.auth import load_superexec_auth_secret
from flwr.supernode.cli.flower_supernode import _try_setup_client_authentication
from tls_servers import tls_server

from common.cli.main import run
from common.errors import InputError, RunError
from common.plant.keys.certificates import names_of, normalized_name, read_certificate
from common.plant.keys.key_files import NewFile, held, write_files
from common.plant.keys.key_list import list_keys
from common.plant.keys.making import DEFAULT_STATIONS, Wanted, make_keys
from common.plant.keys.station_keys import fingerprint, read_public_key

PRIVATE = {
    *("ca.key", "stations-ca.key", "superlink.key", "executor.secret", "app.key", "gateway.key"),
    *("station.key", "station.pem"),
}
NOW = dt.datetime(2030, 6, 1, 12, tzinfo=dt.UTC)
TWO = Wanted(stations=("north", "south"))


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def problems(root: Path, now: dt.datetime | None = None) -> list[str]:
    return [f"{entry.path}: {text}" for entry in list_keys(root, now) for text in entry.problems]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A plant with two stations, all of its files there."""
    make_keys(tmp_path / "keys", TWO)
    return tmp_path / "keys"


def test_a_new_folder_holds_what_everybody_gets(tmp_path: Path) -> None:
    made = make_keys(tmp_path / "keys", Wanted())
    assert DEFAULT_STATIONS == (
        "engine-assembly",
        "underbody-line",
        "fastener-station",
        "clip-inspection",
        "quality-control",
    )
    expected = {"ca.key", "ca.crt", "stations-ca.key", "stations-ca.crt", "revoked.pem"}
    expected |= {f"server/{n}" for n in ("ca.crt", "superlink.crt", "superlink.key")}
    expected |= {"server/executor.secret", "server/app.key", "server/app.pub"}
    expected |= {f"gateway/{name}" for name in ("ca.crt", "gateway.crt", "gateway.key")}
    expected |= {"gateway/stations-ca.crt", "gateway/revoked.pem"}
    own = ("ca.crt", "app.pub", "station.key", "station.pub", "station.pem")
    for name in DEFAULT_STATIONS:
        expected |= {f"stations/{name}/{f}" for f in own}
        expected |= {f"{home}/stations/{name}.pub" for home in ("server", "gateway")}
        expected |= {f"certificates/{name}.crt"}
    found = contents(tmp_path / "keys")
    assert set(found) == expected
    assert {str(path.relative_to(tmp_path / "keys")) for path in made} == expected
    assert len({text for name, text in found.items() if name.endswith(".key")}) == 5 + 5
    assert len({text for name, text in found.items() if name.endswith("/ca.crt")}) == 1
    assert len({text for name, text in found.items() if name.endswith("stations-ca.crt")}) == 1
    assert len({text for name, text in found.items() if name.endswith("app.pub")}) == 1
    assert len({text for name, text in found.items() if name.endswith("station.pem")}) == 5
    assert problems(tmp_path / "keys") == []


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_reads_what_is_private(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_keys(tmp_path / "keys", TWO)
    finally:
        os.umask(before)
    for path in (tmp_path / "keys", *(tmp_path / "keys").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        expected = 0o700 if path.is_dir() else 0o600 if path.name in PRIVATE else 0o644
        assert mode == expected, path


def test_a_second_run_replaces_nothing(root: Path) -> None:
    before = contents(root)
    assert make_keys(root, Wanted()) == []
    assert make_keys(root, TWO) == []
    assert contents(root) == before


def test_another_station_is_added_to_those_there(root: Path) -> None:
    before = contents(root)
    made = make_keys(root, Wanted(stations=("east",)))
    assert [str(path.relative_to(root)) for path in made] == [
        "stations/east/station.key",
        "stations/east/station.pub",
        "server/stations/east.pub",
        "certificates/east.crt",
        "stations/east/station.pem",
        "stations/east/ca.crt",
        "stations/east/app.pub",
        "gateway/stations/east.pub",
    ]
    after = contents(root)
    assert {name: after[name] for name in before} == before


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(tmp_path: Path) -> None:
    # Files are written one after the other, so the state after n of them is what n files make.
    whole = [path.relative_to(tmp_path / "all") for path in make_keys(tmp_path / "all", Wanted())]
    assert len(whole) == 5 + 6 + 5 + 5 * 8
    for count in range(1, len(whole)):
        part = tmp_path / str(count)
        for name in whole[:count]:
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tmp_path / "all" / name, part / name)
        make_keys(part, Wanted())
        assert set(contents(part)) == {str(name) for name in whole}, count
        assert problems(part) == [], count
        before = contents(tmp_path / "all")
        kept = {str(name): before[str(name)] for name in whole[:count]}
        # All but copies of a certificate that had not been written itself, and the record of one
        # whose key had not.
        last = str(whole[count - 1])
        assert {n for n, text in kept.items() if contents(part)[n] != text} <= {
            n for n in kept if n.endswith("ca.crt") or (n == last and n.startswith("certificates/"))
        }


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(RunError, match="is there already"):
        write_files(tmp_path, [NewFile(tmp_path / "a", b"new")])
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="cannot be written"):
        write_files(tmp_path, [NewFile(tmp_path / "folder", b"new", replace=True)])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "folder"]


def test_two_at_once_do_not_meet(root: Path) -> None:
    with held(root), pytest.raises(RunError, match="another `fedpatchcore keys` is at work"):
        make_keys(root, Wanted(stations=("east",)))
    make_keys(root, Wanted(stations=("east",)))


# Certificates


def test_each_authority_signs_its_own_kind(root: Path) -> None:
    # The plant's: servers, and one authority below it; that one: stations, and no authority.
    for name, length in (("ca.crt", 1), ("stations-ca.crt", 0)):
        authority = read_certificate(root / name)
        basic = authority.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, length)
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage)
        assert (usage.critical, usage.value.key_cert_sign) == (True, True)
        assert not usage.value.digital_signature
    use = x509.oid.ExtendedKeyUsageOID
    for name, signer, wanted in (
        ("server/superlink.crt", "ca.crt", use.SERVER_AUTH),
        ("gateway/gateway.crt", "ca.crt", use.SERVER_AUTH),
        ("certificates/north.crt", "stations-ca.crt", use.CLIENT_AUTH),
    ):
        certificate = read_certificate(root / name)
        certificate.verify_directly_issued_by(read_certificate(root / signer))
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        extended = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(extended) == [wanted]


def test_names_and_addresses_are_told_apart(tmp_path: Path) -> None:
    wanted = Wanted(gateway=("Gate.Example.ORG", "192.0.2.7", "2001:db8:0::7"), superlink=("s",))
    make_keys(tmp_path / "keys", wanted)
    found = read_certificate(tmp_path / "keys/gateway/gateway.crt")
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gate.example.org", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address(text) for text in ("192.0.2.7", "2001:db8::7", "127.0.0.1")
    ]
    superlink = read_certificate(tmp_path / "keys/server/superlink.crt")
    assert names_of(superlink) == ("s", "localhost", "127.0.0.1")


def test_how_long_they_last(tmp_path: Path) -> None:
    root = tmp_path / "keys"
    make_keys(root, TWO, NOW)
    for name, days in (("ca.crt", 3650), ("gateway/gateway.crt", 825), ("server/ca.crt", 3650)):
        found = read_certificate(root / name)
        assert found.not_valid_after_utc == NOW + dt.timedelta(days=days)
        assert found.not_valid_before_utc == NOW - dt.timedelta(hours=1)
    make_keys(root, Wanted(days=7, renew=True), NOW)
    renewed = read_certificate(root / "server/superlink.crt")
    assert renewed.not_valid_after_utc == NOW + dt.timedelta(days=7)
    # 3650 days from the first day, not from a later one: nothing outlives the authority.
    make_keys(root, Wanted(days=3650, renew=True), NOW + dt.timedelta(days=100))
    last = read_certificate(root / "server/superlink.crt")
    assert last.not_valid_after_utc == NOW + dt.timedelta(days=3650)


@pytest.mark.parametrize("server", ["server/superlink", "gateway/gateway"])
def test_openssl_verifies_them(root: Path, server: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the program openssl is not installed")

    def verify(*options: str) -> subprocess.CompletedProcess[str]:
        words = [program, "verify", "-x509_strict", "-purpose", "sslserver", *options]
        return subprocess.run(
            [*words, str(root / f"{server}.crt")], capture_output=True, text=True, timeout=30
        )

    ca = ("-CAfile", str(root / "ca.crt"))
    assert verify(*ca).returncode == 0
    assert verify(*ca, "-verify_hostname", server.partition("/")[2]).returncode == 0
    assert verify(*ca, "-verify_ip", "127.0.0.1").returncode == 0
    assert verify(*ca, "-verify_hostname", "elsewhere").returncode != 0
    assert verify().returncode != 0


@pytest.fixture
def gateway_port(root: Path) -> Iterator[int]:
    """A TLS server with the gateway's files, that says hello."""
    with tls_server(root / "gateway/gateway.crt", lambda there: there.sendall(b"hello")) as port:
        yield port


@pytest.mark.parametrize("name", ["gateway", "localhost", "127.0.0.1"])
def test_a_tls_handshake_by_every_name(root: Path, gateway_port: int, name: str) -> None:
    context = ssl.create_default_context(cafile=str(root / "stations/north/ca.crt"))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", gateway_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as tls,
    ):
        assert tls.recv(5) == b"hello"


def test_no_tls_handshake_by_another_name_or_authority(
    root: Path, tmp_path: Path, gateway_port: int
) -> None:
    make_keys(tmp_path / "other", TWO)
    for name, ca in (("superlink", root), ("gateway", tmp_path / "other")):
        context = ssl.create_default_context(cafile=str(ca / "ca.crt"))
        with (
            socket.create_connection(("127.0.0.1", gateway_port), timeout=10) as plain,
            pytest.raises(ssl.SSLCertVerificationError),
        ):
            context.wrap_socket(plain, server_hostname=name)


# Flower's own loading


def test_flower_takes_the_stations_keys(root: Path) -> None:
    key = root / "stations/north/station.key"
    arguments = argparse.Namespace(
        auth_supernode_private_key=str(key), auth_supernode_public_key=None
    )
    pair = _try_setup_client_authentication(arguments)
    assert pair is not None
    assert pair[0].curve.name == "secp384r1"
    registered = try_load_public_key(root / "server/stations/north.pub")
    own = try_load_public_key(root / "stations/north/station.pub")
    assert registered == own
    assert registered != try_load_public_key(root / "server/stations/south.pub")
    assert read_public_key(root / "server/stations/north.pub") == pair[1]


def test_flower_takes_the_secret(root: Path) -> None:
    secret = load_superexec_auth_secret(str(root / "server/executor.secret"))
    assert secret is not None
    assert len(secret) == 64
    assert secret == secret.strip()


def test_fingerprints_are_those_of_ssh_keygen(root: Path) -> None:
    program = shutil.which("ssh-keygen")
    if program is None:
        pytest.skip("the program ssh-keygen is not installed")
    path = root / "server/stations/north.pub"
    said = subprocess.run([program, "-lf", str(path)], capture_output=True, text=True, timeout=30)
    assert said.stdout == f"384 {fingerprint(read_public_key(path))} north (ECDSA)\n"


# Renewing, and what a folder may lack


def test_renewing_changes_two_certificates_and_no_key(root: Path) -> None:
    before = contents(root)
    make_keys(root, Wanted(renew=True, gateway=("gate",)))
    after = contents(root)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"server/superlink.crt", "gateway/gateway.crt"}
    gateway = read_certificate(root / "gateway/gateway.crt")
    superlink = read_certificate(root / "server/superlink.crt")
    assert names_of(gateway) == ("gate", "localhost", "127.0.0.1")
    assert names_of(superlink) == ("superlink", "localhost", "127.0.0.1")
    assert problems(root) == []


def test_other_names_need_renewing_and_the_error_says_how(root: Path) -> None:
    before = contents(root)
    with pytest.raises(InputError) as caught:
        make_keys(root, Wanted(gateway=("gateway", "10.0.0.9"), stations=("east",)))
    assert "is made for gateway, localhost, 127.0.0.1; wanted: gateway, 10.0.0.9" in str(
        caught.value
    )
    assert contents(root) == before
    command = str(caught.value).partition("fedpatchcore ")[2].split()
    assert run(command) == 0
    names = names_of(read_certificate(root / "gateway/gateway.crt"))
    assert names == ("gateway", "10.0.0.9", "localhost", "127.0.0.1")
    # Some of the names there are no contradiction.
    assert make_keys(root, Wanted(gateway=("10.0.0.9",))) == []


def test_what_was_handed_over_is_not_made_again(root: Path) -> None:
    shutil.rmtree(root / "stations/north")
    (root / "stations/south/station.key").unlink()
    before = contents(root)
    assert make_keys(root, Wanted()) == []
    assert make_keys(root, TWO) == []
    assert contents(root) == before
    assert [e.purpose.startswith("handed over") for e in list_keys(root)[-2:]] == [True, True]


def test_stations_are_added_without_the_authoritys_key(root: Path) -> None:
    (root / "ca.key").unlink()
    assert len(make_keys(root, Wanted(stations=("east",)))) == 8
    before = contents(root)
    with pytest.raises(InputError, match=r"ca\.key: is not here, so superlink\.crt cannot be sig"):
        make_keys(root, Wanted(renew=True))
    assert contents(root) == before


def test_a_new_authority_reaches_everyone_and_keeps_the_stations_keys(root: Path) -> None:
    before = contents(root)
    for name in ("ca.key", "ca.crt"):
        (root / name).unlink()
    with pytest.raises(InputError, match=r"ca\.crt: is missing, but servers have certificates"):
        make_keys(root, Wanted())
    make_keys(root, Wanted(renew=True))
    after = contents(root)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {
        *("ca.key", "ca.crt", "server/ca.crt", "gateway/ca.crt"),
        *("stations/north/ca.crt", "stations/south/ca.crt"),
        *("server/superlink.crt", "gateway/gateway.crt"),
        *("stations-ca.crt", "gateway/stations-ca.crt", "revoked.pem", "gateway/revoked.pem"),
        *("certificates/north.crt", "stations/north/station.pem"),
        *("certificates/south.crt", "stations/south/station.pem"),
    }
    assert problems(root) == []


def test_everything_but_the_stations_keys_may_be_made_anew(root: Path) -> None:
    # What an administrator does after the server's keys have leaked.
    before = contents(root)
    stations = ("north.pub", "south.pub", "station.pub", "station.key")
    for name in before:
        if not name.endswith(stations):
            (root / name).unlink()
    make_keys(root, Wanted(renew=True, gateway=("g",)))
    after = contents(root)
    kept = {name for name in before if name.endswith(stations)}
    assert {name for name in after if after[name] == before.get(name)} == kept
    assert set(after) == set(before)
    assert names_of(read_certificate(root / "gateway/gateway.crt"))[0] == "g"
    assert problems(root) == []


def test_a_lost_authority_certificate_is_made_again_from_its_key(root: Path) -> None:
    (root / "ca.crt").unlink()
    old = root / "stations/north/ca.crt"
    shutil.copy(old, root.parent / "old.crt")
    make_keys(root, Wanted())
    assert problems(root) == []
    # A station that still has the old one knows its server by it.
    certificate = read_certificate(root / "gateway/gateway.crt")
    certificate.verify_directly_issued_by(read_certificate(root.parent / "old.crt"))


def test_an_expired_authority_is_not_signed_with(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys", TWO, NOW)
    with pytest.raises(InputError, match=r"expired on 2040-05-29; move it and ca\.key away"):
        make_keys(tmp_path / "keys", Wanted(renew=True), NOW + dt.timedelta(days=3650))


@pytest.mark.parametrize(
    ("lost", "wanted", "expected"),
    [
        ("gateway/gateway.key", Wanted(renew=True), "so gateway.crt cannot be renewed"),
        ("gateway/gateway.key", Wanted(), None),
        ("gateway/gateway.crt", Wanted(), None),
        ("server/executor.secret", Wanted(), None),
        ("server/stations/north.pub", Wanted(), None),
        ("stations/north/ca.crt", Wanted(), None),
    ],
)
def test_a_file_that_is_missing(
    root: Path, lost: str, wanted: Wanted, expected: str | None
) -> None:
    (root / lost).unlink()
    if expected:
        with pytest.raises(InputError, match=expected):
            make_keys(root, wanted)
        return
    made = make_keys(root, wanted)
    # A key that is not here has been handed over; everything else is made again.
    assert [str(path.relative_to(root)) for path in made] == (
        [] if lost.endswith("key") else [lost]
    )
    assert problems(root) == []


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("gateway/gateway.key", "server/superlink.key", "was not made for gateway.key beside it"),
        ("ca.key", "server/superlink.key", "was not made for .*ca.key"),
        ("server/stations/north.pub", "server/stations/south.pub", "does not belong to"),
        ("stations/north/station.key", "gateway/gateway.key", "is no key that can be used"),
        ("gateway/gateway.crt", "gateway/gateway.key", "is no PEM certificate"),
        ("gateway/gateway.key", "gateway/gateway.crt", "is no PEM private key"),
        ("server/stations/north.pub", "ca.crt", "is no public key"),
    ],
)
def test_files_that_do_not_belong_together(root: Path, one: str, other: str, expected: str) -> None:
    shutil.copy(root / other, root / one)
    if one.endswith("north.pub") and other.endswith("crt"):
        (root / "stations/north/station.key").touch()
    before = contents(root)
    with pytest.raises(InputError, match=expected):
        make_keys(root, Wanted(stations=("east",)))
    assert contents(root) == before


# Names


@pytest.mark.parametrize(
    "wanted",
    [
        *(Wanted(stations=(n,)) for n in ("../x", "a/b", "", ".", "a b", "ä", "a\n", "x" * 65)),
        *(Wanted(gateway=(n,)) for n in ("", "a b", "a:1", "https://a", "*.a", "ä.de", "1.2.3")),
        *(Wanted(superlink=(n,)) for n in ("-a", "a..b", "x" * 64, "fe80::1%eth0", "[::1]")),
        *(Wanted(days=days) for days in (0, -1, 3651)),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(tmp_path: Path, wanted: Wanted) -> None:
    with pytest.raises(InputError):
        make_keys(tmp_path / "keys", wanted)
    assert not (tmp_path / "keys").exists()


def test_names_are_written_in_one_way() -> None:
    assert normalized_name("2001:DB8:0:0::1") == "2001:db8::1"
    assert normalized_name("A.example") == "a.example"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(InputError, match="is not empty and holds no plant's keys"):
        make_keys(tmp_path, Wanted())
    assert [path.name for path in tmp_path.iterdir()] == ["letter"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    with pytest.raises(InputError, match="no folder for keys can be made here"):
        make_keys(tmp_path / "letter" / "keys", Wanted())


# The list


def test_the_list_warns_in_time(tmp_path: Path) -> None:
    root = tmp_path / "keys"
    make_keys(root, TWO, NOW)
    assert problems(root, NOW + dt.timedelta(days=825 - 61)) == []
    soon = problems(root, NOW + dt.timedelta(days=825 - 60))
    assert [text.split(";")[0] for text in soon] == [
        "server/superlink.crt: expires in 60 days, on 2032-09-03",
        "gateway/gateway.crt: expires in 60 days, on 2032-09-03",
        "stations/north: expires in 60 days, on 2032-09-03",
        "stations/south: expires in 60 days, on 2032-09-03",
    ]
    late = problems(root, NOW + dt.timedelta(days=825))
    assert [text.split(":")[1].split(";")[0] for text in late] == [" expired on 2032-09-03"] * 4
    assert [text.split(":")[0] for text in problems(root, NOW + dt.timedelta(days=3650))] == [
        "ca.crt",
        "stations-ca.crt",
        "revoked.pem",
        "server/superlink.crt",
        "gateway/gateway.crt",
        "stations/north",
        "stations/south",
    ]


def test_the_list_warns_of_keys_that_others_can_read(root: Path) -> None:
    (root / "stations/north/station.key").chmod(0o640)
    (root / "ca.key").chmod(0o604)
    assert [text.partition(";")[0] for text in problems(root)] == [
        "ca.key: others than its owner can read it (mode 604)",
        "stations/north: others than its owner can read it (mode 640)",
    ]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "keys"
    words = ["keys", str(root)]
    assert run([*words, "--list"]) == 2
    assert "holds no plant's keys (no ca.crt)" in capsys.readouterr().err
    assert run([*words, "--station", "a", "--station", "b", "--gateway", "g.example"]) == 0
    shown = capsys.readouterr().out
    assert f"made {root}/stations/b/station.key" in shown
    assert "gateway's certificate for g.example, localhost, 127.0.0.1" in shown
    a = fingerprint(read_public_key(root / "server/stations/a.pub"))
    expires = read_certificate(root / "certificates/a.crt").not_valid_after_utc
    line = f"stations/a              {expires:%Y-%m-%d}  for this station and nobody else; key {a}"
    assert line in shown
    assert run(words) == 0
    assert "Nothing was missing." in capsys.readouterr().out
    before = contents(root)
    assert run([*words, "--list"]) == 0
    assert run([*words, "--list", "--renew"]) == 2
    assert run([*words, "--days", "9"]) == 2
    assert "add --renew" in capsys.readouterr().err
    assert contents(root) == before
    assert run([*words, "--renew", "--days", "9"]) == 0
    assert "expires in 9 days" in capsys.readouterr().out
    assert run([*words, "--list"]) == 1
