"""Public names document themselves: each has an example that runs, and says what it takes."""

from __future__ import annotations

import doctest
import inspect
import pkgutil
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

#: Functions that other people's programs rely on: their numbers have units.
CONTRACT = (
    "common.evaluation:EvaluationCounts",
    "common.evaluation:EvaluationCounts.compute",
    "common.evaluation:EvaluationCounts.merge",
    "common.evaluation:EvaluationCounts.update",
    "common.patchcore.coreset:select_coreset",
    "common.patchcore.memory_bank:MemoryBank",
    "common.patchcore.memory_bank:MemoryBank.nearest",
    "common.patchcore:PatchCore",
    "common.patchcore:PatchCore.fit",
    "common.patchcore:PatchCore.get_stats",
    "common.patchcore:PatchCore.load",
    "common.patchcore:PatchCore.predict",
    "common.patchcore:PatchCore.predict_single",
    "common.patchcore:PatchCore.save",
    "server_app.aggregation:AGGREGATIONS[concatenate]",
    "server_app.aggregation:AGGREGATIONS[diversity_preserving]",
    "server_app.aggregation:AGGREGATIONS[federated_coreset]",
)
OTHERS = (
    "common.analysis:compute_statistical_analysis",
    "common.analysis:create_comparison_table",
    "common.analysis:create_summary_table",
    "common.analysis:find_runs",
    "common.analysis:load_run",
    "common.analysis:plot_accuracy_against_bytes",
    "common.analysis:plot_box_comparison",
    "common.analysis:plot_class_bars",
    "common.analysis:plot_client_contributions",
    "common.analysis:plot_comparison_bar_chart",
    "common.analysis:plot_fpr_spro_curves",
    "common.analysis:plot_partition_distribution",
    "common.analysis:plot_performance_heatmap",
    "common.analysis:plot_sample_grid",
    "common.analysis:visualize_anomaly_map",
    "common.analysis:write_report",
    "common.config:Settings",
    "common.data.layout:index_data",
    "common.data.synthetic:write_synthetic",
    "common.data:AutoVIDataset",
    "common.data:CategoryPartitioner",
    "common.data:CategoryTransformDataset",
    "common.data:DirichletPartitioner",
    "common.data:IIDPartitioner",
    "common.data:TransformedSubset",
    "common.data:compute_partition_stats",
    "common.data:create_dataloaders",
    "common.data:get_transforms",
    "common.evaluation:ExactEvaluation",
    "common.evaluation:MetricsWrapper",
    "common.evaluation:Threshold",
    "common.evaluation:calibrate_threshold",
    "common.evaluation:extract_auc_spro",
    "common.evaluation:load_metrics",
    "common.patchcore:AnomalyScorer",
    "common.patchcore:Coreset",
    "common.patchcore:FeatureExtractor",
    "common.patchcore:Prediction",
)
MOST_LINES = 10

_ARRAY = re.compile(r"NDArray|Rows\b|Tensor")
_DTYPE = re.compile(r"\b(bool|u?int\d+|float\d*)\b")
_UNIT = re.compile(r"distances?\b|\bshare of\b|\bscale\b", re.IGNORECASE)


@pytest.mark.parametrize("name", CONTRACT + OTHERS)
def test_the_example_of_a_public_name_runs(name: str) -> None:
    assert not example_faults(_named(name), name)


@pytest.mark.parametrize("name", CONTRACT + OTHERS)
def test_a_public_name_says_what_it_takes(name: str) -> None:
    assert not parameter_faults(_named(name), units=name in CONTRACT)


def test_no_plot_and_no_aggregation_is_left_out() -> None:
    plots = [name for name in _named("common.analysis").__all__ if name.startswith("plot_")]
    expected = {f"common.analysis:{name}" for name in plots}
    for name in _named("server_app.aggregation:AGGREGATIONS"):
        expected.add(f"server_app.aggregation:AGGREGATIONS[{name}]")
    assert expected <= {*CONTRACT, *OTHERS}


def test_no_name_that_the_package_gives_is_left_out() -> None:
    import fedpatchcore as package

    documented = [_named(name) for name in CONTRACT + OTHERS]
    given = {name: getattr(package, name) for name in package.__all__}
    for name, found in given.items():
        error = inspect.isclass(found) and issubclass(found, Exception)
        assert error or not callable(found) or found in documented, name


