"""A watched folder beside the posts: nothing twice, nothing lost, nothing half written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from line_service import Running, post, running

from common.errors import InputError
from common.line.service.watched import Pace, WatchedFolder

NOW = Pace(poll=0.0, settle=0.0, patience=1e9)


def names(line: Running) -> list[str]:
    """File names in the journal, in order."""
    return [Path(str(entry.verdict.name)).name for entry in line.service.journal.entries()]


def test_files_are_judged_once_when_they_are_whole(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    whole = pictures[1].read_bytes()
    with running(saved, tmp_path / "journal") as line, line.client() as client:
        watched = WatchedFolder(line.service, camera, "plate", NOW)
        arriving = camera / "a.png"
        for end in (0, 100, len(whole) - 1):
            arriving.write_bytes(whole[:end])
            assert [watched.step() for _ in range(3)] == [0, 0, 0]
        arriving.write_bytes(whole)
        assert [watched.step() for _ in range(3)] == [0, 1, 0]
        (entry,) = line.service.journal.entries()
        posted = post(client, pictures[1]).json()
        assert entry.verdict.score == posted["score"]
        assert (entry.verdict.part, entry.verdict.source) == ("a", "watch")
        # Renamed in, in a sub-folder; the same bytes again under the same name; other bytes.
        (camera / "b").mkdir()
        shutil.copy(pictures[2], camera / "b" / "part.tmp")
        assert watched.step() == 0
        (camera / "b" / "part.tmp").rename(camera / "b" / "b.png")
        assert [watched.step() for _ in range(2)] == [0, 1]
        arriving.write_bytes(whole)
        assert [watched.step() for _ in range(3)] == [0, 0, 0]
        shutil.copy(pictures[3], arriving)
        assert [watched.step() for _ in range(2)] == [0, 1]
        answer = client.get("/api/v1/parts").json()["parts"][0]
        assert answer["path"] == "a.png"
        assert str(camera) not in str(answer)
    with running(saved, tmp_path / "journal") as line:
        again = WatchedFolder(line.service, camera, "plate", NOW)
        assert [again.step() for _ in range(3)] == [0, 0, 0]  # another process knows them
        shutil.copy(pictures[4], camera / "c.png")
        assert [again.step() for _ in range(2)] == [0, 1]
        assert names(line) == ["a.png", "001.png", "b.png", "a.png", "c.png"]


def test_what_cannot_be_judged_is_written_down_once(
    saved: Path, pictures: list[Path], tmp_path: Path
) -> None:
    camera = tmp_path / "camera"
    camera.mkdir()
    (camera / "a.png").write_bytes(b"not an image")
    (camera / "b.webp").write_bytes(b"RIFF")
    with running(saved, tmp_path / "journal") as line:
        watched = WatchedFolder(line.service, camera, "plate", Pace(0.0, 0.0, 0.0))
        assert [watched.step() for _ in range(3)] == [0, 2, 0]
        written = [entry.verdict for entry in line.service.journal.entries()]
        errors = {Path(str(one.name)).name: one.error or "" for one in written}
        assert "not an image" in errors["a.png"]  # side by side: either may be the first
        assert "are not read" in errors["b.webp"]
        assert [one.anomalous for one in written] == [None, None]
        shutil.copy(pictures[0], camera / "a.png")
        assert [watched.step() for _ in range(2)] == [0, 1]


def test_the_folder_and_the_category_are_looked_at_first(plain: Running, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        WatchedFolder(plain.service, tmp_path / "none", "plate")
    with pytest.raises(InputError, match="no bank for category"):
        WatchedFolder(plain.service, tmp_path, "screw")
