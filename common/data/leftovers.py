"""What systems leave behind in folders by themselves: no command takes it for data."""

from __future__ import annotations

from typing import Final

_SYSTEMS_OWN: Final = frozenset(
    [
        # Windows
        "$recycle.bin",
        "recycler",
        "system volume information",
        "desktop.ini",
        "thumbs.db",
        "thumbs.db:encryptable",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        # macOS, and what it writes into archives and onto shares
        "__macosx",
        "icon\r",
        "network trash folder",
        "temporary items",
        "thevolumesettingsfolder",
        # network storage: Synology, QNAP, NetApp
        "@eadir",
        "@synoresource",
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",
        "@recently-snapshot",
        "~snapshot",
    ]
)
"""In small letters: these systems and their shares write them in any case."""


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name was left behind by a system, not put there by anybody.

    Parameters
    ----------
    name : str
        Without the folders above it.

    Returns
    -------
    bool
        True for hidden entries (a leading dot: `.DS_Store`, `._0.png`, `.AppleDouble`,
        `.@__thumb`, `.Trash-1000`), office lock files (`~$...`) and the folders and files that
        Windows, macOS, Linux and network storage make: recycle bins, thumbnails, snapshots.
    """
    return name.startswith((".", "~$")) or name == "lost+found" or name.casefold() in _SYSTEMS_OWN
