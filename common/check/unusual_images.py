"""Good training images that look unlike all the others: the audit of a run, beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from common.check.findings import Finding, Kind
from common.config import Settings
from common.data.layout import index_data
from common.patchcore import FeatureExtractor
from common.patchcore.audit.good_images import audit_samples
from common.patchcore.audit.image_audit import FEWEST_IMAGES
from common.patchcore.network.choice import settle_network
from common.patchcore.network.feature_cache import UNLIMITED_BYTES, FeatureCache
from common.patchcore.network.features import FeatureSource
from common.system.files import temporary_folder

UNUSUAL: Final = Kind(
    "unlike-the-others",
    "note",
    "its farthest patch lies farther from all other good images than theirs do: a defect among the "
    "good images is normal for ever, and one that is held out sets the threshold too high",
    "look at it; if the part is not good, move the image to test/, or away. Among good images of "
    "clean sets a few are named as well",
)
CANNOT_TELL: Final = Kind(
    "too-few-to-compare",
    "note",
    f"below {FEWEST_IMAGES} images, or where all look alike, nobody can say which is unusual",
    "nothing to do, or add good training images",
)


def unusual_images(root: Path, settings: Settings) -> list[Finding]:
    """Look at what every good training image shows.

    Parameters
    ----------
    root : Path
        A data folder that runs accept.
    settings : Settings
        Of the runs that are planned: their network, image size and distances.

    Returns
    -------
    list of Finding
        By category, the farthest image first.

    Raises
    ------
    InputError
        If the folder is refused by runs, an image cannot be read or the weights are missing.
    """
    index = index_data(root)
    settings, _ = settle_network(settings.with_(audit_good="report"), may_fall_back=True)
    extractor = FeatureExtractor.from_settings(settings)
    with temporary_folder("fedpatchcore-") as spill:
        cache = FeatureCache(spill, UNLIMITED_BYTES)
        source = FeatureSource(extractor, cache, settings.batch_size, settings.num_workers)
        audits = audit_samples(source, index.select("train"), (), settings)
    found = []
    for category, audit in audits.items():
        if not audit.can_tell:
            place = index.categories[category].folder / "train" / "good"
            found.append(CANNOT_TELL.at(place, f"{audit.images} good training images"))
        found += [
            UNUSUAL.at(
                one.path,
                f"looks unlike the other {audit.images - 1} good training images of {category}",
            )
            for one in audit.suspicious
        ]
    return found
