"""How numbers, metrics and test results read in a report: one home for what page, Markdown and pictures share.

A claim that one model is better than another is made only where the test says so: Holm-adjusted p < .05.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

ALPHA = 0.05
NONE = "–"
MINUS = "−"
NEAR = 0.05  # a model counts as near the best when it reaches 95 % of its metric
CHEAP = 0.1  # … and as cheap when it trains in a tenth of the time


def known(value: Any) -> TypeGuard[float]:
    """Whether `value` is a number that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def score(value: Any, digits: int = 4) -> str:
    """A metric: .2371, without the leading nought that says nothing; a dash where there is none."""
    if not known(value):
        return NONE
    text = f"{abs(value):.{digits}f}"
    if text.startswith("0."):
        text = text[1:]
    return (MINUS if value < 0 and float(f"{value:.{digits}f}") else "") + text


def signed(value: Any, digits: int = 4) -> str:
    """A difference with its sign: +.0123, −.0040, .0000."""
    if not known(value):
        return NONE
    return ("+" if float(f"{value:.{digits}f}") > 0 else "") + score(value, digits)


def interval(found: Mapping[str, Any], digits: int = 4) -> str:
    """The interval of a value with `low` and `high`: .2330–.2410; empty where there is none."""
    low, high = found.get("low"), found.get("high")
    if not (known(low) and known(high)):
        return ""
    if low < 0 or high < 0:
        return f"{signed(low, digits)} to {signed(high, digits)}"
    return f"{score(low, digits)}–{score(high, digits)}"


def p_value(p: Any) -> str:
    """p < .001, p = .013; with a fourth digit where three would hide on which side of .05 it lies."""
    if not known(p):
        return "p unknown"
    if p < 0.001:
        return "p < .001"
    return f"p = {score(p, 4 if 0.0495 <= p < 0.0505 else 3)}"


def stars(p: Any) -> str:
    """*** p < .001, ** p < .01, * p < .05, n.s. otherwise, ? untested."""
    if not known(p):
        return "?"
    for limit, mark in ((0.001, "***"), (0.01, "**"), (ALPHA, "*")):
        if p < limit:
            return mark
    return "n.s."


def seconds(value: Any) -> str:
    """A duration, to two or three figures: 0.04 s, 3.2 s, 48 s, 12 min, 3.4 h."""
    if not known(value):
        return NONE
    if value < 0.1:
        return f"{value:.2g} s"
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.1f} min" if value < 600 else f"{value / 60:.0f} min"
    return f"{value / 3600:.1f} h"


def count(value: Any) -> str:
    """A whole number with separators; a mean that is no whole number with one digit."""
    if not known(value):
        return NONE
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def roughly(value: Any) -> str:
    """A large whole number to three figures: 950, 12.4 k, 4.81 M, 1.20 G."""
    if not known(value) or abs(value) < 10_000:
        return count(value)
    for limit, unit in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= limit:
            return f"{value / limit:.2f} {unit}"
    return f"{value / 1000:.1f} k" if value < 99_950 else f"{value / 1000:.0f} k"


def amount(value: Any) -> str:
    """A share to three digits, a larger quantity to one: .691, 312.4."""
    if not known(value):
        return NONE
    return score(value, 3) if abs(value) <= 1 else f"{value:,.1f}"


def size(value: Any) -> str:
    """Bytes in the nearest decimal unit."""
    if not known(value):
        return NONE
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def several(number: int, one: str, many: str | None = None) -> str:
    """1 model, 2 models."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """A, B and C; of many the first few and how many more."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def spaced(name: str) -> str:
    """A name from a program as words: session_length is session length."""
    return name.replace("_", " ")


def metric_name(metric: str) -> str:
    """The metric as papers write it: ndcg@10 is NDCG@10, hit@20 is HR@20, gini@20 is Gini@20."""
    name, at, k = metric.partition("@")
    shown = {"hit": "HR", "ndcg": "NDCG", "mrr": "MRR", "category_hit": "Category HR"}.get(name.lower())
    return (shown or name[:1].upper() + name[1:].replace("_", " ")) + at + k


def differing(what: str, values: Sequence[str]) -> str:
    """2 different devices: A and B."""
    return f"{len(values)} different {what}: {listed(values)}"


def shown_value(value: Any) -> str:
    """A setting as yaml would have it, on one line."""
    if value is None:
        return "~"
    if isinstance(value, Mapping):
        if set(value) == {"__enum__"}:
            return str(value["__enum__"][-1])
        return "{" + ", ".join(f"{k}: {shown_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown_value(v) for v in value) + "]"
    return f"{value:g}" if isinstance(value, float) and value == float(f"{value:g}") else str(value)


# --- tests --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Test:
    """Model `a` minus model `b` on one metric."""

    __test__ = False  # not pytest's

    difference: float | None
    low: float | None
    high: float | None
    p_holm: float | None

    @property
    def decided(self) -> bool:
        """Whether the difference may be called one: Holm-adjusted p < .05 and a sign."""
        return known(self.p_holm) and self.p_holm < ALPHA and known(self.difference) and self.difference != 0

    @property
    def better(self) -> bool:
        return self.decided and (self.difference or 0) > 0

    @property
    def worse(self) -> bool:
        return self.decided and (self.difference or 0) < 0

    @property
    def tested(self) -> bool:
        return known(self.p_holm)

    def turned(self) -> Test:
        """b minus a."""
        return Test(_negative(self.difference), _negative(self.high), _negative(self.low), self.p_holm)


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


UNTESTED = Test(None, None, None, None)


class Tests:
    """The tests of a comparison, asked for in either order of the two models."""

    __test__ = False

    def __init__(self, comparison: Mapping[str, Any]):
        self._found = {
            (t["a"], t["b"], t["metric"]): Test(
                t.get("difference"), t.get("low"), t.get("high"), t.get("p_holm")
            )
            for t in comparison.get("tests") or []
        }

    def __len__(self) -> int:
        return len(self._found)

    def between(self, a: str, b: str, metric: str) -> Test:
        """`a` minus `b`; UNTESTED where the two were not compared on `metric`."""
        if (a, b, metric) in self._found:
            return self._found[a, b, metric]
        if (b, a, metric) in self._found:
            return self._found[b, a, metric].turned()
        return UNTESTED


def best_model(comparison: Mapping[str, Any], metric: str) -> str | None:
    """Label of the model whose mean is highest; None where no model has the metric."""
    means = {m["model"]: m["metrics"].get(metric, {}).get("mean") for m in comparison["models"]}
    means = {label: mean for label, mean in means.items() if known(mean)}
    return max(means, key=lambda label: means[label]) if means else None


# --- the answer in plain language ---------------------------------------------------------------------------


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
        return f"all {len(beaten) - 1} others"
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
