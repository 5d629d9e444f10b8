"""The certificate of a station's service at the line."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
from typer.testing import CliRunner

from common.cli.main import app
from common.errors import InputError
from common.plant.keys.certificates import (
    names_of,
    read_certificate,
    read_private_key,
    same_key,
    signed_by,
)
from common.plant.keys.key_files import KeyFolder
from common.plant.keys.key_list import KeyEntry, list_keys
from common.plant.keys.making import make_keys
from common.plant.keys.revoking import revoke_station
from common.plant.keys.server_keys import Wanted

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
WANTED = Wanted(service="paint-shop", hosts=["paint.example", "10.0.0.7"])


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    """A plant of two stations, one of which has a service."""
    make_keys(tmp_path, Wanted(stations=["paint-shop", "press"]), NOW)
    make_keys(tmp_path, WANTED, NOW)
    return tmp_path


def line(plant: Path, name: str = "paint-shop") -> Path:
    return plant / "services" / name / "line.crt"


def entry_of(plant: Path, now: dt.datetime) -> KeyEntry:
    (found,) = [one for one in list_keys(plant, now) if one.path == line(plant).relative_to(plant)]
    return found


def test_a_service_gets_a_certificate_for_its_own_names(tmp_path: Path) -> None:
    make_keys(tmp_path, Wanted(stations=["paint-shop"]))
    home = tmp_path / "services" / "paint-shop"
    made = {path.name for path in make_keys(tmp_path, WANTED)}
    assert made == {"line.crt", "line.key", "ca.crt"}
    names = names_of(read_certificate(home / "line.crt"))
    assert set(names) == {"paint.example", "10.0.0.7", "localhost", "127.0.0.1"}
    assert (home / "line.key").stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(home / "line.crt"), str(home / "line.key"))
    assert make_keys(tmp_path, WANTED) == []
    assert make_keys(tmp_path, Wanted()) == []
    # Whoever names no host is content with what there is.
    assert make_keys(tmp_path, Wanted(service="paint-shop")) == []


def test_what_cannot_be_is_refused_before_anything_is_written(plant: Path) -> None:
    before = {path: path.read_bytes() for path in plant.rglob("*") if path.is_file()}
    for wanted, told in (
        (Wanted(service="paint-shop", hosts=["other.example"]), "--renew --service paint-shop"),
        (Wanted(hosts=["other.example"]), "--host is for --service"),
        (Wanted(service="../up"), "no usable name"),
        (Wanted(service="pain-shop"), "no station of this plant; known are paint-shop, press"),
        (Wanted(service="press", hosts=["gateway"]), "is a name of the gateway"),
        (Wanted(service="press", hosts=["SuperLink"]), "is a name of the gateway"),
    ):
        with pytest.raises(InputError, match=told):
            make_keys(plant, wanted, NOW)
    assert {path: path.read_bytes() for path in plant.rglob("*") if path.is_file()} == before


def test_it_is_listed_with_its_end_and_warned_of_before(plant: Path) -> None:
    ends = NOW + dt.timedelta(days=825)
    found = entry_of(plant, NOW)
    assert (found.expires, found.problems) == (ends, ())
    expected = "paint-shop's service at the line: certificate for paint.example, 10.0.0.7"
    assert found.purpose == f"{expected}, localhost, 127.0.0.1"
    (soon,) = entry_of(plant, ends - dt.timedelta(days=30)).problems
    assert soon.startswith("expires in 30 days")
    assert soon.endswith("--renew --service paint-shop`")
    (over,) = entry_of(plant, ends).problems
    assert "no line posts to it" in over
    line(plant).with_suffix(".key").chmod(0o640)
    problems = [text for one in list_keys(plant, NOW) for text in one.problems]
    assert len(problems) == 1
    assert "others than its owner can read it (mode 640)" in problems[0]


def test_the_command_lists_it_and_fails_for_cron(plant: Path) -> None:
    listed = CliRunner().invoke(app, ["keys", str(plant), "--list"])
    assert "services/paint-shop/line.crt" in listed.stdout
    # Made on 1 March 2026 for 825 days.
    assert "2028-06-03" in listed.stdout


def test_renewing_keeps_its_names_and_its_key_even_where_the_key_is_handed_over(
    plant: Path,
) -> None:
    old = read_certificate(line(plant))
    line(plant).with_suffix(".key").unlink()
    later = NOW + dt.timedelta(days=800)
    made = make_keys(plant, Wanted(service="paint-shop", renew=True), later)
    assert made == [line(plant)]
    new = read_certificate(line(plant))
    assert new.public_key() == old.public_key()
    assert names_of(new) == names_of(old)
    assert new.not_valid_after_utc == later + dt.timedelta(days=825)
    assert signed_by(new, read_certificate(plant / "ca.crt"))
    # For other names, too.
    make_keys(plant, Wanted(service="paint-shop", hosts=["new.example"], renew=True), later)
    assert names_of(read_certificate(line(plant)))[0] == "new.example"


def test_who_renews_all_renews_it_and_who_names_others_does_not(plant: Path) -> None:
    key = line(plant).with_suffix(".key").read_bytes()
    for wanted, renewed in (
        (Wanted(renew=True), True),
        (Wanted(renew=True, stations=["press"]), False),
        (Wanted(renew=True, gateway=["gateway"], superlink=["superlink"]), False),
        (Wanted(renew=True, service="press"), False),
    ):
        made = {path.relative_to(plant).as_posix() for path in make_keys(plant, wanted, NOW)}
        assert ("services/paint-shop/line.crt" in made) is renewed, wanted
        servers = {"server/superlink.crt", "gateway/gateway.crt"}
        assert (made & servers == servers) is (wanted.service is None and not wanted.stations)
    assert line(plant).with_suffix(".key").read_bytes() == key
    assert line(plant, "press").exists()


def test_another_key_or_another_authority_is_told(plant: Path) -> None:
    make_keys(plant, Wanted(service="press"), NOW)
    other = line(plant, "press").with_suffix(".key").read_bytes()
    line(plant).with_suffix(".key").write_bytes(other)
    with pytest.raises(InputError, match="not made for the key beside it"):
        make_keys(plant, WANTED, NOW)
    assert "was not made for line.key beside it" in entry_of(plant, NOW).problems[0]
    make_keys(plant, Wanted(service="paint-shop", renew=True), NOW)
    assert entry_of(plant, NOW).problems == ()
    _, key = KeyFolder(plant).service_files("press")
    assert key.read_bytes() == other


def test_a_new_authority_signs_it_anew(plant: Path) -> None:
    for name in ("ca.key", "ca.crt"):
        (plant / name).unlink()
    make_keys(plant, Wanted(renew=True), NOW)
    authority = read_certificate(plant / "ca.crt")
    assert signed_by(read_certificate(line(plant)), authority)
    assert (line(plant).parent / "ca.crt").read_bytes() == (plant / "ca.crt").read_bytes()


def test_without_the_authority_s_key_there_is_no_new_one(plant: Path) -> None:
    (plant / "ca.key").unlink()
    with pytest.raises(InputError, match=r"ca.key: is not here, so line.crt cannot be signed"):
        make_keys(plant, Wanted(service="press"), NOW)
    assert not line(plant, "press").exists()
    # Stations are renewed without it, as ever.
    assert make_keys(plant, Wanted(renew=True, stations=["press"]), NOW)


def test_a_station_that_is_shut_out_loses_it(plant: Path) -> None:
    certificate = read_certificate(line(plant))
    assert same_key(certificate, read_private_key(line(plant).with_suffix(".key")))
    done = revoke_station(plant, "paint-shop", NOW)
    assert done.service_until == certificate.not_valid_after_utc
    assert not line(plant).parent.exists()
    assert revoke_station(plant, "press", NOW).service_until is None
    assert list_keys(plant, NOW)
