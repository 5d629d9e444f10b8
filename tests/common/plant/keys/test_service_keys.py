"""The certificate of a station's service at the line."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from common.errors import InputError
from common.plant.keys.certificates import names_of, read_certificate
from common.plant.keys.making import make_keys
from common.plant.keys.server_keys import Wanted


def test_a_service_gets_a_certificate_for_its_own_names(tmp_path: Path) -> None:
    make_keys(tmp_path, Wanted(stations=["paint-shop"]))
    wanted = Wanted(service="paint-shop", hosts=["paint.example", "10.0.0.7"])
    home = tmp_path / "services" / "paint-shop"
    made = {path.name for path in make_keys(tmp_path, wanted)}
    assert made == {"line.crt", "line.key", "ca.crt"}
    names = names_of(read_certificate(home / "line.crt"))
    assert set(names) == {"paint.example", "10.0.0.7", "localhost", "127.0.0.1"}
    assert (home / "line.key").stat().st_mode & 0o777 == 0o600
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(str(home / "line.crt"), str(home / "line.key"))
    assert make_keys(tmp_path, wanted) == []
    assert make_keys(tmp_path, Wanted()) == []
    with pytest.raises(InputError, match="remove it for a new one"):
        make_keys(tmp_path, Wanted(service="paint-shop", hosts=["other.example"]))
    with pytest.raises(InputError, match="--host is for --service"):
        make_keys(tmp_path, Wanted(hosts=["other.example"]))
    with pytest.raises(InputError, match="no usable name"):
        make_keys(tmp_path, Wanted(service="../up"))
