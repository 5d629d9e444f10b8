"""What tests need from the machine: they skip with a reason, or fail where it is required."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str, reason: str) -> NoReturn:
    """Skip with the reason, or fail where `what` is required (FEDPATCHCORE_REQUIRE)."""
    required = os.environ.get("FEDPATCHCORE_REQUIRE", "").split(",")
    if what in [name.strip() for name in required]:
        pytest.fail(f"{what} is required by FEDPATCHCORE_REQUIRE but {reason}")
    pytest.skip(reason)
