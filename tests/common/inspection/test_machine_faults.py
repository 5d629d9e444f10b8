"""`inspect`, `--watch` and `add` on machines gone wrong: what was judged stays."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from inspection_cases import draw_part
from machine_cases import fill, mounted, start, without_privilege
from watch_cases import journal_lines

from common.cli.main import run
from common.inspection.inspector import Inspector
from common.inspection.verdict import choose_rule
from common.inspection.watch import Watcher, WatchOptions
from common.patchcore import PatchCore

QUIET = WatchOptions(poll=0.0, settle=0.0, patience=0.0, idle=0.0)


def camera(folder: Path, count: int) -> Path:
    for number in range(count):
        draw_part(folder / f"{number}.png", number)
    return folder


def words(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "internal error" not in err
    return err


def test_a_disk_that_fills_up_keeps_what_was_judged(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk in `inspect`."""
    images = camera(tmp_path / "images", 6)
    with mounted(tmp_path / "disk", "size=2m") as disk:
        fill(disk, leave=36 * 1024)
        code = run(["inspect", str(saved), str(images), "--out", str(disk / "out")])
        assert code == 1
        said = words(capsys)
        assert said.startswith(f"fedpatchcore: {disk / 'out/overlays'}/")
        assert "the disk is full; make room on it" in said
        entries = json.loads((disk / "out/results.json").read_text())
        assert 1 <= len(entries) < 6
        assert f"results of the {len(entries)} images before it" in said
        rows = list(csv.DictReader((disk / "out/results.csv").read_text().splitlines()))
        assert [row["path"] for row in rows] == [entry["path"] for entry in entries]


@pytest.mark.parametrize("kind", ["full", "read-only", "file above", "long name"])
def test_an_out_that_cannot_be_written_is_found_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """An `--out` that cannot be written is found only after minutes of work.

    Neither the model nor the data exist here: whoever looks at the output first does not see that.
    """
    options = ["size=16k", "ro"] if kind == "read-only" else ["size=16k"]
    with mounted(tmp_path / "disk", *options) as disk:
        out, expected = disk / "out", "read-only"
        if kind == "full":
            fill(disk)
            expected = "the disk is full"
        elif kind == "file above":
            (tmp_path / "file").touch()
            out, expected = tmp_path / "file/out", "a file is where a folder is needed"
        elif kind == "long name":
            out, expected = tmp_path / ("o" * 256), "too long"
        for command in (
            ["inspect", "none", "none.png"],
            ["baseline", "none"],
            ["federate", "none"],
            ["evaluate", "none", "none"],
            ["explore", "none"],
            ["split", "none"],
            ["add", "none", "none.png"],
            ["report", "none"],
            ["result", "1"],
            ["demo"],
        ):
            assert run([*command, "--out", str(out)]) == 2, command
            said = words(capsys)
            assert expected in said, (command, said)
            assert said.count("\n") == 1


def test_an_unreadable_file_and_folder_do_not_stop_the_others(saved: Path, tmp_path: Path) -> None:
    """`inspect`: a file and a folder that may not be read, and a link in a circle."""
    images = camera(tmp_path / "images", 3)
    camera(images / "closed", 1)
    (images / "circle.png").symlink_to(images / "circle.png")
    (images / "1.png").chmod(0)
    (images / "closed").chmod(0)
    out = tmp_path / "out"
    try:
        code, said = without_privilege("inspect", saved, images, "--out", out)
    finally:
        (images / "closed").chmod(0o755)
    assert code == 1
    assert said == f"fedpatchcore: 3 images could not be judged, see {out}/results.json\n"
    found = json.loads((out / "results.json").read_text())
    entries = {Path(one["path"]).name: one for one in found}
    assert sorted(entries) == ["0.png", "1.png", "2.png", "circle.png", "closed"]
    for name in ("1.png", "closed"):
        assert f"{images / name}: the user " in entries[name]["error"]
        assert "may not do that (belongs to " in entries[name]["error"]
    assert "links that lead in a circle" in entries["circle.png"]["error"]
    assert entries["0.png"]["score"] is not None
    assert entries["2.png"]["score"] is not None


def test_a_model_of_another_user_is_not_damaged(saved: Path, tmp_path: Path) -> None:
    """A model file of another user: "damaged, train anew" was wrong."""
    shutil.copytree(saved, tmp_path / "model")
    for name in ("bank.safetensors", "model.json"):
        (tmp_path / "model" / name).chmod(0)
        code, said = without_privilege("show", tmp_path / "model")
        assert code == 2
        assert f"{tmp_path / 'model' / name}: the user " in said
        assert "mode 0); change its owner or mode" in said
        (tmp_path / "model" / name).chmod(0o600)


