from __future__ import annotations

import numpy as np
import pytest
from chromium import Page, find_chromium
from requirements import missing
from run_factory import CATEGORIES, write_run

from common.analysis import visualize_anomaly_map, write_report

pytestmark = pytest.mark.browser

COLUMN = """(() => { const t = document.querySelector('#categories table');
return [...t.tBodies[0].rows].map(r => r.cells[%d].textContent); })()"""
SORT = "document.querySelectorAll('#categories table thead button')[%d].click()"
ORDER = """[...document.querySelectorAll('#categories table')[0].tHead.rows[0].cells]
.map(c => c.getAttribute('aria-sort'))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser")
    spros = dict(zip(CATEGORIES, (0.4, 0.7, 0.3, 0.6, 0.9, 0.5), strict=True))
    write_run(folder / "runs/centralized", "centralized", spros=spros, curves=False)
    write_run(folder / "runs/iid", "federated_iid", spros={"pipe_clip": 0.5, "tank_screw": 0.6})
    map_ = np.eye(40, 60, dtype=np.float32)
    figure = visualize_anomaly_map(np.full((40, 60), 90, np.uint8), map_)
    gallery = [{"group": "Worst", "title": "tank_screw", "picture": figure}]
    return write_report([folder / "runs"], folder, gallery=gallery)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    program = find_chromium()
    if program is None:
        missing("browser", "no chromium on this machine")
    with Page(program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_the_page_loads_whole_without_errors_or_requests(page, report, width, dark):
    page.requests.clear()
    page.show(report, width, dark=dark)
    assert page.errors == []
    # The file itself and its inlined pictures, nothing from anywhere else.
    outside = [url for url in page.requests if not url.startswith("data:")]
    assert outside == [report.resolve().as_uri()]
    pictures = "[...document.images].every(i => i.complete && i.naturalWidth > 100)"
    assert page.run("document.images.length") == 1
    assert page.run(pictures)
    drawn = "[...document.querySelectorAll('figure svg')].filter(s => s.getBBox().width > 100)"
    assert page.run(f"{drawn}.length") == page.run("document.querySelectorAll('figure svg').length")
    # Wide tables scroll in their own box; the page itself never does.
    assert page.run("document.documentElement.scrollWidth") == width
    shown = page.run("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in shown.strip("rgb()").split(","))
    assert (brightness < 200) == dark


def test_text_in_plots_follows_the_page(page, report):
    fill = "getComputedStyle(document.querySelector('figure svg text')).fill"
    page.show(report, 1280)
    light = page.run(fill)
    page.show(report, 1280, dark=True)
    assert page.run(fill) != light


def test_columns_sort_by_number_with_missing_ones_last(page, report):
    page.show(report, 1280)
    page.run(SORT % 1)
    rising = [float(text) for text in page.run(COLUMN % 1)]
    assert rising == sorted(rising)
    assert page.run(ORDER) == ["none", "ascending", "none"]
    page.run(SORT % 1)
    assert [float(text) for text in page.run(COLUMN % 1)] == rising[::-1]
    assert page.run(ORDER) == ["none", "descending", "none"]
    for _ in range(2):
        page.run(SORT % 2)
        found = page.run(COLUMN % 2)
        assert sorted(found[:2]) == ["0.500", "0.600"]
        assert found[2:] == ["missing"] * 4
    page.run(SORT % 0)
    names = page.run(COLUMN % 0)
    assert names == sorted(names)
    footer = "document.querySelector('#categories table tfoot').textContent"
    assert "mean" in page.run(footer)


def test_sorting_works_with_the_keyboard(page, report):
    page.show(report, 1280)
    page.run("document.querySelectorAll('#categories table thead button')[1].focus()")
    page.press("Enter", 13)
    assert page.run(ORDER)[1] == "ascending"


def test_on_paper_everything_is_open(page, report):
    page.show(report, 1280)
    assert page.run("document.querySelectorAll('details:not([open])').length") > 0
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    assert page.run("document.querySelectorAll('details:not([open])').length") == 0
    page.run("window.dispatchEvent(new Event('afterprint'))")
    assert page.run("document.querySelectorAll('details[open]').length") == 0
    assert page.paper().startswith(b"%PDF")
