"""Writes results/leaderboard.md: every experiment's models side by side, from the files in results/ alone.

    python docs/site/leaderboard.py

Means and intervals are those of report.csv, marks those of report.md, which holds the pairwise tests; the commit of a
cell is that of its last reading in test_readings.csv. Which experiments, in which order and under which titles, the
contents of the site say, mkdocs.yml. It stands here and is no command, as most of the page is of these logs alone: what
papers published on them, and how that differs. A user's own experiments have a page each, and `recbole-ext compare`.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from recbole_ext.report import formats

ROOT = Path(__file__).resolve().parents[2]
PAGE = "leaderboard.md"
METRICS = {"ndcg@10": "NDCG@10", "hit@20": "HR@20", "mrr@20": "MRR@20"}
SEVERAL = 3  # experiments that a model is in, to stand in the first table
BEST, TIED = "best", "tied"
LISTS = (
    "Source: the tables of the papers that use this split. Training and test pairs are the same, and all items are "
    "ranked. What differs is how an epoch is chosen: here on validation. The papers do not say alike, and the released "
    "code of COTREC and MGCOT keeps, for each metric apart, the one that is best **on the test pairs**, so that their "
    "figures lean upwards."
)
PROTOCOLS = {  # of published figures, by experiment: source, and in what it differs from ours
    "diginetica-sessions": LISTS,
    "retailrocket-sessions": LISTS,
    "diginetica-loo5": "Source: RecBole-GNN's table. Leave-one-out, 5-core, at most 20 events, all items ranked, "
    "chosen by MRR@10 on validation, as here. Its models are 64 wide, as RecBole's are here; ours are 128. Our 5-core "
    "has 98.7 % of its data.",
}
ELSEWHERE = """## Published under other protocols

These are on the same logs and **not comparable** with the tables above, as their splits differ (HR@20 / MRR@20).

| source and protocol | model | Diginetica | Retail Rocket |
|---|---|---|---|
| Ludewig et al. 2020, mean of five time windows | VSTAN | .480 / .184 | .593 / .364 |
| | STAN | .480 / .183 | .594 / .364 |
| | VSKNN | .473 / .178 | .575 / .340 |
| | SKNN | .475 / .171 | .579 / .337 |
| | GRU4Rec | .464 / .164 | .567 / .324 |
| | NARM | .419 / .139 | .555 / .320 |
| | SR-GNN | .364 / .156 | .500 / .325 |
| official PyTorch code of GRU4Rec, a split of its own | GRU4Rec | .4995 / .1542 | .5186 / .2175 |

Left out are HR@20 of .63 and more on Diginetica's lists (MSGAT, MGCOT): these models mix the sessions of a test batch,
and in the file's order most test pairs share a batch with a longer prefix of their own session."""


@dataclass(frozen=True)
class Figure:
    """A mean over seeds with its 95 % interval over test sessions; mark: BEST, TIED or empty."""

    mean: float
    low: float
    high: float
    mark: str


@dataclass(frozen=True)
class Row:
    """A model of an experiment. blend: it is made of others. commits: of its cells."""

    model: str
    blend: bool
    seeds: int
    figures: Mapping[str, Figure]
    commits: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """One folder of results/. title: in the contents. most: seeds of the experiment. protocol: as its page says."""

    name: str
    title: str
    dataset: str
    generated: bool
    targets: int
    sessions: int
    most: int
    protocol: str
    rows: tuple[Row, ...]


def titles() -> dict[str, str]:
    """Folder to title of the experiments, in the order of the contents."""
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    results = next(part["Results"] for part in yaml.safe_load(nav) if "Results" in part)
    named = next(part["Experiments"] for part in results if "Experiments" in part)
    return {uri.split("/")[1]: title for one in named for title, uri in one.items()}


