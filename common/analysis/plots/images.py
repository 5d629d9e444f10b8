"""Pictures with their anomaly maps, and grids of samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from common.analysis.plots.style import INK, finish, new_figure, styled

# Dark to bright in even steps of lightness: reads in grey and with colour blindness, unlike jet.
MAP_COLORS: Final = "inferno"
REGION_COLOR: Final = "#00e5ff"


@styled
def visualize_anomaly_map(
    image: NDArray[Any],
    anomaly_map: NDArray[np.float32],
    *,
    mask: NDArray[np.bool_] | None = None,
    limits: tuple[float, float] | None = None,
    threshold: float | None = None,
    title: str | None = None,
    alpha: float = 0.7,
    path: Path | None = None,
) -> Figure:
    """Image, anomaly map and the map laid over the image, side by side.

    Parameters
    ----------
    image : array of shape (H, W, 3) or (H, W), uint8 or float in [0, 1]
        As a person would see it: not normalised for the network.
    anomaly_map : array of shape (H, W), float
        Euclidean distances to the memory bank.
    mask : array of shape (H, W), bool, optional
        Annotated defects, outlined on the image and the overlay.
    limits : (float, float), optional
        Distances at the ends of the colour scale. Give the same ones to pictures that are to be
        compared; by default those of this map, which the colour bar states.
    threshold : float, optional
        Marked on the colour bar.
    title : str, optional
        Stands above the three.
    alpha : float
        Opacity of the overlaid map at the upper end of the colour scale, in [0, 1].
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If image, map and mask are not of one height and width.

    Examples
    --------
    >>> import numpy as np
    >>> from common.analysis import visualize_anomaly_map
    >>> image, anomaly_map = np.zeros((4, 6, 3), dtype=np.uint8), np.zeros((4, 6))
    >>> anomaly_map[1, 5] = 7.5
    >>> figure = visualize_anomaly_map(image, anomaly_map, limits=(0.0, 10.0))
    >>> [axes.get_title(loc="left") for axes in figure.axes[:3]]
    ['image', 'anomaly map', 'overlay']
    """
    shown = _picture(image)
    for name, array in (("anomaly map", anomaly_map), ("mask", mask)):
        if array is not None and array.shape != shown.shape[:2]:
            raise ValueError(
                f"the image is {shown.shape[:2]}, the {name} {array.shape}: (H, W) must be equal"
            )
    low, high = limits or (float(np.min(anomaly_map)), float(np.max(anomaly_map)))
    height, width = shown.shape[:2]
    figure = new_figure(min(0.8 + 0.2 * (title is not None) + 1.68 * height / width, 5.0))
    panels = figure.subplots(1, 3)
    panels[0].imshow(shown)
    drawn = panels[1].imshow(anomaly_map, cmap=MAP_COLORS, vmin=low, vmax=high)
    panels[2].imshow(shown)
    # The farther, the more opaque: where nothing is wrong, the image stays to be seen.
    opacity = alpha * np.clip((anomaly_map - low) / max(high - low, 1e-12), 0.0, 1.0)
    panels[2].imshow(anomaly_map, cmap=MAP_COLORS, vmin=low, vmax=high, alpha=opacity)
    for panel, name in zip(panels, ("image", "anomaly map", "overlay"), strict=True):
        panel.set_title(name, fontsize=8.5, fontweight="normal")
        _bare(panel)
    if mask is not None and mask.any() and not mask.all():
        for panel in (panels[0], panels[2]):
            panel.contour(mask.astype(float), levels=[0.5], colors=REGION_COLOR, linewidths=1.1)
    bar = figure.colorbar(drawn, ax=panels, location="bottom", aspect=50, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    outline = "; outlined: annotated defect" if mask is not None and mask.any() else ""
    bar.set_label(f"distance to the memory bank{outline}", fontsize=8)
    if threshold is not None and low < threshold < high:
        bar.ax.axvline(threshold, color=INK, linewidth=3.0)
        bar.ax.axvline(threshold, color="#ffffff", linewidth=1.2)
        bar.ax.set_title(
            f"threshold {threshold:.3g}", fontsize=7.5, fontweight="normal", pad=2,
            x=(threshold - low) / (high - low), ha="center", loc="center",
        )  # fmt: skip
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    return finish(figure, path)


@styled
def plot_sample_grid(
    images: Sequence[NDArray[Any]],
    titles: Sequence[str],
    *,
    columns: int = 3,
    path: Path | None = None,
) -> Figure:
    """Pictures in a grid, each under its name.

    Parameters
    ----------
    images : sequence of arrays of shape (H, W, 3) or (H, W), uint8 or float in [0, 1]
        Sizes may differ.
    titles : sequence of str
        One for each picture.
    columns : int
        Pictures side by side.
    path : Path, optional
        Where to save the figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If there is no image, or not one title for each.

    Examples
    --------
    >>> import numpy as np
    >>> from common.analysis import plot_sample_grid
    >>> pictures = [np.zeros((4, 6, 3), dtype=np.uint8), np.ones((6, 4))]
    >>> figure = plot_sample_grid(pictures, ["clip", "pipe"], columns=2)
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['clip', 'pipe']
    """
    if not images or len(images) != len(titles):
        raise ValueError(f"{len(images)} images and {len(titles)} titles: give one title an image")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    shown = [_picture(image) for image in images]
    tallest = max(image.shape[0] / image.shape[1] for image in shown)
    figure = new_figure(rows * (5.45 / columns * tallest + 0.22))
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for panel in panels[len(images) :]:
        panel.set_visible(False)
    for panel, image, title in zip(panels, shown, titles, strict=False):
        panel.imshow(image)
        panel.set_title(title, fontsize=8.5, fontweight="normal")
        _bare(panel)
    return finish(figure, path)


def _picture(image: NDArray[Any]) -> NDArray[Any]:
    """Check an image and give it three channels."""
    if image.ndim == 2:
        image = np.repeat(image[:, :, None], 3, axis=2)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image of shape {image.shape} is not (H, W, 3) or (H, W)")
    if image.dtype != np.uint8 and (image.min() < 0.0 or image.max() > 1.0):
        raise ValueError("a float image must lie in [0, 1]: undo the network's normalisation first")
    return image


def _bare(axes: Any) -> None:
    """Take frame and ticks away from a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
