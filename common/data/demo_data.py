"""The synthetic data set that stands in where no data folder is given."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from common.paths import cache_folder, cache_root, locked

DEMO_IMAGES: Final = 20
DEMO_SIZE: Final = 128


def demo_data() -> Path:
    """Return the folder of the synthetic data set, made once in the cache under a lock.

    Raises
    ------
    InputError
        If the cache cannot be written.
    """
    # The drawing brings much of scipy along, which a station with images of its own never needs.
    from common.data.synthetic.write import VERSION, write_synthetic

    root = cache_root() / f"synthetic-{DEMO_IMAGES}x{DEMO_SIZE}-v{VERSION}"
    if not root.is_dir():
        with locked(cache_folder() / f"{root.name}.lock"):
            if not root.is_dir():
                write_synthetic(root, images=DEMO_IMAGES, size=DEMO_SIZE)
    return root
