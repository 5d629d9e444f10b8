"""Why each fault of a data folder matters, and how to mend it."""

from __future__ import annotations

from typing import Final

from common.check.findings import Finding, Kind, Severity
from common.data.fault import Fault, FaultKind
from common.data.images import IMAGE_ENDINGS

_MASKS: Final = "localization is measured against the masks; a wrong one makes every figure wrong"

NOTES: Final[frozenset[FaultKind]] = frozenset({"unread-folder"})
"""What is passed over and may well be meant."""

WORDS: Final[dict[FaultKind, tuple[str, str]]] = {
    "ambiguous-nesting": (
        "the folder has images of its own and a folder of its own name with more, and the inner "
        "ones are never read",
        "keep one of the two",
    ),
    "bad-defects-config": (
        "the grey values and saturation areas of all masks are read from it",
        "mend the entry: defect_name, pixel_value 1 to 255, saturation_threshold above 0, "
        "relative_saturation true or false",
    ),
    "broken-link": (
        "the link leads nowhere, so its image would be missing without a word",
        "mend or remove the link",
    ),
    "defects-in-train": (
        "the memory bank is built from everything in train/: a defect in it counts as normal for "
        "ever",
        "rename the folder good if these are good parts; else move it to test/, or away",
    ),
    "empty-folder": (
        "an empty folder is more often a failed copy than meant",
        "copy the images again or remove the folder",
    ),
    "empty-mask": (
        "the image is called defective, and no pixel of it is",
        "draw the region, or move the image to test/good if there is no defect on it",
    ),
    "folder-among-images": (
        "images in deeper folders are not read",
        "move the images up or the folder away",
    ),
    "mask-size": (_MASKS, "make the mask anew at the image's own size"),
    "misplaced-file": (
        "a file outside the folders of images belongs to no split and no defect type",
        "move it to where it belongs, such as train/good, or remove it",
    ),
    "missing-defects-config": (
        "without defects_config.json nobody knows what the grey values of the masks mean",
        "restore the file from where the data set came from",
    ),
    "missing-ground-truth": (
        "defects_config.json describes masks, and there are none",
        "restore ground_truth/",
    ),
    "missing-mask": (
        "a defective image without its mask cannot be evaluated",
        "restore the mask, or remove the image",
    ),
    "mixed-layouts": (
        "AutoVI's masks lie in one folder an image, MVTec's are files named <stem>_mask.png; a "
        "category uses one of the two",
        "bring all masks of the category into one layout",
    ),
    "not-a-category": (
        "every folder in a data folder must be a category, with train/ or test/ in it",
        "move the folder away or mend the names in it",
    ),
    "not-an-image-name": (
        f"only these files are read: {IMAGE_ENDINGS}",
        "convert the file or move it away",
    ),
    "orphaned-mask": (
        "ground truth that belongs to no image is a lost image or a wrong name",
        "rename it after its image (MVTec layout: <stem>_mask.png), restore the image, or remove "
        "the ground truth",
    ),
    "same-name": (
        "names are compared letter by letter, however a system composes its accents: these two "
        "are one, and their images would be mixed up",
        "rename one of the folders, or move its images into the other",
    ),
    "same-stem": (
        "two images of one name but for the ending would share their masks",
        "rename or remove one of them",
    ),
    "several-mask-values": (
        "one mask file is one region of one defect, with a single grey value",
        "write one file for each region; smoothing or JPEG compression may have made new values",
    ),
    "special-file": (
        "whoever opens a pipe waits until somebody else writes to it",
        "remove it",
    ),
    "unknown-mask-value": (
        "the grey value of a mask says which defect it is; this one says nothing",
        "correct the mask, or add the value to defects_config.json",
    ),
    "unlistable-folder": (
        "nobody knows what is in a folder that may not be listed",
        "mend its permissions",
    ),
    "unread-folder": (
        "a category's images are read from train/ and test/, its masks from ground_truth/, and "
        "nothing else",
        "nothing to do if that is meant (as for MVTec LOCO's validation/); else move its images",
    ),
    "unreadable-mask": (_MASKS, "save the mask anew: one 8-bit picture, black but for the defect"),
    "unusable-name": (
        "the name of a category or defect type stands in messages between stations, in results "
        "and on screens",
        "rename the folder: printable characters of any script, without slashes",
    ),
    "wrong-name": (
        "train, test, ground_truth and good are looked for in lower case",
        "rename the folder",
    ),
}


def as_remark(passed_over: Fault) -> Finding:
    """What a check says of something that no run looks at."""
    return as_finding(passed_over, "note" if passed_over.kind in NOTES else "warning")


def as_finding(fault: Fault, severity: Severity = "error") -> Finding:
    """What a check says of a fault of the data folder."""
    return Kind(fault.kind, severity, *WORDS[fault.kind]).at(fault.path, fault.found)
