"""The index of a data folder: which images there are, of which category, split and defect type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.data.folder.scan import scan_data
from common.data.samples import GOOD, Category, Layout, Sample, Split

__all__ = [
    "GOOD",
    "SYNTHETIC_MARKER",
    "Category",
    "DataIndex",
    "Layout",
    "Sample",
    "Split",
    "index_data",
]

SYNTHETIC_MARKER: Final = "synthetic.json"


@dataclass(frozen=True)
class DataIndex:
    """All images of a data folder, in one fixed order.

    Attributes
    ----------
    root : Path
    categories : dict of name to Category
    samples : list of Sample
        By category name, train before test, good before defects, natural file order.
    synthetic : bool
        True if the folder says of itself that its images are drawings.
    """

    root: Path
    categories: dict[str, Category]
    samples: list[Sample] = field(repr=False)
    synthetic: bool = False

    def select(self, split: Split | None = None, category: str | None = None) -> list[Sample]:
        """Samples of one split and/or one category, in index order."""
        return [
            sample
            for sample in self.samples
            if (split is None or sample.split == split)
            and (category is None or sample.category == category)
        ]


def index_data(root: Path | str, categories: Iterable[str] | None = None) -> DataIndex:
    """Read which images a data folder holds; opens no image.

    Parameters
    ----------
    root : path
        Folder of category folders. A category folder may be a symbolic link.
    categories : iterable of str, optional
        Only these; each must exist.

    Returns
    -------
    DataIndex
        Its counts come from the disk, never from a table.

    Raises
    ------
    InputError
        On a missing or empty folder, a folder that is no category, misplaced or unexpected files,
        empty image folders, missing or orphaned masks, or an unusable `defects_config.json`; the
        message names the path.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.data.layout import index_data
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     good = Path(folder, "clip", "train", "good")
    ...     good.mkdir(parents=True)
    ...     (good / "000.png").touch()
    ...     samples = index_data(folder).samples
    >>> [(one.category, one.split, one.label, one.path.name) for one in samples]
    [('clip', 'train', 0, '000.png')]
    """
    root = Path(root).expanduser()
    found = scan_data(root, categories)
    if found.faults:
        raise found.faults[0].error
    return DataIndex(
        root,
        {part.category.name: part.category for part in found.parts},
        [sample for part in found.parts for sample in part.samples],
        synthetic=(root / SYNTHETIC_MARKER).is_file(),
    )
