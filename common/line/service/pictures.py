"""Pictures of a part that is in the journal: its image, and the overlay drawn from it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from common.inspection.overlay import draw_overlay
from common.line.service.judge import AnotherModel

if TYPE_CHECKING:
    from common.line.service.service import Service

_MARKS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)


class NoPicture(Exception):
    """There is no such picture (any more); its text says why."""


def image_type(content: bytes) -> str:
    """Media type of a kept image file, by its first bytes alone."""
    found = (kind for mark, kind in _MARKS if content.startswith(mark))
    return next(found, "application/octet-stream")


def overlay_png(service: Service, id: int) -> bytes:
    """Draw the overlay of a part as `inspect` would have.

    Parameters
    ----------
    service : Service
        A place of it is held.
    id : int

    Returns
    -------
    bytes
        PNG.

    Raises
    ------
    NoPicture
        If the image was not kept, or another model judges by now: its map would be another.
    """
    entry, content = service.journal.entry(id), service.journal.image(id)
    if content is None:
        raise NoPicture(f"the image of part {id} was not kept, so there is nothing to draw on")
    verdict = entry.verdict
    picture = service.intake.decode(content, verdict.name)
    try:
        judged = service.judge.judge(picture.image, verdict.category, verdict.model_sha256)
    except AnotherModel:
        raise NoPicture(
            f"part {id} was judged by the model {verdict.model_sha256[:12]}..., and another one "
            "judges now; `fedpatchcore audit` replays a part with the model that judged it"
        ) from None
    pixels = draw_overlay(
        np.asarray(picture.image),
        judged.prediction.anomaly_map,
        judged.rule.limits,
        judged.rule.threshold,
    )
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=3)
    return file.getvalue()
