"""The list of checks, and running all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from common.check import image_checks, layout_checks, mask_checks
from common.check.facts import Progress
from common.check.fault_kinds import as_finding, as_remark
from common.check.findings import CheckOptions, Report
from common.check.suggestion import suggest
from common.check.survey import take_survey
from common.data.images import natural_key

CHECKS: Final = (
    layout_checks.nesting,
    layout_checks.missing_splits,
    layout_checks.defect_like_names,
    layout_checks.good_like_names,
    mask_checks.no_masks,
    mask_checks.mask_contents,
    mask_checks.turned_images,
    image_checks.unreadable_images,
    image_checks.strange_images,
    image_checks.mixed_sizes,
    image_checks.mixed_colours,
    image_checks.unused_range,
    image_checks.duplicates,
    image_checks.too_few_images,
)
"""Every check looks at the whole folder and names all that it finds; their order is that of the
report within one severity and path."""

_ORDER: Final = {"error": 0, "warning": 1, "note": 2}


def check_folder(
    root: Path, options: CheckOptions | None = None, progress: Progress | None = None
) -> Report:
    """Look a data folder over and name every fault in it.

    No folder passes that a run refuses: both read it by the same walk, whose every fault is a
    finding here.

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
    findings = [as_finding(fault) for fault in survey.faults]
    findings += map(as_remark, survey.passed_over)
    findings += [finding for check in CHECKS for finding in check(survey)]
    findings.sort(key=lambda f: (_ORDER[f.severity], natural_key(str(f.path))))
    suggestion = suggest(survey)
    return Report(
        root,
        findings,
        images=len(survey.facts),
        masks=sum(len(part.masks) for part in survey.parts),
        categories=[part.category.name for part in survey.parts],
        suggested=None if suggestion is None else suggestion.to_json(),
        suggestion="" if suggestion is None else suggestion.sentence,
    )
