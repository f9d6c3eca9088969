"""What a study says at its end: which model, why, how surely, and what the log cannot tell; one paragraph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_ext.data.log_facts import FEW_SESSIONS, FEW_TARGETS, MUCH_COLD, SHORT_DAYS, Facts
from recbole_ext.evaluate.intervals import holm
from recbole_ext.evaluate.promotion import FALLEN
from recbole_ext.report.formats import (
    ALPHA,
    interval,
    known,
    listed,
    metric_name,
    p_value,
    score,
    seconds,
    signed,
)
from recbole_ext.report.paired import Test, Tests, best_model
from recbole_ext.wording import several

Fields = Mapping[str, Any]
OF_KINDS = {  # how the slices of a promotion are called in a sentence
    ("visitor", "new"): "new visitors",
    ("visitor", "returning"): "returning visitors",
    ("item", "cold"): "items that training never saw",
    ("item", "few-shot 1-5"): "items with 1 to 5 training events",
    ("item", "warm"): "items with more than 5 training events",
    ("repeat", "repeat"): "items that the session had before",
    ("repeat", "new to the session"): "items that are new to the session",
}
HITS = "hit@20"
TOO_FEW = 100  # events to guess, below which a choice is next to none


def study_text(
    winner: str,
    comparison: Fields,
    against: Fields | None,
    floor: str | None,
    facts: Facts,
    left_out: Mapping[str, str],
    of_search: str = "",
    readings: int = 1,
) -> str:
    """The paragraph.

    Args:
        winner: label of the model that validation has chosen.
        comparison: as `evaluate.comparison.compare` makes it, of all models that were tested.
        against: as `evaluate.promotion.promotion` makes it, of the winner in the place of `floor`, with margins of 0;
            None: there is no other one to compare it with so.
        floor: label of the best of the simplest models, on validation; None: none of them ran.
        facts: of `data.log_facts`.
        left_out: labels of models that were not tested, with the reason.
        of_search: a sentence on models that were not searched; empty: there is none.
        readings: how often the test part was read, of the model and seed that it was read most for.
    """
    metric = comparison["metrics"][0]
    sentences = [
        *_too_few(comparison),
        _which(winner, comparison, metric, floor, facts, readings),
        *_why(winner, comparison, metric, floor),
        *_for_whom(against, floor),
        *_how_sure(winner, comparison, metric),
        *([of_search] if of_search else []),
        *_left_out(left_out),
        _cannot_tell(facts),
    ]
    return " ".join(sentences)


def _too_few(comparison: Fields) -> list[str]:
    events = comparison["targets"]
    if events >= TOO_FEW:
        return []
    return [
        f"This log is too small to choose by: {several(events, 'event')} to guess. What follows is a try-out."
    ]


def _which(
    winner: str, comparison: Fields, metric: str, floor: str | None, facts: Facts, readings: int
) -> str:
    found = _model(comparison, winner)["metrics"]
    within = interval(found[metric], 3)
    among = len(comparison["models"])
    chosen = (
        f"validation chose it among {several(among, 'model')}"
        if among > 1
        else "no other model was tried to its end"
    )
    simple = ", and it is one of the simplest" if winner == floor else ""
    hits = (
        f": the next item is among its first 20 in {100 * found[HITS]['mean']:.0f} % of cases"
        if HITS in found
        else ""
    )
    test = f"{several(comparison['sessions'], 'session')}, {several(comparison['targets'], 'event')} to guess"
    reached = (
        f"{metric_name(metric)} {score(found[metric]['mean'], 3)}{f' (95 % {within})' if within else ''}"
    )
    looked = "once" if readings <= 1 else f"{readings} times, which the page lists"
    newest = "newest " if facts["newest"] else ""
    return (
        f"Take {winner}: {chosen}{simple}. On the {newest}sessions of {facts['name']}, kept for the test and looked at "
        f"{looked} ({test}), it reaches {reached}{hits}."
    )


def _model(comparison: Fields, label: str) -> Fields:
    found: Fields = next(one for one in comparison["models"] if one["model"] == label)
    return found


def _why(winner: str, comparison: Fields, metric: str, floor: str | None) -> list[str]:
    """Beside whoever the test part puts first, or next, and beside the best of the simplest."""
    tests = Tests(comparison)
    others = sorted(
        (one for one in comparison["models"] if one["model"] != winner),
        key=lambda one: -(one["metrics"][metric]["mean"] or 0.0),
    )
    if not others:
        return ["Nothing says that it is better than any other."]
    nearest = others[0]["model"]
    said = []
    test = tests.between(winner, nearest, metric)
    if best_model(comparison, metric) != winner:
        surely = "and that is more than chance" if test.worse else "by no more than chance may do"
        said.append(f"On the test {nearest} is ahead of it, {surely}: {_by(test.turned())}.")
    elif test.tested:
        said.append(f"It is {_beside(test)} {nearest}, the next one: {_by(test)}.")
    if floor not in (None, winner, nearest):
        test = tests.between(winner, floor, metric)
        if test.tested:
            said.append(f"It is {_beside(test)} {floor}, the best of the simplest models: {_by(test)}.")
    return said


def _beside(test: Test) -> str:
    return "better than" if test.better else "worse than" if test.worse else "not to be told from"


def _by(test: Test) -> str:
    bounds = ""
    if known(test.low) and known(test.high):
        bounds = f"95 % {signed(test.low, 3)} to {signed(test.high, 3)}, "
    return f"{signed(test.difference, 3)} ({bounds}Holm {p_value(test.p_holm)})"


def _for_whom(against: Fields | None, floor: str | None) -> list[str]:
    """For which targets the winner is ahead of the floor, for which it is behind; Holm-adjusted, either way."""
    if against is None:
        return []
    rows = [
        row
        for row in against["rows"]
        if (row["dimension"], row["slice"]) in OF_KINDS and (row["new"] or row["old"])
    ]
    ahead = holm(np.array([row["p_kept"] for row in rows])) < ALPHA
    called: dict[str, list[str]] = {"better for": [], "worse for": [], "not to be told from it for": []}
    for row, better in zip(rows, ahead):
        worse = row["state"] == FALLEN
        state = "better for" if better else "worse for" if worse else "not to be told from it for"
        called[state].append(OF_KINDS[row["dimension"], row["slice"]])
    parts = [f"{state} {listed(names, len(OF_KINDS))}" for state, names in called.items() if names]
    if len(parts) == 1 and len(rows) > 2:
        state = next(state for state, names in called.items() if names)
        return [f"Beside {floor} it is {state} every kind of visitor and item that was looked at."]
    return [f"Beside {floor} it is {'; '.join(parts)}."] if parts else []


def _how_sure(winner: str, comparison: Fields, metric: str) -> list[str]:
    tests = Tests(comparison)
    found = {one["model"]: tests.between(winner, one["model"], metric) for one in comparison["models"]}
    tied = [label for label, test in found.items() if test.tested and not test.decided]
    ahead = [label for label, test in found.items() if test.worse]
    said = []
    if ahead:
        said.append(
            f"How sure is that? Not at all: validation and test disagree on {listed(ahead)}, as they do where a log "
            "changes or is short."
        )
    elif tied:
        train = {label: _model(comparison, label)["seconds"].get("train") for label in (winner, *tied)}
        cheap = [
            label
            for label in tied
            if known(train[label]) and known(train[winner]) and train[label] < 0.5 * train[winner]
        ]
        costs = "".join(
            f" ({label} trains in {seconds(train[label])} instead of {seconds(train[winner])})"
            for label in cheap[:1]
        )
        said.append(f"How sure is that? Not very: {listed(tied)} may be as good{costs}.")
    elif len(found) > 1 and all(test.better for label, test in found.items() if label != winner):
        said.append("How sure is that? As far as the draw of test sessions goes, sure.")
    if min(len(one["seeds"]) for one in comparison["models"]) == 1:
        said.append(
            "Each model ran with one seed: luck in training is not in these intervals (--seed 1,2,3)."
        )
    return said


def _left_out(left_out: Mapping[str, str]) -> list[str]:
    """By the reason, which is the same for those that the time did not suffice for."""
    by_reason: dict[str, list[str]] = {}
    for label, why in left_out.items():
        by_reason.setdefault(why, []).append(label)
    parts = [f"{listed(labels, len(labels))} ({why})" for why, labels in by_reason.items()]
    return [f"Left out: {'; '.join(parts)}."] if parts else []


def _cannot_tell(facts: Facts) -> str:
    """What stands against trusting the figures, of this log and of every log."""
    sessions, targets, cold = facts["tested"], facts["targets"]["test"], facts["cold"] or 0.0
    limits = (
        (
            sessions < FEW_SESSIONS or targets < FEW_TARGETS,
            f"small differences ({several(sessions, 'test session')}, {several(targets, 'event')} to guess)",
        ),
        (
            cold > MUCH_COLD,
            f"much of its newest items ({100 * cold:.0f} % of the events to guess, which training never saw)",
        ),
        (facts["days"] is None, "how it changes with time (no times)"),
        (
            facts["days"] is not None and facts["days"] < SHORT_DAYS,
            f"what changes with the week or the season ({facts['days'] or 0:.1f} days)",
        ),
        (facts["returning"] is None, "what returning visitors want (it does not say who they are)"),
        (not facts["features"], "what to do with new items (no item data)"),
        (len(facts["kinds"]) < 2, "what leads to a purchase (one kind of event)"),
    )
    own = [words for holds, words in limits if holds]
    always = "whether people would have liked what they were not shown, which only a test in the shop says"
    return f"What this log cannot tell: {'; '.join([*own, always])}."