def read(folder: Path, title: str) -> Experiment:
    """What the files of an experiment say; ValueError where they contradict each other."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    table = _ranking(text)
    means = _rows(folder / "report.csv")
    overall = [row for row in means if row["dimension"] == "all" and row["metric"] in METRICS]
    commits = _commits(folder)
    rows = []
    for cells in table:
        model = max((row["model"] for row in overall if _is_of(cells["model"], row["model"])), key=len)
        own = {row["metric"]: row for row in overall if row["model"] == model}
        figures = {metric: _figure(own[metric], cells[shown], model) for metric, shown in METRICS.items()}
        blend = cells["model"].removeprefix(model).startswith(" (Blend")
        rows.append(Row(model, blend, int(cells["seeds"]), figures, commits[model]))
    for metric, shown in METRICS.items():
        _check_marks(folder, text, shown, [row.figures[metric].mark for row in rows])
    if {row.model for row in rows} != {row["model"] for row in overall}:
        raise ValueError(f"{folder}: report.md and report.csv have other models")
    some = overall[0]
    config = ROOT / "configs" / "dataset" / f"{some['dataset']}.yaml"
    return Experiment(
        folder.name,
        title,
        some["dataset"],
        bool((yaml.safe_load(config.read_text(encoding="utf-8")) or {}).get("generate")),
        int(some["targets"]),
        int(some["sessions"]),
        max(row.seeds for row in rows),
        _protocol(text),
        tuple(rows),
    )


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _ranking(text: str) -> list[dict[str, str]]:
    """The page's table of all models, a mapping of heading to cell each."""
    lines = text.partition("\n### Ranking\n")[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| # |"))
    heads = _cells(lines[start])
    found = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        found.append(dict(zip(heads, _cells(line))))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def _is_of(cell: str, model: str) -> bool:
    """Whether the page's cell names a model of report.csv: a label, and in brackets what it is."""
    return cell == model or cell.startswith(f"{model} (")


def _figure(row: Mapping[str, str], cell: str, model: str) -> Figure:
    mean = float(row["mean"])
    found = re.match(r"(\*\*)?(−?[\d.]+)(?:\*\*)?( ≈)?", cell)
    if found is None or found[2] != formats.score(mean):
        raise ValueError(f"{model}: {cell} in report.md is {formats.score(mean)} in report.csv")
    return Figure(mean, float(row["low"]), float(row["high"]), BEST if found[1] else TIED if found[3] else "")


def _check_marks(folder: Path, text: str, metric: str, marks: Sequence[str]) -> None:
    """ValueError where a mark is not what the test against the best model says; MRR@20 has neither."""
    table = text.partition(f"\nDifferences in {metric}, pair by pair\n")[2].strip().splitlines()
    if not table:
        if TIED in marks:
            raise ValueError(f"{folder}: {metric} has marks and no tests")
        return
    best = marks.index(BEST)
    tests = _cells(table[2 + best])[1:]
    for number, (mark, test) in enumerate(zip(marks, tests, strict=True)):
        differs = (mark == TIED) != test.endswith("n.s.") or test.endswith("?")
        if number != best and differs:
            raise ValueError(
                f"{folder}: {metric} of model {number + 1} is marked {mark!r} and tested {test!r}"
            )


def _commits(folder: Path) -> dict[str, tuple[str, ...]]:
    """The commits by which a model's finished cells were measured, each once, in the order of its seeds."""
    last = {
        (row["dataset"], row["label"], row["seed"], row["settings"]): _short(row["commit"])
        for row in _rows(folder / "test_readings.csv")
    }
    found: dict[str, dict[str, None]] = {}
    for row in _rows(folder / "cells.csv"):
        if row["status"] == "finished":
            commit = last[(row["dataset"], row["label"], row["seed"], row["settings"])]
            found.setdefault(row["label"], {})[commit] = None
    return {label: tuple(commits) for label, commits in found.items()}


def _short(commit: str) -> str:
    """Seven digits, and git's word for changes that were not committed."""
    digits, dash, word = commit.partition("-")
    return f"{digits[:7]}{dash}{word}"


def _protocol(text: str) -> str:
    """How test targets were split off and ranked, as the page has it."""
    line = next(line for line in text.splitlines() if line.startswith("- one ranking per "))
    return line.removeprefix("- ")


# --- the page -----------------------------------------------------------------------------------------------


def page(experiments: Sequence[Experiment], published: Iterable[Mapping[str, str]]) -> str:
    """The page's Markdown."""
    published = list(published)
    parts = [_head(experiments), _overview(experiments)]
    parts += [
        _section(one, [row for row in published if row["experiment"] == one.name]) for one in experiments
    ]
    return "\n\n".join([*parts, ELSEWHERE]) + "\n"


def _head(experiments: Sequence[Experiment]) -> str:
    real = sum(not one.generated for one in experiments)
    cells = sum(row.seeds for one in experiments for row in one.rows)
    return f"""# Leaderboard

Which model ranks best on which log: {len(experiments)} experiments, {real} of them on real logs, {cells} trained and
tested cells. [`leaderboard.py`](../docs/site/leaderboard.py) makes this page of the files in `results/`; what follows
from it is told [there](README.md).

## How to read this

- A figure is the mean over seeds; brackets are its 95 % interval over test sessions.
- **Bold** is the highest mean of a column. **≈** cannot be told from it: the paired test on that experiment's page has
  Holm p ≥ .05. What has no mark is lower, with p < .05. MRR@20 is not tested pair by pair, so nothing there has a ≈.
- Two intervals may overlap and the difference be sure all the same, as models are tested on the same targets.
- Compare within a log. Logs differ in how many items there are, how often people come back, and how they are split.
- Every figure leads to its experiment's page: command, settings of each model, what else was tried. A commit is the
  code that trained and tested the model; `-dirty`: with changes that were not committed.
- Models of a log that are searched had the same number of trials, on validation; then the test part was read.
- A blend ranks by two models together. Other names of several words are variants: `no pointer` is HRNNFeat without it.
- A generated log is made up: it shows how a model works, not what a shop's visitors do.
- Published figures stand below a log's table, with what differs in their protocol. No test stands behind a comparison
  with them."""


def _overview(experiments: Sequence[Experiment]) -> str:
    shares: dict[str, list[float]] = {}  # of the log's best mean
    for one in experiments:
        best = max(row.figures["ndcg@10"].mean for row in one.rows)
        for row in one.rows:
            shares.setdefault(row.model, []).append(row.figures["ndcg@10"].mean / best)
    models = [model for model, found in shares.items() if len(found) >= SEVERAL]
    models.sort(key=lambda model: (-statistics.mean(shares[model]), model))
    lines = [
        "## All logs",
        "",
        f"NDCG@10 of the models that are in {SEVERAL} experiments or more, by their mean share of a log's best figure.",
        "",
        f"| model | {' | '.join(_link(one.title, f'#{_anchor(one)}') for one in experiments)} |",
        f"|---|{'---|' * len(experiments)}",
    ]
    for model in models:
        found = [next((row for row in one.rows if row.model == model), None) for one in experiments]
        shown = [
            formats.NONE if row is None else _shown(row.figures["ndcg@10"], one.name)
            for one, row in zip(experiments, found)
        ]
        lines.append(f"| {model} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _section(one: Experiment, published: Sequence[Mapping[str, str]]) -> str:
    places = ("command", "settings", "pairwise tests", "what was tried")
    links = ", ".join(_link(place, f"{one.name}/report.md#{place.replace(' ', '-')}") for place in places)
    chosen = _link("chosen on validation", f"{one.name}/chosen.yaml")
    lines = [
        f"## {one.title}",
        "",
        *(["**A generated log.**", ""] if one.generated else []),
        f"`{one.dataset}`: {one.targets:,} test targets of {one.sessions:,} sessions; {one.protocol}.",
        "",
        f"{one.most} seeds. {_link('Page', f'{one.name}/report.md')}: {links}; {chosen}.",
        "",
        f"| model | {' | '.join(METRICS.values())} | commit |",
        f"|---|{'---|' * len(METRICS)}---|",
    ]
    for row in one.rows:
        notes = ["blend"] * row.blend + [f"{row.seeds} of {one.most} seeds"] * (row.seeds < one.most)
        few = f" ({', '.join(notes)})" if notes else ""
        shown = [_shown(row.figures[metric], one.name, interval=True) for metric in METRICS]
        lines.append(f"| {row.model}{few} | {' | '.join(shown)} | {', '.join(row.commits)} |")
    if published:
        lines += ["", *_published(one, published)]
    return "\n".join(lines)


def _published(one: Experiment, published: Sequence[Mapping[str, str]]) -> list[str]:
    metrics = [metric for metric in METRICS if any(row[metric] for row in published)]
    lines = [
        f"**Published beside it.** {PROTOCOLS[one.name]}",
        "",
        f"| published | {' | '.join(METRICS[metric] for metric in metrics)} | differs |",
        f"|---|{'---|' * len(metrics)}---|",
    ]
    for row in published:
        shown = [row[metric] or formats.NONE for metric in metrics]
        lines.append(f"| {row['model']} | {' | '.join(shown)} | {row['differs']} |")
    return lines


def _shown(figure: Figure, name: str, interval: bool = False) -> str:
    text = formats.score(figure.mean)
    text = f"**{text}**" if figure.mark == BEST else f"{text} ≈" if figure.mark == TIED else text
    found = {"low": figure.low, "high": figure.high}
    return _link(text, f"{name}/report.md#ranking") + (f" ({formats.interval(found)})" if interval else "")


def _link(words: str, target: str) -> str:
    return f"[{words}]({target})"


def _anchor(one: Experiment) -> str:
    """Of the experiment's heading, as code hosts and the site make it."""
    return re.sub(r"[^\w\- ]", "", one.title.lower()).replace(" ", "-")


def made(results: Path = ROOT / "results") -> str:
    """The page as the files in `results` have it now."""
    experiments = [read(results / name, title) for name, title in titles().items()]
    return page(experiments, _rows(results / "published.csv"))


if __name__ == "__main__":
    (ROOT / "results" / PAGE).write_text(made(), encoding="utf-8")
