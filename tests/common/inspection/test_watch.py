"""A watched folder: nothing is judged twice, nothing is lost, nothing is judged half written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from inspection_cases import draw_part
from watch_cases import journal_lines, start_watching

from common.cli.main import run
from common.errors import InputError
from common.inspection.inspector import Inspector
from common.inspection.journal import Journal
from common.inspection.results import GrowingResults
from common.inspection.verdict import choose_rule
from common.inspection.watch import Watcher, WatchOptions
from common.patchcore import PatchCore

NOW = WatchOptions(poll=0.0, settle=0.0, patience=1e9, idle=0.0)
"""A file counts as settled when it is found unchanged by a second look."""


def watcher(model: PatchCore, folder: Path, out: Path, options: WatchOptions = NOW) -> Watcher:
    return Watcher(Inspector(model, choose_rule(model, "plate"), out), folder, options)


def judged(watch: Watcher, looks: int = 2) -> list[str]:
    """Names judged in so many looks at the folder."""
    return [result.path.name for _ in range(looks) for result in watch.step()]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_a_file_is_judged_when_it_is_whole(fitted: PatchCore, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "camera"
    whole = draw_part(tmp_path / name, 1).read_bytes()
    folder.mkdir()
    watch = watcher(fitted, folder, tmp_path / "out")
    arriving = folder / name
    for end in (0, 100, len(whole) // 2, len(whole) - 1):
        arriving.write_bytes(whole[:end])
        assert judged(watch, 3) == []  # unchanged between two looks, and still not decodable
    arriving.write_bytes(whole)
    assert judged(watch, 1) == []  # it has just changed
    assert judged(watch, 3) == [name]
    (folder / "b.png.part").write_bytes(whole[:100])
    for left in (".c.png", "@eaDir/c.png", "$RECYCLE.BIN/c.png", "lost+found/c.png"):
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).write_bytes(whole)
    assert judged(watch) == []
    (folder / "b.png.part").rename(folder / "b.png")
    (folder / "b.png").write_bytes(draw_part(tmp_path / "b.png", 2).read_bytes())
    assert judged(watch) == ["b.png"]
    entries = [entry["path"] for entry in watch.journal.entries]
    assert entries == [str(folder / name), str(folder / "b.png")]


def test_a_file_that_never_becomes_readable_is_reported_once(
    fitted: PatchCore, tmp_path: Path
) -> None:
    folder = tmp_path / "camera"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"not an image")
    impatient = WatchOptions(poll=0.0, settle=0.0, patience=0.0, idle=0.0)
    watch = watcher(fitted, folder, tmp_path / "out", impatient)
    (result,) = [result for _ in range(4) for result in watch.step()]
    assert result.score is None
    assert "not an image" in str(result.error)
    draw_part(folder / "a.png", 1)  # and when it is written anew, it is judged
    assert judged(watch) == ["a.png"]


def test_the_same_name_with_another_picture_is_another_image(
    fitted: PatchCore, tmp_path: Path
) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    draw_part(folder / "last.png", 1)
    watch = watcher(fitted, folder, out)
    assert judged(watch, 3) == ["last.png"]
    os.utime(folder / "last.png", (1, 1))  # touched
    assert judged(watch, 3) == []
    (folder / "last.png").write_bytes((folder / "last.png").read_bytes())  # copied over itself
    assert judged(watch, 3) == []
    draw_part(folder / "last.png", 2, defect=True)
    assert judged(watch, 3) == ["last.png"]
    assert [entry["overlay"] for entry in watch.journal.entries] == [
        "overlays/last.png",
        "overlays/last.png.png",
    ]


def test_what_changes_while_it_is_judged_is_judged_again(
    fitted: PatchCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "camera"
    draw_part(folder / "a.png", 1)
    watch = watcher(fitted, folder, tmp_path / "out")
    judge = watch.inspector.judge

    def overwritten(images: Any) -> Any:
        for result in judge(images):
            draw_part(folder / "a.png", 2, defect=True)
            yield result

    monkeypatch.setattr(watch.inspector, "judge", overwritten)
    assert judged(watch, 2) == []
    monkeypatch.undo()
    assert judged(watch, 2) == ["a.png"]
    (entry,) = watch.journal.entries
    assert entry["score"] == fitted.predict_single(folder / "a.png").score


def test_a_restart_goes_on_where_the_crash_was(fitted: PatchCore, tmp_path: Path) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    for number in range(4):
        draw_part(folder / f"sub/{number}.png", number)
    watch = watcher(fitted, folder, out)
    list(watch.step())
    steps = watch.step()
    assert [next(steps).path.name for _ in range(2)] == ["0.png", "1.png"]
    watch.journal.close()  # what the end of a process does to its file and lock
    with (out / "journal.jsonl").open("ab") as file:
        file.write(b'{"path": "half a li')
    again = watcher(fitted, folder, out)
    names: list[str] = []
    again.run(lambda result: names.append(result.path.name))
    assert names == ["2.png", "3.png"]
    entries = json.loads((out / "results.json").read_text())
    assert [Path(entry["path"]).name for entry in entries] == [f"{n}.png" for n in range(4)]
    assert set(entries[0]) == {
        "path", "category", "score", "threshold", "anomalous", "regions", "overlay",
    }  # fmt: skip
    assert all((out / entry["overlay"]).is_file() for entry in entries)


def test_a_look_with_nothing_new_reads_and_writes_nothing(
    fitted: PatchCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    for number in range(5):
        draw_part(folder / f"{number}.png", number)
    watch = watcher(fitted, folder, out)
    assert len(judged(watch, 2)) == 5
    watch.results.write()
    before = {path.name: path.stat().st_ino for path in out.glob("results.*")}
    opened: list[str] = []
    opens = Path.open

    def counted(self: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(self.name)
        return opens(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)
    looks = 0
    while looks < 3:
        assert list(watch.step()) == []
        watch.results.write()
        looks += 1
    assert opened == []
    # Every write makes a new file: the same inodes mean that none took place.
    assert {path.name: path.stat().st_ino for path in out.glob("results.*")} == before
    draw_part(folder / "new.png", 9)
    assert judged(watch, 2) == ["new.png"]
    assert opened.count("new.png") >= 2
    ours = {name for name in opened if name.endswith(".partial")}
    assert set(opened) - ours == {"new.png"}  # and none of the five again


def test_of_a_large_backlog_the_first_are_judged_before_the_last_are_read(
    fitted: PatchCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "camera"
    for number in range(7):
        draw_part(folder / f"{number}.png", number)
    monkeypatch.setattr("common.inspection.watch._AT_ONCE", 1)
    monkeypatch.setattr("common.inspection.watch._BATCHES", 3)
    watch = watcher(fitted, folder, tmp_path / "out")
    looks = [judged(watch, 1) for _ in range(5)]
    assert [len(names) for names in looks] == [0, 3, 3, 1, 0]
    assert [name for names in looks for name in names] == [f"{n}.png" for n in range(7)]


def test_results_follow_the_journal_seldom_and_miss_nothing(tmp_path: Path) -> None:
    entries = [
        {
            "path": f"/c/{number}, a.png", "category": "é", "score": 1.5, "threshold": 1.0,
            "anomalous": True, "regions": [{"area": 3, "peak_row": 1, "peak_column": 2}] * number,
            "overlay": None,
        }
        for number in range(3)
    ]  # fmt: skip
    growing = GrowingResults(tmp_path, entries[:1], interval=1e9)
    growing.write_when_due()
    for entry in entries[1:]:
        growing.add(entry)
        growing.write_when_due()  # not due for a long time
    assert json.loads((tmp_path / "results.json").read_text()) == entries[:1]
    growing.write()
    text = (tmp_path / "results.json").read_text()
    assert text == json.dumps(entries, indent=2, ensure_ascii=False) + "\n"
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [entry["path"] for entry in entries]
    assert [row["regions"] for row in rows] == ["0", "1", "2"]
    eager = GrowingResults(tmp_path / "eager", [], interval=0.0)
    eager.write_when_due()
    assert (tmp_path / "eager/results.json").read_text() == "[]\n"
    eager.add(entries[2])
    while not json.loads((tmp_path / "eager/results.json").read_text()):
        eager.write_when_due()  # at once, or when the pause after the first write is over


def test_results_of_a_watch_belong_to_one_judge(fitted: PatchCore, tmp_path: Path) -> None:
    folder, out = tmp_path / "camera", tmp_path / "out"
    draw_part(folder / "0.png", 0)
    watch = watcher(fitted, folder, out)
    with pytest.raises(InputError, match="another process"):
        watcher(fitted, folder, out)
    watch.journal.close()
    rule = choose_rule(fitted, "plate", 123.0)
    with pytest.raises(InputError, match="written with another threshold"):
        Watcher(Inspector(fitted, rule, out), folder, NOW)
    with pytest.raises(InputError, match="no such folder"):
        watcher(fitted, tmp_path / "absent", out)


def test_a_damaged_journal_is_not_written_over(tmp_path: Path) -> None:
    journal = Journal(tmp_path, {"model": "m"})
    journal.add({"path": "a"})
    journal.close()
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b"\x00\x00\n" + path.read_bytes())
    content = path.read_bytes()
    with pytest.raises(InputError, match="damaged"):
        Journal(tmp_path, {"model": "m"})
    assert path.read_bytes() == content


def test_an_inspection_does_not_overwrite_a_watch(saved: Path, tmp_path: Path) -> None:
    image = draw_part(tmp_path / "camera/0.png", 0)
    out = ["--out", str(tmp_path / "out")]
    assert run(["inspect", str(saved), "--watch", str(image.parent), "--idle", "0", *out]) == 0
    assert len(journal_lines(tmp_path / "out")) == 1
    assert run(["inspect", str(saved), str(image), *out]) == 2


def test_kill_9_and_restart_judge_every_image_once(saved: Path, tmp_path: Path) -> None:
    """Files arrive slowly, in pieces, while the watching process is killed and started again."""
    folder, out, source = tmp_path / "camera", tmp_path / "out", tmp_path / "source"
    folder.mkdir()
    pictures = [draw_part(source / f"{n:02d}.png", n, defect=n % 3 == 0) for n in range(24)]

    def deliver() -> None:
        for path in pictures:
            content = path.read_bytes()
            with (folder / path.name).open("wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                time.sleep(0.1)
                file.write(content[len(content) // 2 :])

    sender = threading.Thread(target=deliver)
    process = start_watching(saved, folder, out)
    try:
        deadline = time.monotonic() + 120
        sender.start()
        while len(journal_lines(out)) < 5 and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    before = journal_lines(out)
    sender.join()
    assert 5 <= len(before) <= 24
    process = start_watching(saved, folder, out, "--idle", "1")
    try:
        assert process.wait(120) == 0
    finally:
        process.kill()
    lines = journal_lines(out)
    assert lines[: len(before)] == before
    assert Counter(Path(line["path"]).name for line in lines) == {p.name: 1 for p in pictures}
    scores = PatchCore.load(saved).predict(pictures, "plate")
    expected = {path.name: one.score for path, one in zip(pictures, scores, strict=True)}
    assert {Path(line["path"]).name: line["score"] for line in lines} == expected
    assert len(json.loads((out / "results.json").read_text())) == 24
    shutil.rmtree(folder)


def test_files_of_any_name_are_judged_and_a_restart_is_clean(
    fitted: PatchCore, tmp_path: Path
) -> None:
    """Surrogates written strictly, and derived names longer than their source."""
    folder, out = tmp_path / "camera", tmp_path / "out"
    names = ["x" * 251 + ".png", os.fsdecode(b"\xff.png"), "nut [m8]\n.png", "x" * 250 + "y.png"]
    for seed, name in enumerate(names):
        draw_part(tmp_path / "new.png", seed)
        folder.mkdir(exist_ok=True)
        (tmp_path / "new.png").rename(folder / name)
    watch = watcher(fitted, folder, out)
    assert sorted(judged(watch)) == sorted(names)
    watch.results.write()
    watch.journal.close()
    # The first version wrote half surrogate pairs into its journal, and then failed for ever.
    journal = out / "journal.jsonl"
    told = journal.read_text(encoding="utf-8").replace(r"/\\xff.png", r"/\udcff.png")
    journal.write_text(told, encoding="utf-8")
    again = watcher(fitted, folder, out)
    again.results.write()
    assert judged(again) == []
    entries = json.loads((out / "results.json").read_text(encoding="utf-8"))
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [one["path"] for one in entries]
    assert {str(folder / r"\xff.png"), str(folder / names[2])} <= {one["path"] for one in entries}
    assert len({one["overlay"] for one in entries}) == len(names)
    assert all((out / one["overlay"]).is_file() for one in entries)
