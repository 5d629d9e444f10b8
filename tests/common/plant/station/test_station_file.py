"""`station.toml`: what it says reaches Flower's own reader unchanged; what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.common.config import parse_config_args

from common.errors import InputError
from common.plant.station.station_file import read_station_file

SERVER = (
    '[server]\naddress = "gateway:9443"\nca = "ca.crt"\nkey = "station.key"\n'
    'certificate = "station.pem"\napp-key = "app.pub"\n'
)
TOP = 'station = "engine-assembly"\ndata-root = "/data"\ncache-dir = "/var/cache/f"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "station.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_least_that_a_file_needs(tmp_path: Path) -> None:
    file = read_station_file(write(tmp_path, TOP + SERVER))
    assert file.station == "engine-assembly"
    assert file.address == ("gateway", 9443)
    assert (file.data_root, file.cache_dir) == (Path("/data"), Path("/var/cache/f"))
    assert (file.ca, file.key) == (tmp_path / "ca.crt", tmp_path / "station.key")
    assert (file.certificate, file.app_key) == (tmp_path / "station.pem", tmp_path / "app.pub")
    assert file.trusted_app == "installed"
    assert file.models_dir == Path("/var/cache/f/models")
    assert (file.keep_models, file.activate) == (5, "auto")
    assert (file.weights, file.cache_limit_gb, file.device, file.batch_size) == ("", 20, None, None)


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    path = write(tmp_path, TOP + SERVER)
    assert read_station_file(tmp_path) == read_station_file(path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    """Wrong words: what Windows editors write before the text was told as a broken file."""
    path = write(tmp_path, TOP + SERVER)
    plain = read_station_file(path)
    path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert read_station_file(path) == plain


def test_flower_reads_what_the_file_says(tmp_path: Path) -> None:
    text = (
        'station = "a.b_c-1"\ndata-root = "images of März"\ncache-dir = "/c/x=y \\\\ \\" # z"\n'
        'weights = "w.pth"\ncache-limit-gb = 2.5\ndevice = "cuda:1"\nbatch-size = 8\n'
        'models-dir = "models of März"\nkeep-models = 3\nactivate = "manual"\n'
    )
    file = read_station_file(write(tmp_path, text + SERVER))
    assert parse_config_args([file.node_config()]) == {
        "station": "a.b_c-1",
        "data-root": str(tmp_path / "images of März"),
        "cache-dir": '/c/x=y \\ " # z',
        "cache-limit-gb": 2.5,
        "app-key": str(tmp_path / "app.pub"),
        "station-key": str(tmp_path / "station.key"),
        "models-dir": str(tmp_path / "models of März"),
        "keep-models": 3,
        "activate": "manual",
        "weights": str(tmp_path / "w.pth"),
        "device": "cuda:1",
        "batch-size": 8,
    }


def test_flower_gets_no_more_than_the_file_says(tmp_path: Path) -> None:
    file = read_station_file(write(tmp_path, TOP + SERVER))
    assert parse_config_args([file.node_config()]) == {
        "station": "engine-assembly",
        "data-root": "/data",
        "cache-dir": "/var/cache/f",
        "cache-limit-gb": 20.0,
        "app-key": str(tmp_path / "app.pub"),
        "station-key": str(tmp_path / "station.key"),
        "models-dir": "/var/cache/f/models",
        "keep-models": 5,
        "activate": "auto",
    }


def test_a_config_that_ends_like_a_toml_file_is_not_taken_for_one(tmp_path: Path) -> None:
    text = TOP.replace("/var/cache/f", "/c/odd.toml")
    file = read_station_file(write(tmp_path, text + SERVER))
    assert parse_config_args([file.node_config()])["cache-dir"] == "/c/odd.toml"


@pytest.mark.parametrize("word", ["auto", "imagenet", "random"])
def test_weights_that_are_no_path_stay_words(tmp_path: Path, word: str) -> None:
    assert read_station_file(write(tmp_path, f'weights = "{word}"\n{TOP}{SERVER}')).weights == word


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.7:1", ("10.0.0.7", 1)),
        ("[2001:db8::7]:9443", ("2001:db8::7", 9443)),
        ("a_b.example.org:65535", ("a_b.example.org", 65535)),
    ],
)
def test_addresses(tmp_path: Path, address: str, expected: tuple[str, int]) -> None:
    text = TOP + SERVER.replace("gateway:9443", address)
    assert read_station_file(write(tmp_path, text)).address == expected


BAD = {
    "no TOML": ("station =", "is no TOML file"),
    "no station": (TOP.replace("station =", "# station =") + SERVER, "station is missing"),
    "a path as a name": (TOP.replace("engine-assembly", "../x") + SERVER, "'../x'; expected up to"),
    "a name with a line break": (TOP.replace("engine-assembly", "a\\n") + SERVER, "'a\\n'"),
    "no data": (
        TOP.replace("data-root", "#") + SERVER,
        "data-root is missing; expected the folder",
    ),
    "empty data": (TOP.replace('"/data"', '" "') + SERVER, "data-root is ' '"),
    "a number as a folder": (TOP.replace('"/data"', "7") + SERVER, "data-root is 7"),
    "no models folder": ('models-dir = ""\n' + TOP + SERVER, "models-dir is ''; expected a folder"),
    "no model kept": ("keep-models = 0\n" + TOP + SERVER, "keep-models is 0; expected a whole"),
    "half a model": ("keep-models = 2.5\n" + TOP + SERVER, "keep-models is 2.5; expected a whole"),
    "activate at will": (
        'activate = "sometimes"\n' + TOP + SERVER,
        """activate is 'sometimes'; expected "auto" or "manual\"""",
    ),
    "no cache": (TOP.replace("cache-dir", "#") + SERVER, "cache-dir is missing"),
    "unknown key": ("data_root = 1\n" + TOP + SERVER, "unknown key 'data_root'; did you mean"),
    "unknown section": (TOP + SERVER + "[more]\n", "unknown key 'more'; known are"),
    "unknown server key": (TOP + SERVER + "port = 1\n", "unknown key 'server.port'"),
    "no server": (TOP, "server is missing; expected a section [server]"),
    "server is no section": ('server = "g:1"\n' + TOP, "server is 'g:1'"),
    "no port": (TOP + SERVER.replace(":9443", ""), "address is 'gateway'; expected HOST:PORT"),
    "port 0": (TOP + SERVER.replace("9443", "0"), "server.address"),
    "port too large": (TOP + SERVER.replace("9443", "65536"), "server.address"),
    "a scheme": (TOP + SERVER.replace("gateway:", "https://gateway:"), "no scheme"),
    "bare IPv6": (TOP + SERVER.replace("gateway:9443", "::1:9443"), "server.address"),
    "an option as a host": (TOP + SERVER.replace("gateway:", "--insecure:"), "server.address"),
    "quote in a path": (TOP.replace("/data", "/d'a") + SERVER, "without quotes"),
    "line break in a path": (TOP.replace("/data", "/d\\na") + SERVER, "without quotes"),
    "unknown home": (TOP.replace("/data", "~nobody-here/x") + SERVER, "data-root is '~nobody"),
    "device": ('device = "gpu"\n' + TOP + SERVER, "setting device: found 'gpu'"),
    "device number": ("device = 1\n" + TOP + SERVER, "device is 1; expected text"),
    "batch": ("batch-size = 0\n" + TOP + SERVER, "setting batch-size: found 0"),
    "batch is true": ("batch-size = true\n" + TOP + SERVER, "batch-size is True"),
    "limit": ("cache-limit-gb = -1\n" + TOP + SERVER, "cache-limit-gb is -1"),
    "limit is nan": ("cache-limit-gb = nan\n" + TOP + SERVER, "cache-limit-gb is nan"),
    "weights": ("weights = 3\n" + TOP + SERVER, "weights is 3; expected auto, imagenet, random"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, case: str) -> None:
    text, expected = BAD[case]
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_station_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_station_file(tmp_path / "none.toml")
    with pytest.raises(InputError, match=r"station\.toml: no such file"):
        read_station_file(tmp_path)


