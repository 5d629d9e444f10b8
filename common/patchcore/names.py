"""Names in the settings against the tables that say what they stand for."""

from __future__ import annotations

from common.config import Settings, refused
from common.data.partition import PARTITIONS
from common.patchcore.aggregation import AGGREGATIONS
from common.patchcore.image_score import find_image_score
from common.patchcore.network.architecture import AUTO
from common.patchcore.network.architectures import DEFAULT, find_backbone
from common.patchcore.network.augmentation import AUGMENTATIONS


def check_names(settings: Settings) -> Settings:
    """Refuse a name that its table does not have, before anything starts.

    Whoever takes settings from outside (the command line, the apps, `PatchCore`) passes them
    through here; what a setting's own kind and range allow, `Settings` has checked by itself.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    Settings
        The same.

    Raises
    ------
    InputError
        On a `partition`, `backbone`, `aggregation`, `augment`, `image-score` or one of `layers`
        that nothing is known by; the message lists what is known.
    """
    for key, table in (
        ("partition", PARTITIONS),
        ("aggregation", AGGREGATIONS),
        ("augment", AUGMENTATIONS),
    ):
        name = getattr(settings, key)
        if name not in table:
            raise refused(key, name, "one of " + ", ".join(table))
    backbone = DEFAULT if settings.backbone == AUTO else settings.backbone
    find_backbone(backbone).used(settings.layers)
    find_image_score(settings.image_score)
    return settings
