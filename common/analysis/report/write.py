"""The report: run folders in, one self-contained html page out; and the plots of one run."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NotRequired, TypedDict

from matplotlib.figure import Figure

from common.analysis import plots, wording
from common.analysis.plots.style import to_png
from common.analysis.report import results as report_results
from common.analysis.report.page import page_context
from common.analysis.report.template import render_page
from common.analysis.run_files import find_runs, load_run
from common.analysis.series import group_runs, value_table
from common.errors import InputError
from common.paths import path_text
from common.system.files import write_whole

_GALLERY_DPI: Final = 110


class GalleryPicture(TypedDict):
    """One picture of the gallery, as `visualize_anomaly_map` draws it.

    `group` heads it ("Best", "Worst"), `title` and `text` stand below; `picture` is a Figure, the
    bytes of a PNG or JPEG, or the path of one.
    """

    group: str
    title: str
    text: NotRequired[str]
    picture: Figure | bytes | Path


def write_report(
    run_dirs: Sequence[Path], out: Path, *, gallery: Sequence[GalleryPicture] | None = None
) -> Path:
    """Write one page about one run or several.

    Parameters
    ----------
    run_dirs : sequence of Path
        Run folders, or folders that hold run folders. Failed runs are named with their reason.
    out : Path
        The html file, or the folder in which `report.html` is written.
    gallery : sequence of GalleryPicture, optional
        Pictures with anomaly maps of images on this machine.

    Returns
    -------
    Path
        The page: one file, pictures inlined, without any request to a network.

    Raises
    ------
    InputError
        If a folder holds no run or a file of a run is broken.
    ValueError
        If pictures are given for a run of real stations: such a report carries none.

    Notes
    -----
    Nothing is imputed: what a run did not write is named as missing. The page is written under a
    temporary name and renamed when whole.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from common.analysis import write_report
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     told = '{"method": "local", "status": "failed", "error": "the disk is full"}'
    ...     _ = Path(folder, "run.json").write_text(told)
    ...     page = write_report([Path(folder)], Path(folder))
    ...     page.name, "the disk is full" in page.read_text(encoding="utf-8")
    ('report.html', True)
    """
    runs = find_runs(run_dirs)
    if gallery and any(run.real_stations for run in runs):
        raise ValueError("a report about real stations carries no pictures: leave gallery out")
    out = Path(out)
    path = out if out.suffix in (".html", ".htm") else out / "report.html"
    page = render_page(page_context(runs, _grouped(gallery or ())))
    write_whole(path, path_text(page))
    return path


def write_run_plots(run_dir: Path) -> list[Path]:
    """Draw the plots of one run into its folder `plots/`.

    Parameters
    ----------
    run_dir : Path
        A run folder.

    Returns
    -------
    list of Path
        `categories.png`, `curves.png` and `contributions.png`, as far as the run has what they
        show; for several methods in one folder, `categories.png` has them side by side and every
        method has its `curves_<method>.png`.

    Raises
    ------
    InputError
        If the folder holds no run or a file of it is broken.
    """
    run = load_run(run_dir)
    folder = Path(run_dir) / "plots"
    written = []
    spro = value_table(group_runs([run]), report_results.spro_path())
    if spro.notna().any(axis=None):
        written.append(folder / "categories.png")
        plots.plot_comparison_bar_chart(spro, metric=report_results.METRIC, path=written[-1])
    for method, curves in run.curves.items():
        name = "curves.png" if len(run.curves) == 1 else f"curves_{method}.png"
        written.append(folder / name)
        plots.plot_fpr_spro_curves(curves, title=method, path=written[-1])
    if run.contributions:
        written.append(folder / "contributions.png")
        plots.plot_client_contributions(run.contributions, path=written[-1])
    return written


def _grouped(gallery: Sequence[GalleryPicture]) -> list[tuple[str, list[dict[str, str]]]]:
    """Pictures under their headings, in the order given."""
    groups: dict[str, list[dict[str, str]]] = {}
    for one in gallery:
        groups.setdefault(one["group"], []).append(
            {
                "title": wording.printable(one["title"]),
                "text": wording.printable(one.get("text", "")),
                "source": _data_address(one["picture"]),
            }
        )
    return list(groups.items())


def _data_address(picture: Figure | bytes | Path) -> str:
    """Inline a picture, so that the page needs no other file."""
    if isinstance(picture, Figure):
        content = to_png(picture, _GALLERY_DPI)
    elif isinstance(picture, bytes):
        content = picture
    else:
        content = Path(picture).read_bytes()
    if content.startswith(b"\x89PNG"):
        kind = "png"
    elif content.startswith(b"\xff\xd8"):
        kind = "jpeg"
    else:
        raise InputError("a picture of the gallery is neither PNG nor JPEG")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
