"""The page about lies: figures of `trust.py` in, Markdown out."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks._markdown import Json, about, table

WITHIN = 2  # images more or fewer than in the honest run, found and false alarms
MOST_QUARANTINED = 0.02  # of the stations of honest plants
VERDICTS = ("watch", "quarantine")


def attacked(result: Json) -> str:
    """One folder of parts: what each lie costs the honest stations, and who was named."""
    runs = result["runs"]
    blocks = [f"{_parts(result['parts'])}. {_settings(result['settings'])}; IID."]
    honest = {(run["stations"], run["rounds"]): run for run in runs if not _is_lie(run)}
    rows, missed, unnamed = [], [], []
    for run in runs:
        reference = honest[run["stations"], run["rounds"]]
        if _is_lie(run):
            rows.append(_row(run, reference, missed, unnamed))
        elif run["rounds"] == 1:
            rows.append(_honest_row(run))
    heads = ["stations", "attack", "bank rows it got", "found", "false alarms", "by own thresholds"]
    heads += ["with `exclude`", "image AUROC", "AUC-sPRO @0.05", "scoring, s", "named"]
    blocks.append(table(heads, rows))
    lies = sum(_is_lie(run) for run in runs)
    blocks.append(
        f"Found and false alarms at the merged threshold within {WITHIN} images of the honest run "
        "(as it is, or with `exclude` where a station is under quarantine) in "
        f"{lies - len(missed)} of {lies} rows."
        + (f" Not in: {'; '.join(missed)}." if missed else "")
    )
    if unnamed:
        blocks.append(f"Nobody was named in: {'; '.join(unnamed)}.")
    return "\n\n".join([*blocks, about(result)])


def near(run: Json, reference: Json) -> bool:
    """Whether found and false alarms at the merged threshold are about those of the honest run."""
    if run["error"]:
        return False
    key = next(iter(run["figures"]))
    own, other = run["figures"][key], reference["figures"][key]
    return all(
        own[what]["merged"] is not None
        and abs(own[what]["merged"] - other[what]["merged"]) <= WITHIN
        for what in ("found", "false_alarms")
    )


def _is_lie(run: Json) -> bool:
    return not run["attack"].startswith("honest")


def _honest_row(run: Json) -> tuple[Any, ...]:
    own = run["figures"]["1"]
    return (
        run["stations"],
        "none: the honest run",
        f"{own['captured']} of {run['rows']:,}",
        f"{own['found']['merged']} of {own['defective']}",
        f"{own['false_alarms']['merged']} of {own['good']}",
        f"{own['found']['own']} / {own['false_alarms']['own']}",
        "",
        *_quality(own),
        f"{run['scoring_seconds']:.1f}",
        _suspects(run) or "nobody",
    )


def _row(run: Json, reference: Json, missed: list[str], unnamed: list[str]) -> tuple[Any, ...]:
    title = f"{run['attack']}, {run['stations']} stations"
    if run["error"]:
        missed.append(f"{title} (the run ended)")
        cells = [run["stations"], run["attack"], "", "", "", "", "", "", "", ""]
        return (*cells, f"the run ends: {run['error']}")
    key = next(iter(run["figures"]))
    own, other = run["figures"][key], reference["figures"][key]
    excluded = run["excluded"]
    if not near(run, reference) and not (excluded and near(excluded, reference)):
        also = f", with `exclude` {_excluded(excluded, key)}" if excluded else ""
        missed.append(f"{title} ({_both(own)}{also}; honest {_both(other)})")
    named = _names(run)
    if not named:
        unnamed.append(title)
    return (
        run["stations"],
        run["attack"],
        f"{own['captured']} of {run['rows']:,}" if run["bad"] else "",
        _beside(own["found"]["merged"], other["found"]["merged"], own["defective"]),
        _beside(own["false_alarms"]["merged"], other["false_alarms"]["merged"], own["good"]),
        f"{own['found']['own']} / {own['false_alarms']['own']}",
        _excluded(excluded, key),
        *_quality(own, other),
        f"{run['scoring_seconds']:.1f}",
        "; ".join([*named, *([also] if (also := _suspects(run)) else [])]) or "nobody",
    )


def _both(own: Json) -> str:
    """Found and false alarms at the merged threshold."""
    found, alarms = own["found"]["merged"], own["false_alarms"]["merged"]
    return "no threshold" if found is None else f"{found} / {alarms}"


def _beside(value: int | None, honest: int, of: int) -> str:
    """A count, and the honest run's where it is another."""
    if value is None:
        return "no threshold"
    return f"{value} of {of}" + (f" (honest {honest})" if value != honest else "")


def _excluded(run: Json | None, key: str) -> str:
    if run is None:
        return ""
    if run["error"]:
        return f"the run ends: {run['error']}"
    return _both(run["figures"][key])


def _quality(own: Json, other: Json | None = None) -> tuple[str, ...]:
    cells = []
    for measure in ("image_auroc", "auc_spro"):
        change = f" ({own[measure] - other[measure]:+.3f})" if other else ""
        cells.append(f"{own[measure]:.3f}{change}")
    return tuple(cells)


