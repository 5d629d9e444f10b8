"""AutoVI as it is published: its six zips, where they lie, and the licence that comes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOME: Final = "https://zenodo.org/records/10459003/files"
"""Folder of the zips; record 10459003 is the data set's first edition and does not change."""
LICENCE: Final = "CC BY-NC-SA 4.0"
LICENCE_URL: Final = "https://creativecommons.org/licenses/by-nc-sa/4.0/"
TERMS: Final = (
    f"AutoVI, (c) 2023-2024 Renault Group, doi 10.5281/zenodo.10459003, is licensed {LICENCE} "
    f"({LICENCE_URL}): share and change it for non-commercial purposes, name its authors "
    "(Carvalho, Lafou, Durupt, Leblanc, Grandvalet), pass what you make of it on under the same "
    "licence."
)

_HARDLY_PACKED: Final = 4
_ROOM: Final = 64 << 20


@dataclass(frozen=True)
class Archive:
    """One published zip.

    Attributes
    ----------
    category : str
    size : int
        Bytes.
    sha256 : str
        Digest in hexadecimal.
    """

    category: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """File name of the zip."""
        return f"{self.category}.zip"

    @property
    def most_bytes(self) -> int:
        """What it may unpack to: pictures are packed already, masks are small."""
        return _HARDLY_PACKED * self.size + _ROOM


ARCHIVES: Final[dict[str, Archive]] = {
    archive.category: archive
    for archive in (
        Archive(
            "engine_wiring",
            249_059_163,
            "252590d3249f7fbdf83a7e9b735ef0df175adc218460247e9a63bef1c03d420c",
        ),
        Archive(
            "pipe_clip",
            144_021_409,
            "955bb17b3a471e23979f46f998a4723acd00cf3afc4d5edf0578dfb6ea80d6c3",
        ),
        Archive(
            "pipe_staple",
            106_153_684,
            "fb9287f2cc86d660310e9886fdebbe2bd17269e853e29d06d708c6a996df1b18",
        ),
        Archive(
            "tank_screw",
            1_172_738_255,
            "48d7193164b36de03cc10c9f7b1b64ea98a0ce7aa57867c8f1d96341c497b4b0",
        ),
        Archive(
            "underbody_pipes",
            950_320_460,
            "fc1e53336d46fb2317d71e95c011bac012b609f2898fdb02780c920c19a113c7",
        ),
        Archive(
            "underbody_screw",
            1_346_723_786,
            "3e9bf6a43033a22c7c9f927a43c392a3b037d22580a27a48d379d4504d9cc6cf",
        ),
    )
}
"""Category -> its zip."""
