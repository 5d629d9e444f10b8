"""`import fedpatchcore`: the public names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import common.analysis
import fedpatchcore
from common.evaluation.mergeable.counts import EvaluationCounts
from common.patchcore.coreset import select_coreset
from common.patchcore.memory_bank import MemoryBank
from server_app.aggregation import AGGREGATIONS

ROOT = Path(__file__).parents[2]


def test_the_names_are_those_of_the_packages() -> None:
    assert fedpatchcore.select_coreset is select_coreset
    assert fedpatchcore.MemoryBank is MemoryBank
    assert fedpatchcore.EvaluationCounts is EvaluationCounts
    assert fedpatchcore.AGGREGATIONS is AGGREGATIONS
    for name in fedpatchcore.__all__:
        assert getattr(fedpatchcore, name) is not None
    plots = [name for name in common.analysis.__all__ if name.startswith("plot_")]
    assert len(plots) > 5
    assert set(plots) < set(fedpatchcore.__all__)
    assert set(fedpatchcore.__all__) <= set(dir(fedpatchcore))


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert fedpatchcore.__version__ == project["version"]


def test_an_unknown_name_is_refused_as_python_does_it() -> None:
    with pytest.raises(AttributeError, match="'fedpatchcore' has no attribute 'FederatedServer'"):
        fedpatchcore.FederatedServer  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'FederatedServer'"):
        from fedpatchcore import FederatedServer  # noqa: F401


def test_the_import_alone_loads_and_changes_nothing() -> None:
    code = (
        "import sys; before = list(sys.path); import fedpatchcore; "
        "print([name for name in ('common', 'server_app', 'torch', 'numpy') if name in sys.modules]"
        ", sys.path == before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True"]


def test_type_checkers_may_rely_on_its_types() -> None:
    assert (ROOT / "fedpatchcore" / "py.typed").is_file()
