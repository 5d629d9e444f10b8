"""The section `[line]` of a station file: what it says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_versions import station_toml

from common.errors import InputError
from common.plant.station.line_section import LineSection
from common.plant.station.station_file import read_station_file


def write(folder: Path, line: str) -> Path:
    path = station_toml(folder)
    path.write_text(path.read_text() + line)
    return path


def test_without_it_there_is_none(tmp_path: Path) -> None:
    assert read_station_file(station_toml(tmp_path)).line is None


def test_the_least_and_the_most_that_it_says(tmp_path: Path) -> None:
    least = read_station_file(write(tmp_path, '[line]\njournal = "journal"\n'))
    assert least.line == LineSection(tmp_path / "journal", "127.0.0.1", 8600)
    most = read_station_file(
        write(
            tmp_path,
            '[line]\njournal = "/var/j"\nhost = "::"\nport = 8601\ncertificate = "line.crt"\n'
            'certificate-key = "line.key"\ntokens = "/run/tokens.json"\nkeep-gb = 3\n',
        )
    )
    files = (tmp_path / "line.crt", tmp_path / "line.key", Path("/run/tokens.json"))
    assert most.line == LineSection(Path("/var/j"), "::", 8601, *files, 3.0)
    # What the station itself is told stays the same: Flower hears nothing of the line.
    assert most.node_config() == least.node_config()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("line = 3\n", "a section [line]"),
        ("[line]\n", "line.journal is missing"),
        ('[line]\njournal = "j"\njornal = "j"\n', "did you mean 'journal'"),
        ('[line]\njournal = "j"\nport = 0\n', "line.port is 0"),
        ('[line]\njournal = "j"\nport = true\n', "line.port is True"),
        ('[line]\njournal = "j"\nhost = "line.example"\n', "an IP address of this machine"),
        ('[line]\njournal = "j"\ncertificate = "c"\n', "line.certificate-key is missing"),
        ('[line]\njournal = "j"\ncertificate-key = "c"\n', "line.certificate is missing"),
        ('[line]\njournal = "j"\nkeep-gb = -1\n', "line.keep-gb is -1"),
        ('[line]\njournal = "j"\ntokens = ""\n', "line.tokens is ''"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = write(tmp_path, line)
    if not line.startswith("["):
        path.write_text(line + station_toml(tmp_path).read_text())
    with pytest.raises(InputError) as caught:
        read_station_file(path)
    assert told in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
