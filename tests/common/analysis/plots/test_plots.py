from __future__ import annotations

import itertools
import warnings
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from run_factory import made_up_contributions, write_run

from common.analysis import (
    Curve,
    plot_accuracy_against_bytes,
    plot_box_comparison,
    plot_class_bars,
    plot_client_contributions,
    plot_comparison_bar_chart,
    plot_fpr_spro_curves,
    plot_partition_distribution,
    plot_performance_heatmap,
    plot_sample_grid,
    visualize_anomaly_map,
    write_run_plots,
)
from common.analysis.plots.style import METHOD_COLORS, PALETTE, page_colors, series_colors, to_svg

TABLE = pd.DataFrame(
    {"centralized": [0.5, 0.7], "federated_iid": [0.4, np.nan]}, index=["tank_screw", "pipe_clip"]
)
CURVE = Curve((0.0, 0.1, 1.0), (0.0, 0.6, 1.0))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]


def every_plot():
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    counts = pd.DataFrame(
        {"train_good": [5, 6], "test_good": [2, 2], "test_defective": [3, 1]}, index=["a", "b"]
    )
    points = pd.DataFrame({"bytes": [0, 2e6], "accuracy": [0.5, 0.4]}, index=["one", "two"])
    return {
        "bars": plot_comparison_bar_chart(TABLE),
        "spread": plot_comparison_bar_chart(TABLE, spread=TABLE * 0.1),
        "heatmap": plot_performance_heatmap(TABLE),
        "boxes": plot_box_comparison(TABLE),
        "curves": plot_fpr_spro_curves({"centralized": CURVE}, title="tank_screw"),
        "bytes": plot_accuracy_against_bytes(points),
        "partition": plot_partition_distribution(pd.DataFrame({"a": [3], "total": [3]}, ["s"])),
        "contributions": plot_client_contributions(made_up_contributions()["stations"]),
        "classes": plot_class_bars(counts),
        "map": visualize_anomaly_map(image, np.eye(20, 30, dtype=np.float32), threshold=0.5),
        "grid": plot_sample_grid([image, image[:10]], ["a", "b"]),
    }


def test_every_plot_is_a_figure_with_labelled_axes_and_draws_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in every_plot().items():
            assert isinstance(figure, Figure)
            figure.savefig(tmp_path / f"{name}.png")
            if name not in ("map", "grid"):
                assert any(axes.get_xlabel() for axes in figure.axes), name


def test_a_plot_is_saved_where_asked(tmp_path):
    path = tmp_path / "new" / "bars.png"
    plot_comparison_bar_chart(TABLE, path=path)
    assert Image.open(path).size[0] > 500


def test_bars_have_the_values_and_missing_ones_say_so():
    figure = plot_comparison_bar_chart(TABLE)
    widths = sorted(bar.get_width() for bar in figure.axes[0].patches)
    assert widths == pytest.approx([0.0, 0.4, 0.5, 0.7])
    assert texts(figure).count("missing") == 1
    assert "missing" in texts(plot_performance_heatmap(TABLE))
    assert "0.700" in texts(plot_performance_heatmap(TABLE))


def test_boxes_name_how_many_categories_they_stand_for():
    joined = "|".join(texts(plot_box_comparison(TABLE)))
    assert "centralized\n(2 categories)" in joined
    assert "federated_iid\n(1 category)" in joined


def test_curves_mark_the_limits():
    figure = plot_fpr_spro_curves({"centralized": CURVE}, limits=(0.05, 0.3))
    axes = figure.axes[0]
    assert {"0.05", "0.3"} <= set(texts(figure))
    marked = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert marked == [0.05, 0.3]


def test_a_curve_of_many_points_is_thinned_but_not_changed():
    fpr = np.linspace(0, 1, 100_001)
    figure = plot_fpr_spro_curves({"m": Curve(tuple(fpr), tuple(np.sqrt(fpr)))})
    line = next(line for line in figure.axes[0].lines if line.get_label() == "m")
    x, y = line.get_data()
    assert len(x) <= 400
    assert np.allclose(y, np.sqrt(x))
    assert x[-1] == 1.0


