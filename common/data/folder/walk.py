"""Reading folders without stopping at what is wrong in them: faults are noted on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from common.data.fault import Fault, FaultKind
from common.data.images import IMAGE_ENDINGS, is_image_name, natural_key
from common.data.leftovers import is_leftover
from common.data.names import normal, refusal
from common.data.samples import GOOD
from common.errors import InputError


@dataclass
class Listing:
    """Contents of a folder in natural order, without what systems leave behind."""

    folders: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    empty: bool = True


class Walk:
    """Lists folders, and keeps what is wrong with them, in the order of reading.

    Attributes
    ----------
    faults : list of Fault
        What a run stops at.
    passed_over : list of Fault
        What a run does not look at, and more is meant by it.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.passed_over: list[Fault] = []

    def note(
        self,
        kind: FaultKind,
        path: Path,
        text: str,
        *,
        named: Path | None = None,
        detail: str | None = None,
    ) -> None:
        """Keep a fault of `path`; a run says `text` of the path `named`, by default the same."""
        self.faults.append(Fault(kind, path, InputError(f"{named or path}: {text}"), detail))

    def pass_over(self, kind: FaultKind, path: Path, text: str) -> None:
        """Keep what no run looks at."""
        self.passed_over.append(Fault(kind, path, InputError(f"{path}: {text}")))

    def listing(self, folder: Path) -> Listing:
        """Folders and files in a folder; a broken link or a pipe is a fault and neither."""
        found = Listing()
        try:
            entries = [entry for entry in folder.iterdir() if not is_leftover(entry.name)]
            found.empty = not entries
            for entry in sorted(entries, key=lambda entry: natural_key(entry.name)):
                if entry.is_symlink() and not entry.exists():
                    leads = f"a link to {entry.readlink()}, which is not there"
                    text = "a broken symbolic link; mend or remove it"
                    self.note("broken-link", entry, text, detail=leads)
                elif entry.is_dir():
                    found.folders.append(entry)
                elif entry.is_file():
                    found.files.append(entry)
                else:
                    text = "a pipe, socket or device among files; remove it"
                    self.note("special-file", entry, text)
        except OSError as error:
            found.empty = False
            text = f"cannot be listed ({error}); mend its permissions"
            self.note("unlistable-folder", folder, text)
        return found

    def check_names(self, folders: list[Path]) -> None:
        """Refuse folders whose names cannot be those of categories or defect types."""
        by_name: dict[str, Path] = {}
        for folder in folders:
            name = normal(folder.name)
            other = by_name.setdefault(name, folder)
            if other is not folder:
                found = f"the name of another folder, {other.name!a}, in another Unicode spelling"
                self.note("same-name", folder, f"{found}; rename one of them", detail=found)
            elif reason := refusal(name):
                found = f"a name that results cannot be told by: {reason}"
                self.note("unusable-name", folder, f"{found}; rename it", detail=found)

    def pass_over_images(self, found: Listing) -> None:
        """Images in a folder whose files nobody looks at."""
        for entry in found.files:
            if is_image_name(entry.name):
                self.pass_over("misplaced-file", entry, "an image outside train/ and test/")

    def folders(self, folder: Path) -> Listing:
        """Contents of a folder in which nothing but folders may lie."""
        found = self.listing(folder)
        for entry in found.files:
            text = f"misplaced; expected it in a sub-folder such as {folder / GOOD}"
            self.note("misplaced-file", entry, text, detail=f"a file directly in {folder.name}/")
        return found

    def images(self, folder: Path) -> list[Path]:
        """Image files of a folder in which nothing else may lie and something must."""
        found = self.listing(folder)
        if found.empty:
            self.note("empty-folder", folder, "an empty folder; put images into it or remove it")
        for entry in found.folders:
            text = "a folder among images; expected image files only"
            self.note("folder-among-images", entry, text)
        for entry in found.files:
            if not is_image_name(entry.name):
                text = f"not an image by its name; expected {IMAGE_ENDINGS}"
                self.note("not-an-image-name", entry, text)
        return [entry for entry in found.files if is_image_name(entry.name)]
