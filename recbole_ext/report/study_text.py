"""What a study says at its end: which model, why, how surely, and what the log cannot tell; one paragraph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.data.log_facts import FEW_SESSIONS, FEW_TARGETS, SHORT_DAYS, Facts
from recbole_ext.report.formats import interval, known, listed, metric_name, p_value, score, seconds, several, signed
from recbole_ext.report.paired import Test, Tests, best_model

Fields = Mapping[str, Any]
OF_KINDS = {  # how the slices of a promotion are called in a sentence
    ("visitor", "new"): "new visitors",
    ("visitor", "returning"): "returning visitors",
    ("item", "cold"): "items that training never saw",
    ("item", "few-shot 1-5"): "items with 1 to 5 training events",
    ("item", "warm"): "items with more",
    ("repeat", "repeat"): "items that the session had before",
    ("repeat", "new to the session"): "items that are new to the session",
}


def study_text(
    winner: str,
    comparison: Fields,
    against: Fields | None,
    floor: str | None,
    facts: Facts,
    left_out: Mapping[str, str],
) -> str:
    """The paragraph.

    Args:
        winner: label of the model that validation has chosen.
        comparison: as `evaluate.comparison.compare` makes it, of all models that were tested.
        against: as `evaluate.promotion.promotion` makes it, of the winner in the place of `floor`, with margins of 0;
            None: it is the simplest one itself.
        facts: of `data.log_facts`. left_out: labels, with the reason.
    """
    metric = comparison["metrics"][0]
    sentences = [
        _which(winner, comparison, metric, facts),
        *_why(winner, comparison, metric, floor),
        *_for_whom(against, floor),
        *_how_sure(winner, comparison, metric),
        *(f"Left out: {'; '.join(f'{label} ({why})' for label, why in left_out.items())}." for _ in [0] if left_out),
        _cannot_tell(facts),
    ]
    return " ".join(sentences)


def _which(winner: str, comparison: Fields, metric: str, facts: Facts) -> str:
    found = _model(comparison, winner)["metrics"]
    within = interval(found[metric], 3)
    hits = found.get("hit@20")
    listed_ = f", and the next item is among its first 20 in {hits['mean']:.0%} of cases" if hits else ""
    return (
        f"Take {winner}: validation chose it among {several(len(comparison['models']), 'model')}, and on the newest "
        f"{several(comparison['sessions'], 'session')} of {facts['name']}, which were looked at once, it reaches "
        f"{metric_name(metric)} {score(found[metric]['mean'], 3)}{f' (95 % {within})' if within else ''}{listed_}."
    )


def _model(comparison: Fields, label: str) -> Fields:
    found: Fields = next(one for one in comparison["models"] if one["model"] == label)
    return found


def _why(winner: str, comparison: Fields, metric: str, floor: str | None) -> list[str]:
    tests = Tests(comparison)
    others = [one["model"] for one in comparison["models"] if one["model"] != winner]
    if not others:
        return ["It was tried alone, so nothing says that it is better than any other."]
    top = best_model(comparison, metric)
    said = []
    if top not in (winner, None):
        test = tests.between(winner, top, metric)
        told = "surely" if test.worse else "though not by more than chance"
        said.append(f"On the test part {top} is ahead of it, {told}: {_by(test)}.")
    nearest = next(label for label in others if label != top)  if others != [top] else None
    for label, why in {nearest: "the next one", floor: "the best of the simplest"}.items():
        if label is None or label == winner or (label == nearest and label == floor and why == "the next one"):
            continue
        test = tests.between(winner, label, metric)
        if test.tested:
            verb = "better than" if test.better else "worse than" if test.worse else "not to be told from"
            said.append(f"It is {verb} {label}, {why}: {_by(test)}.")
    return said


def _by(test: Test) -> str:
    bounds = ""
    if known(test.low) and known(test.high):
        bounds = f"95 % {signed(test.low, 3)} to {signed(test.high, 3)}, "
    return f"{signed(test.difference, 3)} ({bounds}Holm {p_value(test.p_holm)})"


def _for_whom(against: Fields | None, floor: str | None) -> list[str]:
    """On which targets the winner is ahead of the floor, on which it is behind."""
    if against is None:
        return []
    rows = [row for row in against["rows"] if (row["dimension"], row["slice"]) in OF_KINDS]
    called = {state: [OF_KINDS[row["dimension"], row["slice"]] for row in rows if row["state"] == state] for state in STATES}
    parts = [f"{words} {listed(called[state], 8)}" for state, words in STATES.items() if called[state]]
    return [f"Beside {floor} it is {'; '.join(parts)}."] if parts else []


STATES = {"as good": "ahead on", "fallen": "behind on", "not known": "not known to be either on"}


def _how_sure(winner: str, comparison: Fields, metric: str) -> list[str]:
    tests = Tests(comparison)
    found = {one["model"]: tests.between(winner, one["model"], metric) for one in comparison["models"]}
    tied = [label for label, test in found.items() if test.tested and not test.decided]
    beaten = [label for label, test in found.items() if test.better]
    said = []
    if tied:
        train = {label: _model(comparison, label)["seconds"].get("train") for label in (winner, *tied)}
        cheap = [label for label in tied if known(train[label]) and known(train[winner]) and train[label] < train[winner]]
        costs = "".join(f" ({label} trains in {seconds(train[label])}, {winner} in {seconds(train[winner])})" for label in cheap[:1])
        said.append(f"How sure is that? Not very: {listed(tied)} may be as good{costs}.")
    elif len(beaten) == len(found) - 1 and beaten:
        said.append("How sure is that? As far as the draw of test sessions goes, sure.")
    seeds = min(len(one["seeds"]) for one in comparison["models"])
    if seeds == 1:
        said.append("Each model ran with one seed, so luck in training is not in these intervals (--seed=1,2,3).")
    return said


def _cannot_tell(facts: Facts) -> str:
    """What stands against trusting the figures, of this log and of every log."""
    sessions, targets = facts["parts"]["test"], facts["targets"]["test"]
    limits: Sequence[tuple[bool, str]] = (
        (
            sessions < FEW_SESSIONS or targets < FEW_TARGETS,
            f"small differences ({several(sessions, 'test session')}, {several(targets, 'event')} to guess)",
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