def test_stacked_bars_end_at_the_total():
    stats = pd.DataFrame({"a": [3, 0], "b": [4, 5], "total": [7, 5]}, index=["s0", "s1"])
    figure = plot_partition_distribution(stats)
    ends = [bar.get_x() + bar.get_width() for bar in figure.axes[0].patches]
    assert ends == [3, 0, 7, 5]
    assert "total" not in texts(figure)


def test_contributions_bear_stations_that_reported_nothing():
    figure = plot_client_contributions([{"name": "a", "images": 3}, {"name": "b", "bytes": None}])
    assert {"a", "b"} <= set(texts(figure))


def test_names_with_dollar_signs_are_no_formulas():
    svg = to_svg(plot_client_contributions([{"name": "$x^$ & <b>", "images": 1}]), "p", "d")
    assert "$x^$ &amp; &lt;b&gt;" in svg


def test_a_map_must_have_the_size_of_its_image():
    image = np.zeros((20, 30), dtype=np.uint8)
    with pytest.raises(ValueError, match=r"anomaly map \(30, 20\)"):
        visualize_anomaly_map(image, np.zeros((30, 20), np.float32))
    with pytest.raises(ValueError, match=r"mask \(2, 2\)"):
        visualize_anomaly_map(image, np.zeros((20, 30), np.float32), mask=np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="undo the network's normalisation"):
        visualize_anomaly_map(image - 1.5, np.zeros((20, 30), np.float32))
    with pytest.raises(ValueError, match="one title an image"):
        plot_sample_grid([image], [])


def test_pictures_share_a_scale_when_told_to():
    image, low = np.zeros((8, 8), np.uint8), np.full((8, 8), 0.2, np.float32)
    drawn = visualize_anomaly_map(image, low, limits=(0.0, 2.0)).axes[1].images[0]
    assert drawn.get_clim() == (0.0, 2.0)
    assert visualize_anomaly_map(image, low) is not None  # a constant map is no error


def test_svg_is_one_valid_element_with_its_own_ids_and_the_pages_colours():
    svg = to_svg(plot_comparison_bar_chart(TABLE), "bars", 'what it "shows" & more')
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == 'what it "shows" & more'
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert ids
    assert all(name.startswith("bars-") for name in ids)
    assert "http" not in svg
    assert "var(--ink)" in svg or "var(--muted)" in svg
    assert "tank_screw" in svg  # text stays text


def test_methods_keep_their_colours_whatever_else_is_drawn():
    alone = series_colors(["federated_iid"])["federated_iid"]
    among = series_colors(["centralized", "x", "federated_iid", "y"])
    assert among["federated_iid"] == alone == series_colors(["federated, IID"])["federated, IID"]
    assert len(set(among.values())) == 4
    assert len(set(series_colors([f"n{i}" for i in range(8)]).values())) == 8


# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", IEEE TVCG 2009: matrices for full severity, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
         [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
         [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
         [0.004733, 0.691367, 0.303900]]
    ),
}  # fmt: skip


def linear(color):
    share = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("dark", [False, True])
def test_colours_differ_for_every_kind_of_vision(vision, dark):
    swapped = dict(
        zip(
            [one.split()[1] for one in page_colors(dark=False).split(";") if one],
            [one.split()[1] for one in page_colors(dark=True).split(";") if one],
            strict=True,
        )
    )
    for colors in (set(METHOD_COLORS.values()), set(PALETTE)):
        shown = [swapped.get(color, color) if dark else color for color in colors]
        for one, two in itertools.combinations(shown, 2):
            seen = [lab(VISION[vision] @ linear(color)) for color in (one, two)]
            # A difference of about 2 can just be seen; 12 is plain side by side.
            assert np.linalg.norm(seen[0] - seen[1]) > 12, (one, two)


def test_the_plots_of_a_run_are_what_it_has(tmp_path):
    whole = write_run(tmp_path / "whole", spros={"a": 0.5, "b": 0.6})
    assert [path.name for path in write_run_plots(whole)] == [
        "categories.png",
        "curves.png",
        "contributions.png",
    ]
    assert Image.open(whole / "plots" / "curves.png").size[0] > 500
    bare = write_run(tmp_path / "bare", "centralized", spros={})
    assert write_run_plots(bare) == []
