"""What a message's process imports is out of the way of the search for garbage."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from common.system.garbage import imported_for_good

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The tests' own imports stay frozen."""
    yield
    gc.freeze()
    gc.enable()


def test_nothing_is_searched_meanwhile_and_what_came_is_searched_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gc.unfreeze()
    with imported_for_good():
        assert not gc.isenabled()
        came = [[number] for number in range(1000)]
        monkeypatch.setitem(sys.modules, "a_module_that_came", ModuleType("a_module_that_came"))
    assert gc.isenabled()
    assert gc.get_freeze_count() >= len(came)


def test_without_a_new_module_nothing_is_put_aside() -> None:
    gc.unfreeze()
    with imported_for_good():
        import json  # noqa: F401
    assert gc.get_freeze_count() == 0


def test_the_search_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), imported_for_good():
        raise ImportError
    assert gc.isenabled()


def test_who_wants_no_search_at_all_gets_none() -> None:
    gc.disable()
    with imported_for_good():
        pass
    assert not gc.isenabled()


@pytest.mark.parametrize("app", ["client_app.app", "server_app.app"])
def test_the_apps_imports_are_frozen_and_leave_out_what_their_first_answer_does_not_need(
    app: str,
) -> None:
    code = (
        f"import gc, sys, {app}\n"
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)\n"
        "print({'scipy', 'numba', 'sklearn', 'torch._dynamo', 'ray'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["True True", "set()"]