def test_add_on_a_full_disk_leaves_the_model(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full disk in `add`."""
    images = camera(tmp_path / "images", 0)
    draw_part(images / "new.png", 5, defect=True)
    with mounted(tmp_path / "disk", "size=2m") as disk:
        shutil.copytree(saved, disk / "model")
        before = (disk / "model/bank.safetensors").read_bytes()
        fill(disk, leave=16 * 1024)
        assert run(["add", str(disk / "model"), str(images), "--yes"]) == 1
        assert "the disk is full" in words(capsys)
        assert (disk / "model/bank.safetensors").read_bytes() == before
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "model"]
        assert run(["show", str(disk / "model")]) == 0


class _Closed:
    """What a camera's disk does: a file that is listed and cannot be opened."""

    def __init__(self, watch: Watcher) -> None:
        self.watch = watch

    def look(self, times: int = 3) -> list[tuple[str, bool]]:
        return [
            (result.path.name, result.error is None)
            for _ in range(times)
            for result in self.watch.step()
        ]


def watching(model: PatchCore, folder: Path, out: Path) -> _Closed:
    return _Closed(Watcher(Inspector(model, choose_rule(model, "plate"), out), folder, QUIET))


def test_a_watched_file_that_cannot_be_opened_is_told_once_and_judged_later(
    fitted: PatchCore, tmp_path: Path
) -> None:
    """`--watch` passed a file that cannot be opened over for ever, and `--idle` never fired."""
    folder = camera(tmp_path / "camera", 1)
    (folder / "b.png").symlink_to(tmp_path / ("n" * 300))  # opening it fails, for root, too
    seen = watching(fitted, folder, tmp_path / "out")
    assert sorted(seen.look()) == [("0.png", True), ("b.png", False)]
    assert seen.look() == []  # said once
    seen.watch.run(lambda result: None)  # idle, though the file is still there
    again = watching(fitted, folder, tmp_path / "out")
    assert again.look() == []  # nor again after a restart
    (folder / "b.png").unlink()
    draw_part(folder / "b.png", 9)
    assert again.look() == [("b.png", True)]
    again.watch.run(lambda result: None)
    entries = json.loads((tmp_path / "out/results.json").read_text())
    assert [Path(entry["path"]).name for entry in entries if "error" not in entry] == [
        "0.png",
        "b.png",
    ]
    assert "too long" in next(entry["error"] for entry in entries if "error" in entry)
    lines = (tmp_path / "out/results.csv").read_text().splitlines()
    assert len(lines) == 4  # header, 0.png, b.png refused, b.png judged
    assert watching(fitted, folder, tmp_path / "out").look() == []


def test_a_picture_that_nobody_reads_is_told_at_once(fitted: PatchCore, tmp_path: Path) -> None:
    """It was passed over in silence; and it gets no better by waiting, as half a file does."""
    folder = camera(tmp_path / "camera", 1)
    (folder / "1.heic").write_bytes(b"ftypheic")
    rule = choose_rule(fitted, "plate")
    patient = WatchOptions(poll=0.0, settle=0.0, patience=3600.0, idle=0.0)
    seen = _Closed(Watcher(Inspector(fitted, rule, tmp_path / "out"), folder, patient))
    assert sorted(seen.look()) == [("0.png", True), ("1.heic", False)]


def test_a_day_folder_that_is_removed_during_the_walk(
    fitted: PatchCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day-folder removed during the walk ended the watch."""
    folder = camera(tmp_path / "camera", 1)
    camera(folder / "monday", 1)
    seen = watching(fitted, folder, tmp_path / "out")
    scan = os.scandir

    def rotate(path: str | int) -> object:
        if isinstance(path, int):  # removing a folder looks into it, too
            return scan(path)
        found = list(scan(path))
        if Path(path) == folder:
            shutil.rmtree(folder / "monday", ignore_errors=True)
        return found

    monkeypatch.setattr(os, "scandir", rotate)
    assert seen.look() == [("0.png", True)]
    monkeypatch.undo()
    shutil.rmtree(folder)  # the whole share, for a while
    assert seen.look() == [("camera", False)]
    camera(folder, 2)
    assert seen.look() == [("1.png", True)] or len(seen.watch.journal.entries) == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_watch_has_its_results(saved: Path, tmp_path: Path, number: int) -> None:
    """Whoever ends a watch is told so, and finds both files of results."""
    folder = camera(tmp_path / "camera", 2)
    (tmp_path / "tmp").mkdir()
    out = tmp_path / "out"
    process = start("inspect", saved, "--watch", folder, "--out", out, TMPDIR=str(tmp_path / "tmp"))
    until = time.monotonic() + 60
    while len(journal_lines(out)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(number)
    printed, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, b"fedpatchcore: interrupted\n")
    assert b"2 images" in printed
    assert len(json.loads((out / "results.json").read_text())) == 2
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_reader_of_the_output_that_has_gone(saved: Path, tmp_path: Path) -> None:
    """`inspect | head -1` lost both files of results."""
    images = camera(tmp_path / "images", 4)
    process = start("inspect", saved, images, "--out", tmp_path / "out", PYTHONUNBUFFERED="1")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert len(json.loads((tmp_path / "out/results.json").read_text())) == 4


def test_no_home_and_no_cache_is_said_before_the_work(
    parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No HOME and no writable cache."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "file/cache"))
    settings = ["--set", "backbone=resnet18", "--set", "weights=random"]
    for command in ("baseline", "federate"):
        code = run([command, str(parts), "--out", str(tmp_path / "out"), *settings])
        said = words(capsys)
        assert (code, said.count("\n")) == (2, 1)
        assert "the cache cannot be used" in said
        assert "FEDPATCHCORE_CACHE" in said
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("FEDPATCHCORE_CACHE", "~nobody-of-this-name/cache")
    assert run(["baseline", str(parts), "--out", str(tmp_path / "out"), *settings]) == 2
    assert "is nobody's home folder" in words(capsys)


def test_files_of_a_run_follow_the_umask(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`bank.safetensors` was for its owner alone, whatever the umask."""
    monkeypatch.setenv("FEDPATCHCORE_CACHE", str(tmp_path / "cache"))
    old = os.umask(0o002)
    try:
        words = ["baseline", str(parts), "--out", str(tmp_path / "run"), "--set", "weights=random"]
        assert run([*words, "--set", "backbone=resnet18"]) == 0
    finally:
        os.umask(old)
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "run").rglob("*")}
    assert tmp_path / "run/model/bank.safetensors" in modes
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o664}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o775}
    features = tmp_path / "cache/simulation/features"
    assert features.stat().st_mode & 0o777 == 0o700  # features are not anonymous
