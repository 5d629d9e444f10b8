"""Another project's `common` in the same process, or on the path of the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USE = "from fedpatchcore import InputError; print(InputError.__module__, InputError.exit_code)"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `fedpatchcore` as a wheel lays it out, the app's folder within it."""
    folder = tmp_path_factory.mktemp("site")
    package = shutil.copytree(ROOT / "fedpatchcore", folder / "fedpatchcore")
    (package / "app").mkdir()
    for name in ("common", "client_app", "server_app"):
        (package / "app" / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A folder with a package `common` that is not ours, and says when it is imported."""
    package = tmp_path / "other" / "common"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("print('the other one')\nwho = 'other'\n")
    return package.parent


def python(code: str, *path: Path) -> subprocess.CompletedProcess[str]:
    """Run code with these folders on its path and no site-packages: the checkout is not there."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-S", "-P", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def refused(done: subprocess.CompletedProcess[str], file: Path) -> bool:
    """Whether it ended with one line that names the other package's file."""
    last = done.stderr.splitlines()[-1]
    return last.startswith(f"ImportError: {file}: another package named `common`")


def test_one_that_is_imported_already_stays(other: Path, site: Path) -> None:
    kept = f"""
import common
try:
    {USE}
finally:
    import sys
    print(common is sys.modules["common"], common.who)
"""
    done = python(kept, other, site)
    assert refused(done, other / "common" / "__init__.py")
    assert done.stdout.splitlines() == ["the other one", "True other"]


def test_one_that_could_be_imported_is_told_and_left_importable(other: Path, site: Path) -> None:
    code = f"""
try:
    {USE}
except ImportError as error:
    import common
    print(common.who)
    raise
"""
    done = python(code, other, site)
    assert refused(done, other / "common" / "__init__.py")
    assert done.stdout.splitlines() == ["the other one", "other"]


def test_one_that_is_imported_after_fedpatchcore_is_the_other(other: Path, site: Path) -> None:
    done = python(f"import fedpatchcore, common; print(common.who)\n{USE}", other, site)
    assert done.stdout.splitlines() == ["the other one", "other"]
    assert refused(done, other / "common" / "__init__.py")


def test_a_single_file_of_that_name_counts_too(tmp_path: Path, site: Path) -> None:
    (tmp_path / "common.py").write_text("who = 'a file'\n")
    assert refused(python(USE, tmp_path, site), tmp_path / "common.py")


def test_modules_in_a_folder_without_init_count_too(tmp_path: Path, site: Path) -> None:
    module = tmp_path / "common" / "parts" / "tools.py"
    module.parent.mkdir(parents=True)
    module.write_text("who = 'a namespace'\n")
    assert refused(python(USE, tmp_path, site), module)
    assert refused(python(f"import common.parts.tools\n{USE}", tmp_path, site), tmp_path / "common")


def test_a_folder_of_images_called_common_is_no_package(tmp_path: Path, site: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "000.png").touch()
    done = python(USE, tmp_path, site)
    assert done.stdout.split() == ["common.errors", "2"], done.stderr


def test_another_server_app_matters_only_to_who_asks_for_ours(tmp_path: Path, site: Path) -> None:
    (tmp_path / "server_app.py").write_text("who = 'other'\n")
    code = f"{USE}\nimport server_app; print(server_app.who)\nfrom fedpatchcore import AGGREGATIONS"
    done = python(code, tmp_path, site)
    assert done.stdout.splitlines() == ["common.errors 2", "other"]
    assert "server_app.py: another package named `server_app`" in done.stderr.splitlines()[-1]


def test_without_another_ours_goes_last_on_the_path(site: Path) -> None:
    done = python(f"import sys\n{USE}\nprint(sys.path[0], sys.path[-1])", site)
    expected = ["common.errors", "2", str(site), str(site / "fedpatchcore" / "app")]
    assert done.stdout.split() == expected, done.stderr


def test_the_command_goes_before_it(other: Path) -> None:
    (other / "common" / "__init__.py").write_text("raise SystemExit('the other one')\n")
    done = subprocess.run(
        [sys.executable, "-m", "fedpatchcore", "--version"],
        cwd=other,
        env={**os.environ, "PYTHONPATH": str(other)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("fedpatchcore ")


def test_the_command_says_so_where_the_other_is_there_before_it(other: Path, site: Path) -> None:
    done = python("import common\nfrom fedpatchcore.command import main\nmain()", other, site)
    assert done.returncode == 1
    assert done.stderr.startswith(f"fedpatchcore: {other / 'common' / '__init__.py'}: another")
    assert len(done.stderr.splitlines()) == 1