def test_files_that_a_supernode_needs_at_once(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = read_station_file(write(tmp_path, TOP.replace("/data", "data") + SERVER))
    with pytest.raises(InputError, match=r"server\.ca is .*ca\.crt, where there is no such file"):
        file.require_files()
    (tmp_path / "ca.crt").touch()
    with pytest.raises(InputError, match=r"server\.key is .*station\.key"):
        file.require_files()
    (tmp_path / "station.key").touch()
    with pytest.raises(InputError, match=r"server\.certificate is .*station\.pem"):
        file.require_files()
    (tmp_path / "station.pem").touch()
    with pytest.raises(InputError, match=r"server\.app-key is .*app\.pub"):
        file.require_files()
    (tmp_path / "app.pub").touch()
    file.require_files()
    (tmp_path / "data").rmdir()
    with pytest.raises(InputError, match=r"data-root is .* no such folder"):
        file.require_files()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"installed"', "installed"),
        ('"any"', "any"),
        (f'["{"0a" * 32}", "{"1f" * 32}"]', ("0a" * 32, "1f" * 32)),
    ],
)
def test_which_apps_a_station_trusts(
    tmp_path: Path, text: str, expected: str | tuple[str, ...]
) -> None:
    file = read_station_file(write(tmp_path, f"trusted-app = {text}\n{TOP}{SERVER}"))
    assert file.trusted_app == expected


@pytest.mark.parametrize(
    "text", ['"all"', '""', "[]", "true", "7", '["any"]', f'["{"0A" * 32}"]', f'"{"0a" * 32}"']
)
def test_what_is_no_trusted_app(tmp_path: Path, text: str) -> None:
    """A word that looks like trust must never be taken for it, nor for none."""
    path = write(tmp_path, f"trusted-app = {text}\n{TOP}{SERVER}")
    with pytest.raises(InputError, match=r"trusted-app is .*expected .installed., .any., or a li"):
        read_station_file(path)


def test_a_file_of_an_older_version_is_told_what_it_lacks(tmp_path: Path) -> None:
    for line, file in (
        ('certificate = "station.pem"\n', "station.pem"),
        ('app-key = "app.pub"\n', "app.pub"),
    ):
        path = write(tmp_path, TOP + SERVER.replace(line, ""))
        with pytest.raises(InputError) as caught:
            read_station_file(path)
        said = str(caught.value)
        assert f"server.{line.split()[0]} is missing; expected the file {file}" in said
        assert "`fedpatchcore keys DIR` once" in said
        assert "\n" not in said
