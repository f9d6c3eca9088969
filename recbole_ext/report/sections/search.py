"""What each model's search was given, how far it came, what mattered, and every trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from recbole_ext.evaluate.best_of import best_of
from recbole_ext.report import plots
from recbole_ext.report.document import Cell, Column, Figure, Section, Table, section
from recbole_ext.report.formats import count, known, score, seconds, shown_value
from recbole_ext.report.sections.findings import Findings
from recbole_ext.report.tables import MISSING, in_order, numbers, value_cell, words
from recbole_ext.wording import several

FEWEST = 4  # trials with a score, of a search that has a picture
CHANCE = (
    "half as many: the mean best score, ± its standard deviation, of half of these trials drawn at random (Dodge et "
    "al. 2019, Tang et al. 2020): what the search itself leaves to chance; a pruned trial counts with its best score "
    "until then"
)
IMPORTANCE = (
    "what mattered: each key's share of the variance of the scores, by fANOVA (Hutter et al. 2014) over the trials "
    "that ran to their end; keys with a condition have none"
)
Fields = Mapping[str, Any]


def searches(found: Findings) -> Section | None:
    """What was tried on validation: what each model was given, a picture, a table a search."""
    return section(
        "What was tried",
        budget_table(found.searches),
        search_picture(found),
        *[search_table(search) for search in found.searches],
    )


# --- what each was given ------------------------------------------------------------------------------------


def budget_table(searches: Sequence[Fields]) -> Table | None:
    """A row a model: its trials and seconds, its best score, and what chance there was in it; None without searches."""
    if not searches:
        return None
    important = any(search.get("importance") for search in searches)
    columns = [
        *words("model"),
        *numbers("trials", "pruned", "failed"),
        Column("seconds", unit="of its trials"),
    ]
    columns += [*numbers("best"), Column("half as many", unit="expected")]
    columns += words("what mattered") if important else []
    rows = [_budget(search, important) for search in searches]
    legend = [CHANCE] + ([IMPORTANCE] if important else [])
    return Table("budget", _given(searches), columns, rows, legend)


def _given(searches: Sequence[Fields]) -> str:
    """How trials were chosen and how many there might be, of all models alike."""
    ways = []
    for search in searches:
        sampler, pruner = search.get("sampler", "grid"), search.get("pruner", "none")
        limit = search.get("limit")
        ends = "" if pruner == "none" else f", ended early by {pruner}"
        ways.append(f"by {sampler}{ends}" + (f", {limit} a model" if limit else ""))
    return f"Trials {' or '.join(in_order(ways))}; validation scores, the test part was not read"


def _budget(search: Fields, important: bool) -> list[Cell]:
    trials = search.get("trials") or []
    times = [float(trial["seconds"]) for trial in trials if known(trial.get("seconds"))]
    row = [
        Cell(str(search.get("label"))),
        value_cell(count, len(trials)),
        value_cell(count, sum(1 for trial in trials if trial.get("pruned"))),
        value_cell(count, sum(1 for trial in trials if trial.get("reason"))),
        value_cell(seconds, sum(times) if times else None),
        value_cell(score, _best(search)),
        _half(search),
    ]
    shares = search.get("importance") or {}
    said = " · ".join(f"{key} {score(share, 2)}" for key, share in shares.items())
    return [*row, Cell(said or "–")] if important else row


def _best(search: Fields) -> float | None:
    """Of the trials that ran to their end."""
    better = min if search.get("lower_is_better") else max
    whole = [trial for trial in search.get("trials") or [] if not trial.get("pruned")]
    return better(_scores(whole), default=None)


def _half(search: Fields) -> Cell:
    scores = _scores(search.get("trials") or [])
    if len(scores) < FEWEST:
        return Cell("–", None)
    mean, spread = best_of(scores, bool(search.get("lower_is_better")))
    half = len(scores) // 2 - 1
    return Cell(f"{score(mean[half])} ± {score(spread[half])}", float(mean[half]))


def _scores(trials: Sequence[Fields]) -> list[float]:
    return [float(trial["valid_score"]) for trial in trials if known(trial.get("valid_score"))]


# --- how far it came ----------------------------------------------------------------------------------------


def search_picture(found: Findings) -> Figure | None:
    """Best score so far and expected best of n by the number of trials, a panel a model; None for small searches."""
    shown = [search for search in found.searches if len(_scores(search.get("trials") or [])) >= FEWEST]
    if not shown:
        return None
    metrics = " / ".join(dict.fromkeys(str(r.get("valid_metric")) for r in found.records))

    def lines(columns: int) -> int:
        return math.ceil(len(shown) / columns)

    def draw(figure: Any, columns: int) -> None:
        axes = plots.panels(figure, lines(columns), columns, sharey=True)
        for panel in axes[len(shown) :]:
            panel.set_axis_off()
        for i, (panel, search) in enumerate(zip(axes, shown)):
            _draw_search(
                panel, search, found.look.get(str(search["label"]), plots.Style(plots.INK, "o", True))
            )
            if i % columns == 0:
                panel.set_ylabel(f"validation {metrics}")
            if i + columns >= len(shown):
                panel.set_xlabel("trials")
        _cut_worst(axes[0], shown)

    title = (
        f"Validation {metrics} by the number of trials; line: the best so far, dots: trials in their order, hollow: "
        "pruned; dashed: the expected best of so many drawn at random from these, with its standard deviation"
    )
    read = plots.read_out([(str(search["label"]), {"mean": _best(search)}) for search in shown])
    alt = f"Searches. Best validation score: {read}"

    def inches(columns: int) -> tuple[float, float]:
        return max(7.2, min(plots.WIDTH, 3.0 * columns + 0.6)), 0.7 + 2.1 * lines(columns)

    return found.pictures.figure(found.name("search"), title, alt, inches, draw, min(4, len(shown)))


def _draw_search(panel: Any, search: Fields, style: plots.Style) -> None:
    from matplotlib.ticker import MaxNLocator

    lower = bool(search.get("lower_is_better"))
    trials = [trial for trial in search["trials"] if known(trial.get("valid_score"))]
    scores, numbers = _scores(trials), range(1, len(trials) + 1)
    worst = math.inf if lower else -math.inf
    whole = [worst if trial.get("pruned") else value for trial, value in zip(trials, scores)]
    so_far = [
        value if math.isfinite(value) else math.nan for value in accumulate(whole, min if lower else max)
    ]
    panel.step(numbers, so_far, where="post", color=style.colour)
    for trial, x, y in zip(trials, numbers, scores):
        face = "white" if trial.get("pruned") else style.colour
        panel.plot(x, y, "o", color=style.colour, mfc=face, markersize=3.5, mew=0.8)
    mean, spread = best_of(scores, lower)
    panel.plot(numbers, mean, color=plots.QUIET, ls=(0, (4, 2)), lw=1.0)
    panel.fill_between(numbers, mean - spread, mean + spread, color=plots.QUIET, alpha=0.15, lw=0)
    panel.set_title(plots.short(str(search["label"])))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    plots.y_grid(panel)


def _cut_worst(panel: Any, searches: Sequence[Fields]) -> None:
    """The worst trials would squeeze all others."""
    if any(search.get("lower_is_better") for search in searches):
        return
    best = min(max(_scores(search["trials"])) for search in searches)
    if best > 0 and min(min(_scores(search["trials"])) for search in searches) < plots.FLOOR * best:
        panel.set_ylim(bottom=plots.FLOOR * best)


# --- every trial --------------------------------------------------------------------------------------------


def search_table(search: Mapping[str, Any]) -> Table:
    """Every trial of one model's search, best validation score first, the chosen one marked."""
    trials = sorted(search.get("trials") or [], key=_worth, reverse=True)
    keys = in_order(key for t in trials for key in t.get("settings") or {})
    chosen = search.get("chosen") or {}
    columns = [*numbers("#"), *words(*keys), *numbers("validation score", "epochs", "training")]
    failed, pruned = (any(trial.get(key) for trial in trials) for key in ("reason", "pruned"))
    columns += words("ended") if pruned else []
    columns += words("failed") if failed else []
    rows: list[list[Cell]] = []
    for place, trial in enumerate(trials, 1):
        settings = trial.get("settings") or {}
        picked = _same_settings(settings, chosen) and not any(c.tone == "best" for r in rows for c in r)
        row = [Cell(str(place), place, "chosen" if picked else "", tone="best" if picked else "")]
        row += [_setting_cell(settings.get(key, MISSING)) for key in keys]
        row += [
            value_cell(score, trial.get("valid_score")),
            value_cell(count, trial.get("epochs")),
            value_cell(seconds, trial.get("seconds")),
        ]
        row += [Cell("early" if trial.get("pruned") else "")] if pruned else []
        row += [Cell(str(trial.get("reason") or ""))] if failed else []
        rows.append(row)
    what = ", ".join(f"{k}: {_shown(v)}" for k, v in chosen.items()) or "nothing"
    caption = f"{search.get('label')}: {several(len(trials), 'trial')}; chosen {what}"
    return Table("search", caption, columns, rows, ordered=(0, "ascending"), fold="folded")


def _worth(trial: Mapping[str, Any]) -> float:
    value = trial.get("valid_score")
    return float(value) if known(value) else -math.inf


def _same_settings(settings: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether a trial is the chosen one; `chosen` may hold the settings alone or the whole trial."""
    wanted = chosen.get("settings", chosen) if isinstance(chosen.get("settings"), Mapping) else chosen
    return bool(settings) and all(key in wanted and wanted[key] == value for key, value in settings.items())


def _setting_cell(value: Any) -> Cell:
    if value is MISSING:
        return Cell("", None)
    return Cell(_shown(value), float(value) if known(value) else None)


def _shown(value: Any) -> str:
    """A drawn number has more digits than matter; chosen.yaml has them all."""
    return f"{value:.4g}" if isinstance(value, float) and len(f"{value!r}") > 8 else shown_value(value)
