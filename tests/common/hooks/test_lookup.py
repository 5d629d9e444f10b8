"""The look-up itself, and what the table promises."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from common.errors import InputError
from common.hooks.lookup import find, replace, require, require_function
from common.hooks.table import ACTIVATE, TABLE, Hook

ROOT = Path(__file__).parents[3]


def test_a_name_is_followed_through_modules_that_nobody_has_imported() -> None:
    code = (
        "import sys; from common.hooks import lookup, table\n"
        "heavy = {'torch', 'flwr', 'numba', 'uvicorn', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "hook = table.Hook('pip', 'json.tool.main', '1', '2', 'a test')\n"
        "assert 'json' not in sys.modules or 'json.tool' not in sys.modules\n"
        "print(lookup.require(hook).__module__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "json.tool\n"


def test_an_attribute_of_an_instance() -> None:
    hook = Hook("pip", "io.StringIO:name", "1", "1", "a test")
    with Path(__file__).open() as file:
        assert require(hook, file) == str(Path(__file__))
    with pytest.raises(InputError, match=r"has no io\.StringIO:name \(a test\)"):
        require(hook, object())


@pytest.mark.parametrize(
    ("library", "first", "last", "said"),
    [
        ("nowhere", "1", "1", 'nowhere (not installed) has no a.b (a test); tested with nowhere 1: '
         'pip install "nowhere==1"'),
        ("pip", "1", "3.2", ' has no a.b (a test); tested with pip 1 to 3.2: '
         'pip install "pip>=1,<=3.2"'),
    ],
)  # fmt: skip
def test_what_to_install(library: str, first: str, last: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        require(Hook(library, "a.b", first, last, "a test"))
    assert str(error.value).endswith(said)


def test_a_trial_decides_and_each_line_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    hook = Hook("pip", "operator.add", "1", "1", "sums", "counted by hand")
    assert find(hook, lambda add: add(2, 3) == 5) is not None
    assert caplog.messages == []
    for _ in range(2):
        assert find(hook, lambda add: add(2, 3) == 6) is None
        assert find(hook, lambda add: add(2)) is None
    one, two = caplog.messages
    assert "(sums) works otherwise than it did (another result): counted by hand;" in one
    assert "(TypeError: add expected 2 arguments, got 1)" in two


def test_flower_is_tested_with_the_version_that_is_installed_with_us() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [d.partition("==")[2] for d in project["dependencies"] if d.startswith("flwr")]
    flower = [hook for hook in TABLE if hook.library == "flwr"]
    assert {hook.first for hook in flower} == {hook.last for hook in flower} == set(pins)


def test_entries_are_whole() -> None:
    assert len({hook.name for hook in TABLE}) == len(TABLE) > 10
    for hook in TABLE:
        assert hook.use, hook
        # What is Flower's has no other way, but for what a preflight only asks beforehand; the
        # mathematics always has one.
        other_way = hook.library in ("torch", "numba") or hook is ACTIVATE
        assert bool(hook.without) == other_way, hook


def test_something_of_ours_is_put_where_a_function_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    monkeypatch.setattr(json, "JSONEncoder", json.JSONEncoder)  # put back at the end
    replace(Hook("pip", "json.encoder.JSONEncoder", "1", "1", "a test"), "ours", json.dumps)
    assert json.JSONEncoder == "ours"
    assert json.encoder.JSONEncoder != "ours"  # where others look, all is as it was
    unused = Hook("pip", "json.scanner.make_scanner", "1", "1", "a test")
    with pytest.raises(InputError, match=r"^json of pip .* does not use json\.scanner\.make_scan"):
        replace(unused, "ours", json.dumps)


def test_a_module_in_the_place_of_a_function() -> None:
    assert require_function(Hook("pip", "json.dumps", "1", "1", "a test"))([1]) == "[1]"
    module = Hook("pip", "json.decoder", "1", "1", "a test")
    with pytest.raises(InputError, match=r"has no json\.decoder \(a test\); tested with pip 1: "):
        require_function(module)
