"""RESULTS.md, QUALITY.md and TRUST.md from what benchmarks wrote: `python benchmarks/render.py`.

Nothing in it is typed by hand. A subject without a JSON file is named as not run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks._markdown import Json, about
from benchmarks._sections import coreset, device, features, memory, search, spro, wire
from benchmarks._sections_quality import quality
from benchmarks._sections_runs import autovi, end_to_end, line
from benchmarks._sections_trust import attacked, honest, promise

FOLDER = Path(__file__).resolve().parent
RESULTS, PAGE = FOLDER / "results", FOLDER / "RESULTS.md"
QUALITY_PAGE = FOLDER / "QUALITY.md"
TRUST_PAGE = FOLDER / "TRUST.md"

SUBJECTS: dict[str, tuple[str, Callable[[Json], str]]] = {
    "coreset": ("Coreset", coreset),
    "search": ("Search", search),
    "features": ("Features", features),
    "spro": ("AUC-sPRO", spro),
    "memory": ("Memory", memory),
    "wire": ("Wire", wire),
    "line": ("The line's service", line),
    "end_to_end": ("A federated run", end_to_end),
}

#: Hours, many gigabytes or a GPU: run by hand, each by its own command.
LONG: dict[str, tuple[str, Callable[[Json], str], str]] = {
    "memory_large": ("Memory at full scale", memory, "memory.py --large"),
    "device": ("On a GPU", device, "device.py --blocks --out benchmarks/results/device.json"),
    "autovi": ("AutoVI at full scale", autovi, "autovi.py DATA --work FOLDER"),
}
TRUST: dict[str, tuple[str, Callable[[Json], str]]] = {
    "drawn": ("Attacks: drawn parts", attacked),
    "bottle": ("Attacks: bottle", attacked),
    "magnetic_tile": ("Attacks: magnetic tile", attacked),
    "honest": ("Honest plants", honest),
    "promise": ("The merged threshold's promise", promise),
}
SECTIONS = {name: (*known, f"{name}.py") for name, known in SUBJECTS.items()} | LONG


def render(folder: Path) -> str:
    """Return the page for the figures in `folder`."""
    parts = [
        "# Results\n\nMade by `benchmarks/render.py` from `benchmarks/results/`. Each figure is a "
        "median of runs in turns with its peer, on one thread unless said; the seconds belong to "
        "the machine and its load, the ratios travel further."
    ]
    for name, (title, make, command) in SECTIONS.items():
        path = folder / f"{name}.json"
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            try:
                section = f"{make(result)}\n\n{about(result)}"
            except KeyError as error:
                raise SystemExit(f"{path} lacks {error}; run `benchmarks/{command}`") from error
            parts.append(f"## {title}\n\n{section}")
        else:
            parts.append(f"## {title}\n\nNot run: `python benchmarks/{command}`.")
    return "\n\n".join(parts) + "\n"


def render_quality(folder: Path) -> str:
    """Return the page about detection, a section for each data set in `folder`."""
    parts = [
        "# Quality\n\nMade by `benchmarks/render.py` from `benchmarks/results/quality-*.json`, "
        "which `make quality` writes: the drawn set, or any folders of parts (`make quality "
        'DATA="FOLDER FOLDER" SET="KEY=VALUE"`). Parts of one data set share stations and '
        "banks; a shared bank has as many rows as the banks of its parts together."
    ]
    for path in sorted(folder.glob("quality-*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        try:
            parts.append(f"## {result['name']}\n\n{quality(result)}")
        except KeyError as error:
            raise SystemExit(f"{path} lacks {error}; run `benchmarks/quality.py` again") from error
    return "\n\n".join(parts) + "\n"


def render_trust(folder: Path) -> str:
    """Return the page about lies, a section for each subject of `trust.py`."""
    parts = [
        "# Trust\n\nMade by `benchmarks/render.py` from `benchmarks/results/trust-*.json`, which "
        "`benchmarks/trust.py` writes: what one station's lie (or two stations') costs the honest "
        "ones, who is named, and how often an honest station is. Runs are of the real ServerApp "
        "and ClientApp in one process; a lie is a change of an honest station's reply. All figures "
        "are those of the honest stations' own images. `station-1` lies, and `station-2` of a "
        "pair. Small banks, pictures and counts, so that the page is made in under an hour of one "
        "core: with so few held-out images a merged threshold moves by an image or two whenever "
        "the bank changes at all."
    ]
    for name, (title, make) in TRUST.items():
        path = folder / f"trust-{name}.json"
        text = f"Not run: `python benchmarks/trust.py {name}`."
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            try:
                text = make(result)
            except KeyError as error:
                raise SystemExit(
                    f"{path} lacks {error}; run `benchmarks/trust.py` again"
                ) from error
        parts.append(f"## {title}\n\n{text}")
    return "\n\n".join(parts) + "\n"


def write_pages() -> None:
    """Write all pages anew."""
    for page, text in (
        (PAGE, render(RESULTS)),
        (QUALITY_PAGE, render_quality(RESULTS)),
        (TRUST_PAGE, render_trust(RESULTS)),
    ):
        page.write_text(text, encoding="utf-8")
        print(f"wrote {page}")


def main() -> int:
    write_pages()
    return 0


if __name__ == "__main__":
    sys.exit(main())
