"""A station's word about its suspicious images is looked at like any other."""

from __future__ import annotations

import pytest

from common.protocol.messages import AuditFacts, CategoryCounts
from common.protocol.records import MalformedReplyError
from server_app.checks import check_audits

TOLD = {
    "clip": CategoryCounts(images=18, held_out=2, test=0, patches=0, sizes=[], test_sizes=[]),
}


def facts(**changes: int) -> AuditFacts:
    own = {"images": 18, "suspicious": 1, "held_out": 2, "suspicious_held_out": 1, **changes}
    return AuditFacts(**own, can_tell=True)


def test_what_can_be_is_taken() -> None:
    check_audits({"clip": facts()}, TOLD)
    check_audits({}, TOLD)


@pytest.mark.parametrize(
    ("category", "changes", "words"),
    [
        ("bolt", {}, "not in the survey"),
        ("clip", {"images": 19}, "an audit of"),
        ("clip", {"held_out": 3}, "an audit of"),
        ("clip", {"suspicious": 19}, "more suspicious images"),
        ("clip", {"suspicious_held_out": 3}, "more suspicious images"),
    ],
)
def test_what_cannot_be_is_refused(category: str, changes: dict[str, int], words: str) -> None:
    with pytest.raises(MalformedReplyError, match=words):
        check_audits({category: facts(**changes)}, TOLD)
