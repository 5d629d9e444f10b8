"""Which work is left to plain loops, whatever the process has done before."""

from __future__ import annotations

import pytest

from common.patchcore.exact import plain


def plain_up_to(patch: pytest.MonkeyPatch, work: int) -> None:
    """So many numbers to be compared in one selection, or in all searches of one bank."""
    patch.setattr(plain, "_LEAST", work)
    patch.setattr(plain, "_MOST", 0)
