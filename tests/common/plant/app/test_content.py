"""One hash for one app: whatever packs it and wherever it is installed, and no other's."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from app_archives import MINIMAL, pack, unpack
from flwr.cli.build import build_fab_from_disk

from common.cli.main import run
from common.errors import InputError
from common.plant.app.archive import read_archive
from common.plant.app.content import PROJECT, PROJECT_BYTES, App
from common.plant.app.installed import installed_app

ROOT = Path(__file__).parents[4]
PACKAGES = ("client_app", "common", "server_app")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this one, as it is submitted from."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / "copy" / name)
    for name in (PROJECT, ".gitignore", "README.md"):
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def test_what_flower_submits_is_what_is_installed() -> None:
    assert read_archive(build_fab_from_disk(ROOT)).hash == installed_app().hash


def test_a_wheels_layout_gives_the_same(checkout: Path) -> None:
    """There the app's folder has no README, no .gitignore, and compiled files."""
    (checkout / ".gitignore").unlink()
    (checkout / "README.md").unlink()
    (checkout / "common" / "__pycache__").mkdir(exist_ok=True)
    (checkout / "common" / "__pycache__" / "paths.cpython-311.pyc").write_bytes(b"compiled")
    assert installed_app(checkout).hash == installed_app().hash


@pytest.mark.parametrize("level", [None, 0, 9])
def test_packed_otherwise_it_is_the_same_app(level: int | None) -> None:
    fab = build_fab_from_disk(ROOT)
    contents = dict(reversed(unpack(fab).items()))
    again = pack(contents, level, date=(2031, 2, 3, 4, 5, 6))
    assert again != fab
    assert read_archive(again).hash == read_archive(fab).hash


def test_how_the_project_file_is_written_does_not_count_and_what_it_says_does() -> None:
    app = installed_app()
    project = app.contents[PROJECT]
    said = b"# another hand\n" + project.replace(b" = ", b"=").replace(b"\n", b"\r\n")
    assert App({**app.contents, PROJECT: said}).hash == app.hash
    assert b"seed = 42" in project
    other = project.replace(b"seed = 42", b"seed = 43")
    assert App({**app.contents, PROJECT: other}).hash != app.hash
    # Of another kind with the same text: 42 is not "42".
    text = project.replace(b"seed = 42", b'seed = "42"')
    assert App({**app.contents, PROJECT: text}).hash != app.hash


def changed_byte(folder: Path) -> None:
    path = folder / "common" / "paths.py"
    path.write_bytes(path.read_bytes().replace(b"255", b"254", 1))


def added_file(folder: Path) -> None:
    (folder / "client_app" / "more.py").write_text("")


def renamed_file(folder: Path) -> None:
    (folder / "client_app" / "deadline.py").rename(folder / "client_app" / "deadline2.py")


def removed_file(folder: Path) -> None:
    (folder / "client_app" / "deadline.py").unlink()


def swapped_files(folder: Path) -> None:
    one, two = folder / "client_app" / "deadline.py", folder / "client_app" / "failures.py"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


def line_endings(folder: Path) -> None:
    path = folder / "common" / "paths.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


@pytest.mark.parametrize(
    "change",
    [changed_byte, added_file, renamed_file, removed_file, swapped_files, line_endings],
)
def test_another_app_has_another_hash(checkout: Path, change: Callable[[Path], None]) -> None:
    before = installed_app(checkout)
    change(checkout)
    after = installed_app(checkout)
    assert after.hash != before.hash
    # As it is submitted, too.
    assert read_archive(build_fab_from_disk(checkout)).hash == after.hash


@pytest.mark.parametrize("place", ["", "common", "common/plant/keys", "server_app", "docs"])
def test_a_page_of_text_makes_no_other_app(checkout: Path, place: str) -> None:
    before = build_fab_from_disk(checkout)
    (checkout / place).mkdir(exist_ok=True)
    (checkout / place / "README.md").write_text("Read me, another time.")
    assert build_fab_from_disk(checkout) == before


def test_files_where_no_pattern_leads_are_not_even_looked_at(checkout: Path) -> None:
    (checkout / "outputs").mkdir()
    (checkout / "outputs" / "secret.py").write_text("")
    (checkout / "common" / "link.py").symlink_to(checkout / "outputs" / "secret.py")
    assert installed_app(checkout).hash == installed_app().hash


def test_a_list_whose_lines_could_be_another_lists() -> None:
    """Path, length and content are told apart: one cannot flow into the next."""
    one = App({**MINIMAL, "a/b.py": b"", "a/c.py": b"xy"})
    two = App({**MINIMAL, "a/b.py": b"x", "a/c.py": b"y"})
    three = App({**MINIMAL, "a/b.pya/c.py": b"xy"})
    assert len({one.hash, two.hash, three.hash}) == 3


@pytest.mark.parametrize(
    ("project", "said"),
    [
        (None, "has no pyproject.toml"),
        (b"\xff", "is no TOML file"),
        (b"a = [", "is no TOML file"),
        (b"a = " + b"[" * 5000, "is no TOML file"),
        (b".".join([b"a"] * 4000) + b" = 1", "is no TOML file"),
        (b"#" * (PROJECT_BYTES + 1), f"has {PROJECT_BYTES + 1} bytes"),
        (b"", "names no publisher, name and version"),
        (b"tool = 1\nproject = 2", "names no publisher, name and version"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_project_file_that_is_none(project: bytes | None, said: str) -> None:
    contents = {"a.py": b""} if project is None else {PROJECT: project}
    with pytest.raises(InputError, match=said):
        assert App(contents).hash


def test_what_flower_drops_does_not_count() -> None:
    more = MINIMAL[PROJECT] + tomli_w.dumps({"tool": {"flwr": {"federations": {"a": 1}}}}).encode()
    assert App({PROJECT: more}).hash == App(MINIMAL).hash


def test_the_command_prints_the_hash_and_what_it_is_made_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["plant", "app", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    app = installed_app()
    assert (told["app"], told["hash"]) == ("fedpatchcore/fedpatchcore", app.hash)
    assert {file["path"] for file in told["files"]} == set(app.contents)
    assert run(["plant", "app"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == app.hash
    assert len(shown) == 2
    assert run(["plant", "app", "--files"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == app.hash
    assert all(any(f" {path} " in line for line in shown) for path in app.contents)


def test_an_app_that_flower_does_not_pack_is_named(tmp_path: Path) -> None:
    project = {
        "project": {"name": "x", "version": "1"},
        "tool": {"flwr": {"app": {"publisher": "y", "fab-include": ["nowhere/**/*.py"]}}},
    }
    (tmp_path / PROJECT).write_text(tomli_w.dumps(project))
    with pytest.raises(InputError, match=f"{tmp_path}: is no app that Flower packs"):
        installed_app(tmp_path)


def test_the_archive_is_a_zip_as_others_read_it() -> None:
    names = zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT))).namelist()
    assert set(names) == {*installed_app().contents, ".info/CONTENT"}
