"""The example of docs/judging.md, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from inspection_cases import draw_part

from common.patchcore import PatchCore


def test_the_example_runs_and_says_what_inspect_says(
    fitted: PatchCore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = Path(__file__).parents[3] / "docs" / "judging.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    model = PatchCore(fitted.settings, extractor=fitted.extractor)
    model.set_bank("shared", fitted.banks["plate"])
    model.categories = ("tank_screw",)
    model.thresholds = {"tank_screw": fitted.thresholds["plate"]}
    model.save(tmp_path / "outputs/iid/model")
    good = draw_part(tmp_path / "photos/a.png", 100)
    bad = draw_part(tmp_path / "photos/b.png", 200, defect=True)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {})
    scores = [one.score for one in fitted.predict([good, bad], "plate")]
    limit = fitted.thresholds["plate"]["value"]
    assert capsys.readouterr().out.splitlines() == [
        f"{name} {score} {score > limit} (48, 72)"
        for name, score in zip(("a.png", "b.png"), scores, strict=True)
    ]