def _names(run: Json) -> list[str]:
    """How the bad stations were named: refused, cut, or by the verdict."""
    found = []
    for name in run["bad"]:
        how = []
        if name in run["refused"]:
            how.append("refused")
        if any(f"{name} counts for" in notice for notice in run["notices"]):
            how.append("cut")
        if run["verdicts"].get(name) in VERDICTS:
            how.append(run["verdicts"][name])
        if run.get("flagged", {}).get(name):
            how.append(f"{run['flagged'][name]} held-out flagged")
        if how:
            found.append(f"{name}: {', '.join(how)}")
    if not run["bad"]:
        flagged = {name: many for name, many in run.get("flagged", {}).items() if many}
        if flagged:
            found.append(f"held-out images flagged at {len(flagged)} of {run['stations']}")
    return found


def _suspects(run: Json) -> str:
    """Honest stations that were suspected."""
    count = Counter(
        verdict
        for name, verdict in run["verdicts"].items()
        if name not in run["bad"] and verdict in VERDICTS
    )
    words = [f"{many} under {verdict}" for verdict, many in sorted(count.items())]
    return f"honest ones: {', '.join(words)}" if words else ""


def honest(result: Json) -> str:
    """Plants in which nobody lies: shares of stations that were suspected all the same."""
    plants = [plant for plant in result["plants"] if not plant["error"]]
    groups: dict[tuple[str, str], list[Json]] = {}
    for plant in plants:
        groups.setdefault((plant["data"], plant["partition"]), []).append(plant)
    rows = [(data, partition, *_shares(own)) for (data, partition), own in groups.items()]
    rows += [
        ("all", f"{number} stations", *_shares([p for p in plants if p["stations"] == number]))
        for number in sorted({plant["stations"] for plant in plants})
    ]
    rows.append(("all", "all", *_shares(plants)))
    heads = ["data", "partition", "plants", "stations", "`watch`", "`quarantine`"]
    heads.append("held-out images flagged")
    verdicts = [v for plant in plants for v in (plant["verdicts"] or {}).values()]
    share = verdicts.count("quarantine") / len(verdicts) if verdicts else 0.0
    goal = "met" if share <= MOST_QUARANTINED else "MISSED"
    failed = [plant for plant in result["plants"] if plant["error"]]
    ended = (
        f" {len(failed)} plants ended with an error, as {failed[0]['error']!r}." if failed else ""
    )
    parts = "; ".join(f"{name}: {_parts(own)}" for name, own in result["parts"].items())
    return "\n\n".join(
        [
            f"{parts}. Banks of {result['bank']} rows. Nobody says a wrong thing.{ended}",
            table(heads, rows),
            f"{100 * share:.1f} % of {len(verdicts)} stations under `quarantine`; goal at most "
            f"{100 * MOST_QUARANTINED:.0f} %: {goal}.",
            about(result),
        ]
    )


def _shares(plants: list[Json]) -> tuple[Any, ...]:
    verdicts = [v for plant in plants for v in (plant["verdicts"] or {}).values()]
    cells = []
    for verdict in VERDICTS:
        many = verdicts.count(verdict)
        cells.append(f"{many} ({100 * many / len(verdicts):.1f} %)" if verdicts else "-")
    held_out, flagged = (sum(plant[key] for plant in plants) for key in ("held_out", "flagged"))
    share = f"{flagged} of {held_out} ({100 * flagged / held_out:.1f} %)" if held_out else "-"
    return (len(plants), sum(plant["stations"] for plant in plants), *cells, share)


def promise(result: Json) -> str:
    """The merged threshold's promise by drawing, beside what the threshold says of itself."""
    rows = []
    for case in result["cases"]:
        liars = case["liars"]
        honestly = liars["honest"]
        rows.append(
            (
                f"{case['stations']} x {case['images']}",
                f"{_percent(case['promised'])}, {_percent(honestly['mean'])}",
                f"{_percent(case['upper'])}, {_percent(honestly['upper'])}",
                _percent(case["promised_with_liar"]),
                *(_percent(own["mean"]) for name, own in liars.items() if name != "honest"),
            )
        )
    lies = [name for name in result["cases"][0]["liars"] if name != "honest"]
    heads = ["stations x held-out images each", "on average: promised, drawn"]
    heads += ["95 % of draws: promised, drawn", "promised with a liar"]
    heads += [f"drawn, one says {name}" for name in lies]
    every = [own for case in result["cases"] for own in case["liars"].values()]
    outside = sum(own["outside"] for own in every)
    worst = max(
        (own["mean"] - case["promised_with_liar"]) / own["error"]
        for case in result["cases"]
        for name, own in case["liars"].items()
        if name != "honest"
    )
    return "\n\n".join(
        [
            f"Target {_percent(result['target'])}; {result['draws']:,} draws of all held-out "
            "scores each, of which the last station says other things: shares of good parts above "
            "the merged threshold.",
            table(heads, rows),
            f"The mean with a liar is at worst {worst:+.1f} standard errors above what is promised "
            f"with one. Outside of what the others' words allow: {outside} of "
            f"{result['draws'] * len(every):,} thresholds. The rule is written anew for this, and "
            f"the product's gives another threshold in {sum(own['other'] for own in every)} of "
            f"{sum(own['compared'] for own in every):,} draws.",
            about(result),
        ]
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _parts(parts: Json) -> str:
    return "; ".join(
        f"{name} {own['train']} training, {own['good']} good and {own['defective']} defective test "
        "images"
        for name, own in parts.items()
    )


def _settings(settings: Json) -> str:
    size = settings["image-size"]
    return (
        f"{settings['backbone']}, {f'{size} px' if size else 'images of their own size'}, bank of "
        f"{settings['global-bank-size']:,} rows, {settings['calibration-fraction']:.0%} of the "
        "training images held out"
    )
