"""Fixtures shared by all tests: what a test needs from the machine, and what is required to be there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def missing(what: str, reason: str) -> None:
    """Skip with the reason, or fail where `what` is required (FEDPATCHCORE_REQUIRE)."""
    required = os.environ.get("FEDPATCHCORE_REQUIRE", "").split(",")
    if what in [name.strip() for name in required]:
        pytest.fail(f"{what} is required by FEDPATCHCORE_REQUIRE but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with `parts/` (real images, AutoVI layout) and `weights/`."""
    folder = os.environ.get("FEDPATCHCORE_TEST_DATA", "")
    if not folder:
        missing("data", "FEDPATCHCORE_TEST_DATA is not set (folder with parts/ and weights/)")
    path = Path(folder)
    if not (path / "parts").is_dir():
        missing("data", f"FEDPATCHCORE_TEST_DATA={folder} has no folder parts/")
    return path
