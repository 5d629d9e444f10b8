"""Long steps say now and then how far they are; short ones say nothing."""

from __future__ import annotations

import logging

import pytest

from common.patchcore import estimate as _estimate
from common.patchcore.estimate import Estimate


def test_a_line_each_half_minute_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr(_estimate.time, "monotonic", lambda: clock[0])
    calls: list[tuple[int, int]] = []
    caplog.set_level(logging.INFO, logger="fedpatchcore")
    progress = Estimate("rows chosen", lambda done, total: calls.append((done, total)))
    for seconds, done in ((10, 10), (40, 20), (50, 25), (80, 40), (200, 100)):
        clock[0] = 100.0 + seconds
        progress(done, 100)
    # After 40 s a fifth is done: 160 s left. After 80 s two fifths: 120 s. The end says nothing.
    assert [record.getMessage() for record in caplog.records] == [
        "rows chosen: 20 of 100, about 160 s left",
        "rows chosen: 40 of 100, about 120 s left",
    ]
    assert calls == [(10, 100), (20, 100), (25, 100), (40, 100), (100, 100)]
