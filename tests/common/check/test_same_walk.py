"""A run and `check` read a data folder by one walk: what the one refuses, the other names."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

from hypothesis import HealthCheck, event, given, settings
from odd_folders import Tree, lay_out, odd_folders

from common.check import check_folder
from common.check.fault_kinds import WORDS
from common.data.defects import load_regions
from common.data.fault import FaultKind
from common.data.images import read_size, verify_images
from common.data.layout import index_data
from common.errors import InputError


def refusal(root: Path) -> str | None:
    """What a run says that indexes the folder, looks all files over and reads every mask."""
    try:
        index = index_data(root)
        verify_images([path for s in index.samples for path in (s.path, *(s.masks or ()))])
        for sample in index.samples:
            load_regions(sample, index.categories[sample.category], read_size(sample.path))
    except InputError as error:
        return str(error)
    return None


def errors(root: Path) -> list[str]:
    try:
        findings = check_folder(root).findings
    except InputError as error:
        return [str(error)]
    return [f"{f.kind} {f.path}: {f.found}" for f in findings if f.severity == "error"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(odd_folders())
def test_a_run_refuses_a_folder_if_and_only_if_check_finds_an_error(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data"
        lay_out(tree, root)
        said, found = refusal(root), errors(root)
        event("sound" if said is None else "refused")
        assert (said is None) == (not found), (said, found, sorted(tree))


def test_check_has_words_for_every_fault() -> None:
    assert set(WORDS) == set(get_args(FaultKind))
