"""The list of checks, and running all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from common.check import image_checks, layout_checks, mask_checks
from common.check.facts import Progress
from common.check.findings import CheckOptions, Finding, Kind, Report
from common.check.survey import Survey, take_survey
from common.data.images import natural_key
from common.data.layout import index_data
from common.errors import InputError

Check = Callable[[Survey], Iterator[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    layout_checks.strange_folders,
    layout_checks.misplaced_files,
    layout_checks.nesting,
    layout_checks.spelling,
    layout_checks.defects_in_train,
    layout_checks.empty_folders,
    layout_checks.missing_splits,
    layout_checks.strange_entries,
    layout_checks.same_stems,
    layout_checks.defect_like_names,
    mask_checks.defect_tables,
    mask_checks.mixed_layouts,
    mask_checks.missing_masks,
    mask_checks.orphaned_masks,
    mask_checks.mask_contents,
    image_checks.unreadable_images,
    image_checks.wrong_suffixes,
    image_checks.uniform_images,
    image_checks.small_images,
    image_checks.mixed_sizes,
    image_checks.mixed_colours,
    image_checks.duplicates,
    image_checks.too_few_images,
)
"""Every check looks at the whole folder and names all that it finds; their order is that of the
report within one severity and path."""

REFUSED: Final = Kind(
    "refused",
    "error",
    "a run would refuse the folder with these words",
    "do as they say",
)
_ORDER: Final = {"error": 0, "warning": 1, "note": 2}


def check_folder(
    root: Path, options: CheckOptions | None = None, progress: Progress | None = None
) -> Report:
    """Look a data folder over and name every fault in it.

    Parameters
    ----------
    root : Path
        Folder of category folders, AutoVI or MVTec layout.
    options : CheckOptions, optional
    progress : callable (images done, images), optional

    Returns
    -------
    Report

    Raises
    ------
    InputError
        If there is nothing to look over: no folder, or no category in it.
    """
    root = root.expanduser()
    survey = take_survey(root, options or CheckOptions(), progress)
    findings = [finding for check in CHECKS for finding in check(survey)]
    if not any(finding.severity == "error" for finding in findings):
        findings += _refusal(root)
    findings.sort(key=lambda f: (_ORDER[f.severity], natural_key(str(f.path))))
    return Report(
        root,
        findings,
        images=sum(len(part.pictures) for part in survey.parts),
        masks=sum(len(part.masks) for part in survey.parts),
        categories=[part.name for part in survey.parts],
    )


def _refusal(root: Path) -> Iterator[Finding]:
    """What the index itself says: no folder passes here that a run refuses."""
    try:
        index_data(root)
    except InputError as error:
        yield REFUSED.at(root, str(error))
