"""The page of a log before any model sees it: what to beware of, sizes, pictures of sessions, items and drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_ext.data.log_facts import Facts, warnings_of
from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Column, Figure, Prose, Report, Table, section
from recbole_ext.report.formats import NONE, count, known, score, several
from recbole_ext.report.page import render_page
from recbole_ext.report.tables import numbers, value_cell, words

BLUE, ORANGE = plots.COLOURS[:2]


def log_page(facts: Facts, accounts: Mapping[str, Mapping[str, Any]]) -> str:
    """The page's HTML. facts: of `data.log_facts`; accounts: of each file of the log the rows read, kept, dropped."""
    return render_page(log_report(facts, accounts))


def log_report(facts: Facts, accounts: Mapping[str, Mapping[str, Any]]) -> Report:
    """The same as a report of sections."""
    found = [
        section("What became of the rows", _accounts(accounts)),
        section("Sessions", _lengths(facts), _shares(facts)),
        section("Items", _features(facts)),
        section("Over time", _drift(facts), _no_times(facts)),
    ]
    return Report(
        title=f"The log {facts['name']}",
        facts=_head(facts),
        answers=[in_words(facts)],
        cautions=warnings_of(facts),
        sections=[each for each in found if each is not None],
    )


def in_words(facts: Facts) -> str:
    """The log in a paragraph."""
    who = "" if facts["visitors"] is None else f" of {count(facts['visitors'])} visitors"
    when = "" if facts["days"] is None else f", from {facts['first_day']} to {facts['last_day']}"
    parts, targets = facts["parts"], facts["targets"]
    again = "" if facts["returning"] is None else f", and {facts['returning']:.0%} of them are of returning visitors"
    cold = "" if facts["cold"] is None else f" {facts['cold']:.1%} of those are of items that training never saw."
    return (
        f"{count(facts['events'])} events in {count(facts['sessions'])} sessions{who} on {count(facts['items'])} items"
        f"{when}. The newest {several(parts['test'], 'session')} test the models{again}: "
        f"{several(targets['test'], 'event')} to guess.{cold}"
    )


def _head(facts: Facts) -> list[tuple[str, str]]:
    days = NONE if facts["days"] is None else f"{facts['days']:.1f}"
    tested = "" if facts["test_days"] is None else f", {facts['test_days']:.1f} days"
    return [
        ("events", count(facts["events"])),
        ("sessions", count(facts["sessions"])),
        ("visitors", count(facts["visitors"])),
        ("items", count(facts["items"])),
        ("days", days),
        ("training, validation, test sessions", ", ".join(count(n) for n in facts["parts"].values())),
        ("test part", several(facts["targets"]["test"], "event") + f" to guess{tested}"),
    ]


def _accounts(accounts: Mapping[str, Mapping[str, Any]]) -> Table | None:
    rows = []
    for file, account in list(accounts.items())[:20]:
        dropped = "; ".join(f"{why}: {number:,}" for why, number in account["dropped"].items())
        rows.append([Cell(file), *(value_cell(count, account[key]) for key in ("read", "kept")), Cell(dropped or "none")])
    if not rows:
        return None
    more = [f"and {len(accounts) - 20} files more: see manifest.json"] if len(accounts) > 20 else []
    columns = [*words("file"), *numbers("rows read", "kept"), *words("dropped")]
    return Table("accounts", "Rows of the log", columns, rows, more, sortable=False)


def _lengths(facts: Facts) -> Figure:
    lengths = facts["lengths"]

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        bars = panel.bar(list(lengths), list(lengths.values()), color=BLUE, width=0.7)
        panel.bar_label(bars, [f"{number / facts['sessions']:.0%}" for number in lengths.values()], fontsize=8.5)
        panel.set_xlabel("events of the session")
        panel.set_ylabel("sessions")

    spoken = ", ".join(f"{name}: {number:,}" for name, number in lengths.items())
    title = "Sessions by their number of events"
    return plots.drawn("session-lengths", title, f"Bars. {title}. {spoken}", (6.5, 2.6), draw)


def _shares(facts: Facts) -> Table:
    rows = [
        ("events to guess whose item the session had before", facts["repeats"]),
        ("of these the event just before", facts["repeats_last"]),
        ("test events of items without a training event (cold)", facts["cold"]),
        ("test events of items with 1 to 5 training events", facts["few_shot"]),
        ("test sessions of visitors with an earlier session", facts["returning"]),
        ("events on the most popular 1 % of the items", facts["popular"]),
        ("items with fewer than 5 events", facts["lonely"]),
    ]
    rows += [(f"events of kind {kind}", number / facts["events"]) for kind, number in facts["kinds"].items()]
    cells = [[Cell(name), value_cell(_percent, share)] for name, share in rows]
    return Table("shares", "Shares", [*words("what"), Column("share")], cells, sortable=False)


def _percent(share: Any) -> str:
    return f"{share:.1%}" if known(share) else "not known"


def _features(facts: Facts) -> Table | Prose:
    if not facts["features"]:
        return Prose("Nothing is known of the items but who looked at them.")
    rows = [
        [Cell(feature["name"]), Cell(feature["type"]), value_cell(_percent, feature["share"])]
        for feature in facts["features"]
    ]
    columns = [*words("feature", "type"), Column("known of", unit="share of items")]
    return Table("features", "What is known of the items", columns, rows)


def _drift(facts: Facts) -> Figure | None:
    """Events, new items and what stays popular, period by period; None where there are fewer than two."""
    periods: Sequence[Facts] = facts["periods"]
    if len(periods) < 2:
        return None
    begin = [period["begin"] for period in periods]
    rows = (
        ("events", [period["events"] for period in periods], BLUE),
        ("events on items\nof no earlier period", [period["new_items"] for period in periods[1:]], ORANGE),
        ("most popular items\nthat stay so", [period["kept"] for period in periods[1:]], plots.COLOURS[2]),
    )

    def draw(figure: Any) -> None:
        for panel, (name, values, colour) in zip(plots.panels(figure, 3, 1, sharex=True), rows):
            usable = [(day, value) for day, value in zip(begin[-len(values) :], values) if known(value)]
            panel.plot([d for d, _ in usable], [v for _, v in usable], "o-", color=colour)
            panel.set_ylabel(name)
            panel.set_ylim(0, 1 if name != "events" else None)
            plots.y_grid(panel)
        panel.set_xlabel("days since the first event")

    mean = [value for value in rows[2][1] if known(value)]
    spoken = f"On average {score(sum(mean) / len(mean), 2)} of the most popular items stay so." if mean else ""
    title = f"The log in periods of {several(periods[0]['days'], 'day')}; the last one may be cut short"
    return plots.drawn("drift", title, f"Three lines over time. {title}. {spoken}", (9.0, 5.2), draw)


def _no_times(facts: Facts) -> Prose | None:
    if len(facts["periods"]) > 1:
        return None
    return Prose("The log is too short, or has no times, to show how it changes.")
