"""The page of a log before any model sees it: what to beware of, sizes, pictures of sessions, items and drift."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recbole_ext.data.log_facts import BUSIEST, FEW_SHOT, LONELY, Facts, kept_on_average, warnings_of
from recbole_ext.kept import Kept
from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Column, Figure, Prose, Report, Table, section
from recbole_ext.report.formats import NONE, count, known, score
from recbole_ext.report.page import render_page
from recbole_ext.report.pictures import Pictures
from recbole_ext.report.tables import numbers, value_cell, words
from recbole_ext.wording import several

BLUE, ORANGE, GREEN = plots.COLOURS[:3]
MOST_FILES = 20  # whose rows are shown one by one


def log_page(facts: Facts, accounts: Mapping[str, Mapping[str, Any]], kept: Kept | None = None) -> str:
    """The page's HTML.

    Args:
        facts: of `data.log_facts`.
        accounts: of each file of the log the rows read, kept, dropped, as the manifest of a conversion has them.
        kept: where pictures that were drawn before are; None: all are drawn.
    """
    return render_page(log_report(facts, accounts, kept or Kept()))


def log_report(facts: Facts, accounts: Mapping[str, Mapping[str, Any]], kept: Kept) -> Report:
    """The same as a report of sections."""
    found = [
        section("Sessions", _lengths(facts, kept), _shares(facts)),
        section("Over time", _drift(facts, kept), _no_times(facts)),
        section("Items", _features(facts)),
        section("Kinds of events", _kinds(facts)),
        section("What became of the rows", _accounts(accounts)),
    ]
    return Report(
        title=f"The log {facts['name']}",
        facts=_head(facts),
        answers=[in_words(facts)],
        cautions=[*facts["notes"], *warnings_of(facts)],
        sections=[each for each in found if each is not None],
    )


def in_words(facts: Facts) -> str:
    """The log in a paragraph."""
    who = "" if facts["visitors"] is None else f" of {several(facts['visitors'], 'visitor')}"
    when = "" if facts["days"] is None else f", from {facts['first_day']} to {facts['last_day']}"
    parts, targets = facts["parts"], facts["targets"]
    again = (
        ""
        if facts["returning"] is None
        else f"; {_percent(facts['returning'])} of them are of visitors who had been there before"
    )
    cold = (
        ""
        if facts["cold"] is None
        else f", {_percent(facts['cold']) if facts['cold'] else 'none'} of them items that training never saw"
    )
    newest = "newest " if facts["newest"] else ""
    number, are = several(parts["test"], "session"), "is" if parts["test"] == 1 else "are"
    hold = f"{count(facts['tested'])} of them {'holds' if facts['tested'] == 1 else 'hold'}"
    return (
        f"{several(facts['events'], 'event')} in {several(facts['sessions'], 'session')}{who} on "
        f"{several(facts['items'], 'item')}{when}. The {newest}{number} {are} the test{again}. {hold} "
        f"{several(targets['test'], 'event')} to guess{cold}."
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
    for file, account in list(accounts.items())[:MOST_FILES]:
        dropped = "; ".join(f"{why}: {number:,}" for why, number in account["dropped"].items())
        rows.append(
            [
                Cell(file),
                *(value_cell(count, account[key]) for key in ("read", "kept")),
                Cell(dropped or "none"),
            ]
        )
    if not rows:
        return None
    more = len(accounts) - len(rows)
    legend = [f"and {several(more, 'more file')}: see manifest.json beside the atomic files"] if more else []
    columns = [*words("file"), *numbers("rows read", "kept"), *words("dropped")]
    return Table("accounts", "Rows of the log", columns, rows, legend, sortable=False)


def _figure(
    kept: Kept,
    inputs: Any,
    name: str,
    title: str,
    alt: str,
    inches: tuple[float, float],
    draw: Callable[[Any], None],
) -> Figure:
    """The figure that `draw` makes of `inputs` and nothing else: one panel, for any screen."""
    return Pictures(kept, inputs).figure(
        name, title, alt, lambda columns: inches, lambda figure, columns: draw(figure)
    )


def _lengths(facts: Facts, kept: Kept) -> Figure:
    lengths = facts["lengths"]
    shares = [_percent(number / facts["sessions"]) for number in lengths.values()]

    def draw(figure: Any) -> None:
        panel = figure.subplots()
        bars = panel.bar(list(lengths), list(lengths.values()), color=BLUE, width=0.7)
        panel.bar_label(bars, shares, fontsize=8.5)
        panel.margins(y=0.12)
        panel.set_xlabel("events of the session")
        panel.set_ylabel("sessions")
        panel.yaxis.set_major_formatter(_thousands)

    spoken = ", ".join(f"{name}: {number:,}" for name, number in lengths.items())
    title = "Sessions by their number of events"
    return _figure(kept, lengths, "session-lengths", title, f"Bars. {title}. {spoken}", (6.5, 2.6), draw)


def _thousands(value: float, _position: Any = None) -> str:
    return f"{value:,.0f}"


def _shares(facts: Facts) -> Table:
    rows = [
        ("events to guess whose item the session had before", facts["repeats"]),
        ("events to guess whose item is that of the event just before", facts["repeats_last"]),
        ("test events of items without a training event (cold)", facts["cold"]),
        (f"test events of items with 1 to {FEW_SHOT} training events", facts["few_shot"]),
        ("test sessions of visitors with an earlier session", facts["returning"]),
        (f"events to guess in the test of its {BUSIEST} busiest visitors", facts["busiest"]),
        ("events on the most popular 1 % of the items", facts["popular"]),
        (f"items with fewer than {LONELY} events", facts["lonely"]),
    ]
    cells = [[Cell(name), value_cell(_percent, share)] for name, share in rows]
    return Table("shares", "Shares", [*words("what"), Column("share")], cells, sortable=False)


def _kinds(facts: Facts) -> Table | None:
    if not facts["kinds"]:
        return None
    rows = [
        [Cell(kind), value_cell(count, number), value_cell(_percent, number / facts["events"])]
        for kind, number in facts["kinds"].items()
    ]
    return Table("kinds", "Events by kind", [*words("kind"), *numbers("events", "share")], rows)


def _percent(share: Any) -> str:
    """53 %; below ten with a digit more; below a thousandth it is said to be that."""
    if not known(share):
        return "not known"
    if 0 < share < 0.001:
        return "below 0.1 %"
    return f"{100 * share:.1f} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _features(facts: Facts) -> Table | Prose:
    if not facts["features"]:
        return Prose("Nothing is known of the items but who looked at them.")
    rows = [
        [Cell(feature["name"]), Cell(feature["type"]), value_cell(_percent, feature["share"])]
        for feature in facts["features"]
    ]
    columns = [*words("feature", "type"), Column("known of", unit="share of items")]
    return Table("features", "What is known of the items", columns, rows)


def _drift(facts: Facts, kept: Kept) -> Figure | None:
    """Events, new items and what stays popular, period by period; None where there are fewer than two."""
    periods: Sequence[Facts] = facts["periods"]
    if len(periods) < 2:
        return None
    begin = [period["begin"] for period in periods]
    rows = (
        ("events", [period["events"] for period in periods], BLUE),
        (
            "share of events\non new items",
            [None, *(p["new_items"] for p in periods[1:])],
            ORANGE,
        ),
        ("share of popular\nitems that stay so", [period["kept"] for period in periods], GREEN),
    )

    def draw(figure: Any) -> None:
        for panel, (name, values, colour) in zip(plots.panels(figure, 3, 1, sharex=True), rows):
            usable = [(day, value) for day, value in zip(begin, values) if known(value)]
            days, figures = [day for day, _ in usable], [value for _, value in usable]
            panel.plot(days, figures, "o-", color=colour, clip_on=False)  # a mark at the edge is whole
            panel.set_ylabel(name)
            plots.y_grid(panel)
            panel.set_ylim(0, None if name == "events" else 1)
            if name == "events":
                panel.yaxis.set_major_formatter(_thousands)
        panel.set_xlabel(f"days since {facts['first_day'] or 'the first event'}")

    mean = kept_on_average(facts)
    spoken = "" if mean is None else f" On average {score(mean, 2)} of the most popular items stay so."
    cut = "" if periods[-1]["whole"] else "; the last one is cut short"
    title = (
        f"The log in periods of {several(periods[0]['days'], 'day')}{cut}. New items: of no earlier period; popular "
        "ones: the most looked at tenth of the period before, from 10 to 100 of them"
    )
    return _figure(
        kept,
        [facts["first_day"], periods],
        "drift",
        title,
        f"Three lines over time. {title}.{spoken}",
        (9.0, 5.2),
        draw,
    )


def _no_times(facts: Facts) -> Prose | None:
    if len(facts["periods"]) > 1:
        return None
    return Prose("The log is too short, or has no times, to show how it changes.")
