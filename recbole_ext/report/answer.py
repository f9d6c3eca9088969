"""What a comparison found, in plain language; says "better" only where Holm-adjusted p < .05."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_ext.report.formats import interval, known, listed, metric_name, p_value, score, seconds, signed
from recbole_ext.report.paired import Test, Tests, best_model
from recbole_ext.wording import several

NEAR = 0.05  # a model counts as near the best when it reaches 95 % of its metric
CHEAP = 0.1  # … and as cheap when it trains in a tenth of the time


def answer(comparison: Mapping[str, Any], baseline: str | None = None) -> str:
    """What a comparison found, as a paragraph; says "better" only where Holm-adjusted p < .05."""
    models = comparison["models"]
    if not models or not comparison["metrics"]:
        return f"On {comparison['dataset']} no run finished, so there is nothing to compare."
    metric = comparison["metrics"][0]
    best = best_model(comparison, metric)
    if best is None:
        return f"On {comparison['dataset']} no model has a value of {metric_name(metric)}."
    top = _model(comparison, best)
    found = (
        f"{metric_name(metric)} {score(top['metrics'][metric]['mean'], 3)}{_within(top['metrics'][metric])}"
    )
    if len(models) == 1:
        only = f"On {comparison['dataset']} {best} ran alone ({found}): there is nothing to compare it with."
        return " ".join([only, *_seed_caution(models)])
    sentences = [
        f"On {comparison['dataset']} {best} ranks first ({found}).",
        *_against_others(comparison, best, metric),
        *_against_baseline(comparison, best, baseline, metric),
        *_other_metrics(comparison, best),
        *_cheap_and_near(comparison, best, metric),
        *_seed_caution(models),
    ]
    return " ".join(sentences)


def _model(comparison: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    return next(m for m in comparison["models"] if m["model"] == label)


def _within(found: Mapping[str, Any]) -> str:
    shown = interval(found, 3)
    return f", 95 % {shown}" if shown else ""


def _digits(difference: float) -> int:
    return 3 if abs(difference) >= 0.002 else 4


def _evidence(test: Test) -> str:
    """by +.012 (95 % +.009 to +.015, Holm p < .001)"""
    digits = _digits(test.difference or 0)
    bounds = ""
    if known(test.low) and known(test.high):
        bounds = f"95 % {signed(test.low, digits)} to {signed(test.high, digits)}, "
    return f"{signed(test.difference, digits)} ({bounds}Holm {p_value(test.p_holm)})"


def _against_others(comparison: Mapping[str, Any], best: str, metric: str) -> list[str]:
    tests = Tests(comparison)
    others = [m["model"] for m in comparison["models"] if m["model"] != best]
    results = {label: tests.between(best, label, metric) for label in others}
    beaten = [label for label in others if results[label].better]
    tied = [label for label in others if results[label].tested and not results[label].decided]
    odd = [label for label in others if results[label].worse]
    untested = [label for label in others if not results[label].tested]
    sentences = []
    if tied:
        one = f", Holm {p_value(results[tied[0]].p_holm)}" if len(tied) == 1 else ", Holm p ≥ .05 each"
        gap = (
            f"{signed(results[tied[0]].difference, _digits(results[tied[0]].difference or 0))} over {tied[0]}"
        )
        sentences.append(f"It is indistinguishable from {listed(tied)} ({gap}{one}).")
    if beaten:
        rest = "" if len(beaten) == 1 else f", and than {_the_rest(beaten, others)} (Holm p < .05 each)"
        sentences.append(f"It is better than {beaten[0]} by {_evidence(results[beaten[0]])}{rest}.")
    if odd:
        sentences.append(
            f"The paired test points the other way against {listed(odd)}: read that row with care."
        )
    if untested:
        sentences.append(f"No test compares it with {listed(untested)}.")
    return sentences


def _the_rest(beaten: Sequence[str], others: Sequence[str]) -> str:
    if len(beaten) == len(others) and len(beaten) > 2:
        return "both others" if len(beaten) == 3 else f"all {len(beaten) - 1} others"
    return listed(beaten[1:])


def _against_baseline(
    comparison: Mapping[str, Any], best: str, baseline: str | None, metric: str
) -> list[str]:
    labels = [m["model"] for m in comparison["models"]]
    if baseline is None or baseline == best:
        return []
    if len(labels) == 2 and baseline in labels:
        return []  # the sentence on the best one has said it
    if baseline not in labels:
        return [f"The baseline {baseline} has no finished run here."]
    tests = Tests(comparison)
    results = [tests.between(label, baseline, metric) for label in labels if label != baseline]
    better, worse = sum(t.better for t in results), sum(t.worse for t in results)
    tied = sum(t.tested and not t.decided for t in results)
    parts = []
    if better:
        parts.append(f"{better} better")
    if worse:
        parts.append(f"{worse} worse")
    if tied:
        parts.append(f"{tied} indistinguishable")
    if len(results) > better + worse + tied:
        parts.append(f"{len(results) - better - worse - tied} untested")
    return [f"Against the baseline {baseline}, {several(len(results), 'model')}: {', '.join(parts)}."]


def _other_metrics(comparison: Mapping[str, Any], best: str) -> list[str]:
    leaders: dict[str, list[str]] = {}
    for metric in comparison["metrics"][1:]:
        leader = best_model(comparison, metric)
        if leader is not None and leader != best:
            leaders.setdefault(leader, []).append(metric)
    tests = Tests(comparison)
    sentences = []
    for leader, metrics in leaders.items():
        found = [tests.between(leader, best, m) for m in metrics]
        names = listed([metric_name(m) for m in metrics])
        if all(test.better for test in found):
            sentences.append(f"By {names}, {leader} is first (Holm p < .05 against {best}).")
        elif any(test.tested for test in found):
            sentences.append(f"By {names}, {leader} is first, though not significantly ahead of {best}.")
        else:
            sentences.append(f"By {names}, {leader} is first; no test compares it with {best} there.")
    return sentences


def _cheap_and_near(comparison: Mapping[str, Any], best: str, metric: str) -> list[str]:
    """A model that trains in a tenth of the best one's time and reaches 95 % of its metric."""
    top = _model(comparison, best)
    cost, value = top["seconds"].get("train"), top["metrics"][metric]["mean"]
    if not known(cost):
        return []
    near = [
        m
        for m in comparison["models"]
        if m["model"] != best
        and known(m["seconds"].get("train"))
        and m["seconds"]["train"] <= CHEAP * cost
        and known(m["metrics"].get(metric, {}).get("mean"))
        and m["metrics"][metric]["mean"] >= (1 - NEAR) * value
    ]
    if not near:
        return []
    chosen = min(near, key=lambda m: m["seconds"]["train"])
    gap = value - chosen["metrics"][metric]["mean"]
    return [
        f"{chosen['model']}, which trains in {seconds(chosen['seconds']['train'])} instead of {seconds(cost)}, "
        f"is within {score(math.ceil(gap * 1000) / 1000, 3)} of it."
    ]


def _seed_caution(models: Iterable[Mapping[str, Any]]) -> list[str]:
    single = [m["model"] for m in models if len(m["seeds"]) == 1]
    total = len(list(models))
    if not single:
        return []
    who = "Every model" if len(single) == total else listed(single)
    return [
        f"{who} ran with one seed: intervals and tests cover the draw of test sessions there, not the luck of training."
    ]
