"""What an experiment's file asks for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.cli.main import run as run_command
from common.errors import InputError
from common.runs.experiment_plan import read_plan


def test_expansion_counts_every_combination_once(plan_file: Path) -> None:
    plan_file.write_text(
        "methods: [federated, centralized, local]\n"
        "partitions: [iid, {dirichlet: 0.1}, {dirichlet: 5}]\n"
        "bank-scopes: [shared, category]\n"
        "aggregations: [federated_coreset, concatenate]\n"
        "seeds: [1, 2, 3]\n"
    )
    runs = read_plan(plan_file).runs()
    kinds = [run.kind for run in runs]
    # seeds x scopes; x partitions for local; x aggregations too for federated
    assert kinds.count("centralized") == 3 * 2
    assert kinds.count("local") == 3 * 2 * 3
    assert kinds.count("federated") == 3 * 2 * 3 * 2
    assert len({run.name for run in runs}) == len(runs) == 60
    assert len({repr((run.kind, run.settings)) for run in runs}) == 60
    # seed by seed, what the others are compared with first
    assert [run.settings.seed for run in runs] == [1] * 20 + [2] * 20 + [3] * 20
    assert kinds[:2] == ["centralized"] * 2
    one = next(run for run in runs if run.name.startswith("federated_dirichlet-alpha0.1-category"))
    assert one.method == "federated_dirichlet"
    assert one.settings.partition == "dirichlet"
    assert one.settings.dirichlet_alpha == 0.1
    assert one.settings.bank_scope == "category"


def test_a_file_that_says_little_asks_for_the_defaults(plan_file: Path) -> None:
    plan_file.write_text("seeds: [42]\n")
    plan = read_plan(plan_file)
    assert plan.data is None
    assert [run.name for run in plan.runs()] == [
        "centralized-shared-seed42",
        "local-category-shared-seed42",
        "federated_category-shared-seed42",
    ]


def test_paths_lie_beside_the_file(plan_file: Path) -> None:
    plan_file.write_text("data: images\nsettings: {weights: net.safetensors}\n")
    plan = read_plan(plan_file)
    assert plan.data == plan_file.parent / "images"
    assert plan.settings.weights == str(plan_file.parent / "net.safetensors")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sedes: [1]", ["unknown key 'sedes'", "'seeds'"]),
        ("methods: [pooled]", ["methods", "'pooled'", "centralized"]),
        ("partitions: [random]", ["partitions", "'random'", "dirichlet"]),
        ("partitions: [{dirichlet: many}]", ["dirichlet", "'many'"]),
        ("partitions: [{dirichlet: -1}]", ["dirichlet-alpha", "-1"]),
        ("partitions: [{iid: 1}]", ["partitions"]),
        ("bank-scopes: [both]", ["bank-scope", "'both'"]),
        ("aggregations: [mean]", ["aggregation", "'mean'"]),
        ("seeds: [one]", ["seeds", "'one'"]),
        ("seeds: [true]", ["seeds", "True"]),
        ("seeds: []", ["seeds", "empty"]),
        ("seeds:", ["seeds", "empty"]),
        ("seeds: [1, 2, 1]", ["seeds", "1", "twice"]),
        ("settings: {seed: 3}", ["seed", "list it under seeds"]),
        ("settings: {partition: iid}", ["partition", "partitions"]),
        ("settings: {global-bank-sise: 3}", ["global-bank-sise", "global-bank-size"]),
        ("settings: {global-bank-size: none}", ["global-bank-size", "'none'"]),
        ("settings: 3", ["settings", "3"]),
        ("data: 3", ["data", "3"]),
        ("- 1", ["list"]),
        ("a: [", ["not YAML"]),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    plan_file: Path, text: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    plan_file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_plan(plan_file)
    message = str(caught.value)
    assert str(plan_file) in message
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert run_command(["experiment", str(plan_file), "--out", str(plan_file.parent / "o")]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["quick", "autovi"])
def test_the_files_that_come_with_the_project(name: str) -> None:
    folder = Path(__file__).parents[3] / "experiments"
    plan = read_plan(folder / f"{name}.yaml")
    runs = plan.runs()
    if name == "quick":
        assert plan.data is None
        assert len(runs) == 2 * (1 + 2 + 2)
    else:
        assert {run.method for run in runs} == {
            "centralized",
            "federated_iid",
            "federated_category",
        }
        assert len({run.settings.seed for run in runs}) == 5
        assert {run.settings.bank_scope for run in runs} == {"shared", "category"}
        assert {run.settings.global_bank_size for run in runs} == {10000}
        assert len(runs) == 5 * 2 * 3
