"""`inspect` and `add` on files that no single picture can be read from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from inspection_cases import draw_part
from odd_pictures import no_longer_than, pages, pipe

from common.cli.main import run
from common.inspection.inspector import Inspector
from common.inspection.verdict import choose_rule
from common.inspection.watch import Watcher, WatchOptions
from common.patchcore import PatchCore


def test_an_image_of_two_pages_is_not_judged_by_its_first(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than one picture in a file: `inspect` judged the first, `add` learned it."""
    shown = draw_part(tmp_path / "new/0.png", 1)
    two = pages(tmp_path / "new/1.tif")
    out = tmp_path / "out"
    assert run(["inspect", str(saved), str(two.parent), "--out", str(out)]) == 1
    first, second = json.loads((out / "results.json").read_text())
    assert (first["path"], second["path"]) == (str(shown), str(two))
    assert first["score"] is not None
    assert second["score"] is None
    assert second["error"].startswith(f"{two}: found 2 pictures in one TIFF file")
    assert run(["add", str(saved), str(two), "--out", str(tmp_path / "grown")]) == 2
    assert f"{two}: found 2 pictures" in capsys.readouterr().err
    assert not (tmp_path / "grown").exists()


def test_a_pipe_is_waited_for_by_no_command(saved: Path, tmp_path: Path) -> None:
    """A pipe called like an image blocked `inspect`, and everything behind it in a watch."""
    fifo, shown = pipe(tmp_path / "new/0.png"), draw_part(tmp_path / "new/1.png", 1)
    out = tmp_path / "out"
    with no_longer_than(120):
        assert run(["inspect", str(saved), str(fifo.parent), "--out", str(out)]) == 1
        first, second = json.loads((out / "results.json").read_text())
        assert first["error"].startswith(f"{fifo}: found a pipe, socket or device")
        assert second["score"] is not None
        model = PatchCore.load(saved)
        judged: list[Path] = []
        inspector = Inspector(model, choose_rule(model, "plate"), tmp_path / "watched")
        options = WatchOptions(poll=0.1, settle=0.0, idle=0.0)
        watcher = Watcher(inspector, fifo.parent, options)
        for _ in range(2):
            judged += [result.path for result in watcher.step()]
    assert judged == [shown]
