"""Pieces of the page: tables, the machine in words, the worst ratio."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def table(heads: list[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def kernels(blas: Iterable[Json]) -> str:
    """BLAS libraries with the kernels they chose."""
    told = set()
    for pool in blas:
        if pool["version"]:
            package = f", of {pool['package']}" if pool.get("package") else ""
            told.add(f"{pool['prefix']} {pool['version']} ({pool['architecture']}{package})")
    return ", ".join(sorted(told))


def about(result: Json) -> str:
    """Where and with what it was measured."""
    facts = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    load = facts["load"][0]
    text = (
        f"{facts.get('date', '')}: {facts['processor']}, {facts['cpus']} CPUs, load {load:.1f} at "
        f"the start; Python {facts['python']}, {versions}; BLAS {kernels(facts['blas'])}, torch "
        f"with {', '.join(facts['torch_blas'])}."
    )
    if facts.get("environment"):
        text += " Set: " + ", ".join(f"{k}={v}" for k, v in facts["environment"].items()) + "."
    peer = result.get("peer", {})
    if peer.get("blas"):
        text += (
            f" The peer's process: Python {peer['python']}, torch {peer['torch']} with "
            f"{', '.join(peer['torch_blas'])}, BLAS {kernels(peer['blas'])}."
        )
    return text


def least(ratios: Iterable[float], target: float | None = None) -> str:
    """The worst case in a sentence, against its target where there is one."""
    worst = min(ratios)
    if target is None:
        return f"Least ratio: {worst:.1f}x."
    return f"Least ratio: {worst:.2f}x; target {target}x: {'met' if worst >= target else 'MISSED'}."