def _named(name: str) -> Any:
    """Import what `module:name` or `module:table[key]` stands for."""
    place, _, key = name.partition("[")
    found = pkgutil.resolve_name(place)
    return found[key.removesuffix("]")] if key else found


def example_faults(documented: Any, name: str) -> list[str]:
    """What is wrong with the example in a docstring: it starts from nothing, as a reader does."""
    found = doctest.DocTestFinder(recurse=False).find(documented, name, globs={})
    examples = [example for test in found for example in test.examples]
    if not examples:
        return [f"{name} has no example"]
    faults = []
    lines = sum(len((one.source + one.want).splitlines()) for one in examples)
    if lines > MOST_LINES:
        faults.append(f"{name}: an example of {lines} lines, more than {MOST_LINES}")
    if any(one.options.get(doctest.SKIP) for one in examples):
        faults.append(f"{name}: a line of the example is skipped")
    for test in found:
        doctest.DocTestRunner().run(test, out=faults.append)
    return faults


def parameter_faults(documented: Any, *, units: bool) -> list[str]:
    """Parameters that a docstring leaves out or says too little about.

    Each needs some words, an array its shape and dtype; with `units`, what arrays and fractions
    measure.
    """
    described = _described(inspect.getdoc(documented) or "")
    faults = []
    for name, parameter in inspect.signature(documented).parameters.items():
        if name == "self":
            continue
        annotation, text = str(parameter.annotation), described.get(name, "")
        if len(text.split()) < 3:
            faults.append(f"{name} is not described")
            continue
        is_array = _ARRAY.search(annotation) is not None
        if is_array and not ("shape" in text and _DTYPE.search(text)):
            faults.append(f"{name} is an array without shape or dtype")
        if units and (is_array or "float" in annotation) and not _UNIT.search(text):
            faults.append(f"{name} has no unit")
    return faults


def _described(docstring: str) -> dict[str, str]:
    """What a NumPy-style docstring says about each parameter (a dataclass: each attribute)."""
    described: dict[str, str] = {}
    sections = re.split(r"^(\w[\w ]*)\n-+\n", docstring, flags=re.MULTILINE)
    for title, body in zip(sections[1::2], sections[2::2], strict=True):
        if title in ("Parameters", "Attributes"):
            for entry in re.split(r"\n(?=\S)", body):
                head, _, text = entry.partition("\n")
                names, _, kind = head.partition(" : ")
                for name in names.split(", "):
                    described[name.lstrip("*")] = f"{kind} {text}"
    return described


def faultless(rows: NDArray[np.float32]) -> int:
    """Count.

    Parameters
    ----------
    rows : array of shape (n, d), float32
        In the network's own scale.

    Examples
    --------
    >>> 1 + 1
    2
    """
    return len(rows)


def wrong(rows: NDArray[np.float32], limit: float) -> None:
    """Promise too much.

    Parameters
    ----------
    rows : array
        Some rows of something.

    Examples
    --------
    >>> 1 + 1
    3
    """


def skipped() -> None:
    """Never run.

    >>> 1 + 1  # doctest: +SKIP
    2
    """


def long() -> None:
    """Go on.

    >>> for line in range(9):
    ...     print(line)
    0
    1
    2
    3
    4
    5
    6
    7
    8
    """


def silent() -> None:
    """Show nothing."""


@pytest.mark.parametrize(
    ("documented", "fault"),
    [
        (wrong, "Expected:\n    3\nGot:\n    2"),
        (skipped, "is skipped"),
        (long, "an example of 11 lines, more than 10"),
        (silent, "has no example"),
    ],
)
def test_a_bad_example_is_found(documented: Callable[..., Any], fault: str) -> None:
    assert fault in "\n".join(example_faults(documented, documented.__name__))
    assert not example_faults(faultless, "faultless")


def test_a_parameter_that_says_too_little_is_found() -> None:
    assert parameter_faults(wrong, units=True) == [
        "rows is an array without shape or dtype",
        "rows has no unit",
        "limit is not described",
    ]
    assert not parameter_faults(faultless, units=True)
