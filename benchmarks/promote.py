"""How often `recbole-ext promote` is wrong, counted on simulated pairs of models. Writes results/promote.md.

    python benchmarks/promote.py

A pair: 1,000 sessions of 1 target or more (geometric, mean 3.8, as in the Diginetica lists), each with a chance of its
own that a target is among the 10 best (beta, mean .42). The new model has the old one's ranks, but for a share of
targets, which are drawn anew from the same chances. A truth of -2 % then turns 2 % of its hits into misses, one of +2 %
as many misses into hits, so the true difference of NDCG@10 is known exactly.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(ROOT)]

from report import write_section  # noqa: E402
from side_by_side import conditions, table  # noqa: E402

from recbole_ext.evaluate.intervals import FLIPS  # noqa: E402
from recbole_ext.evaluate.promotion import ALPHA, MARGIN, PROMOTE, SLICE_MARGIN, decided, verdict  # noqa: E402
from recbole_ext.evaluate.slices import slices  # noqa: E402
from recbole_ext.evaluate.target_metrics import gains  # noqa: E402

MISS = 10**6
REDRAWN = (0.05, 0.1, 0.2, 0.3)
TRUTHS = (-MARGIN, -MARGIN / 2, 0.0, 0.02)


def pair(
    rng: np.random.Generator, sessions: int, truth: float, redrawn: float, fallen: float = 0.0
) -> dict[str, np.ndarray]:
    """Gains `new` and `old` (T,), `session` (T,), and the facts that slices go by.

    truth: true relative difference of all targets. redrawn: share of targets whose rank is drawn anew. fallen: targets
    of returning visitors lose that share more, and those of new ones win it, so that all targets together do not.
    """
    length = rng.geometric(1 / 3.8, sessions)
    chance = np.minimum(rng.beta(4, 5.5, sessions), 0.9).repeat(length)
    session = np.arange(sessions).repeat(length)
    returning = (rng.random(sessions) < 0.5).repeat(length)
    old, again = (_ranks(rng, chance) for _ in range(2))
    new = np.where(rng.random(len(old)) < redrawn, again, old)
    share = truth + np.where(returning, -fallen, fallen)
    draw = rng.random(len(old))
    lost = (new != MISS) & (draw < -share)
    won = (new == MISS) & (draw < share * chance / (1 - chance))
    new = np.where(lost, MISS, np.where(won, _ranks(rng, np.ones(len(old))), new))
    return {
        "new": gains(new, "ndcg", 10),
        "old": gains(old, "ndcg", 10),
        "session": session,
        "position": 1 + np.concatenate([np.arange(n) for n in length]),
        "earlier_sessions": returning.astype(np.int32),
    }


def _ranks(rng: np.random.Generator, chance: np.ndarray) -> np.ndarray:
    hit = rng.random(len(chance)) < chance
    return np.where(hit, rng.choice(np.arange(1, 11), len(chance), p=_SHARES), MISS)


_SHARES = 1 / np.arange(1, 11) / (1 / np.arange(1, 11)).sum()


def verdict_on(
    found: dict[str, np.ndarray], guarded: Sequence[tuple[str, str]] = (), draws: int = FLIPS
) -> str:
    """What `promote` says of a simulated pair, at its default margins."""
    masks = {
        (dimension, name): mask
        for dimension, own in slices(found).items()
        for name, mask in own.items()
        if mask.any()
    }
    rows = decided(
        found["new"], found["old"], found["session"], masks, set(guarded), MARGIN, SLICE_MARGIN, draws
    )
    return verdict(rows)


def flipped(found: dict[str, np.ndarray], rng: np.random.Generator, draws: int) -> bool:
    """Whether signs by chance would have promoted, for comparison: the same differences less the margin."""
    kept = np.bincount(found["session"], found["new"] - (1 - MARGIN) * found["old"])
    signs = rng.integers(0, 2, (draws, len(kept))) * 2 - 1
    return bool((1 + (signs @ kept >= kept.sum()).sum()) / (1 + draws) < ALPHA)


def counted(
    truth: float, redrawn: float, options: Any, fallen: float = 0.0, guard: bool = False
) -> dict[str, float]:
    """Shares of simulated pairs that are promoted, and how alike the two models are."""
    rng = np.random.default_rng([options.seed, int(1e4 * (1 + truth)), int(1e4 * redrawn), int(1e4 * fallen)])
    guarded = [("visitor", "new"), ("visitor", "returning")] if guard else []
    promoted, signs, alike = 0, 0, []
    pairs = options.pairs * (4 if truth == -MARGIN else 1)
    for _ in range(pairs):
        found = pair(rng, options.sessions, truth, redrawn, fallen)
        promoted += verdict_on(found, guarded, options.draws) == PROMOTE
        signs += truth == -MARGIN and flipped(found, rng, options.draws)
        alike.append(np.corrcoef(found["new"], found["old"])[0, 1])
    return {
        "promoted": promoted / pairs,
        "signs": signs / pairs,
        "alike": float(np.mean(alike)),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument(
        "--pairs", type=int, default=150, help="simulated pairs a cell, 4 times as many at -2 %%"
    )
    parser.add_argument("--draws", type=int, default=399, help="of each bootstrap")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "promote.md")
    options = parser.parse_args(argv)
    where = conditions(1, ("numpy",))
    rows = []
    for redrawn in REDRAWN:
        cells = [counted(truth, redrawn, options) for truth in TRUTHS]
        alike = f"{cells[2]['alike']:.2f}"
        shares = [f"{100 * cell['promoted']:.1f} %" for cell in cells]
        rows.append((f"{100 * redrawn:.0f} %", alike, *shares, f"{100 * cells[0]['signs']:.1f} %"))
        print(rows[-1], flush=True)
    head = (
        "targets drawn anew",
        "correlation of gains",
        *(f"truth {100 * t:+.0f} %" for t in TRUTHS),
        "signs at -2 %",
    )
    fallen = []
    for guard in (False, True):
        cells = [counted(0.02, 0.1, options, share, guard) for share in (0.0, 0.07, 0.14)]
        shares = [f"{100 * cell['promoted']:.1f} %" for cell in cells]
        fallen.append(("named with --slice" if guard else "not named", *shares))
        print(fallen[-1], flush=True)
    second = ("the slice is", "+2 % everywhere", "returning -5 %, new +9 %", "returning -12 %, new +16 %")
    command = f"`python benchmarks/promote.py --pairs {options.pairs}`"
    body = (
        f"{command}; {options.sessions:,} sessions a pair, margin {MARGIN:g}, every slice of visitor, user and "
        f"position looked at, {options.draws} draws, seed {options.seed}; {4 * options.pairs} pairs at -2 %, "
        f"{options.pairs} elsewhere; {where}\n\n{table(head, rows)}\n\n"
        f"A slice that falls (10 % of targets drawn anew, slice margin {SLICE_MARGIN:g}), promoted:\n\n"
        f"{table(second, fallen)}\n"
    )
    if not options.out.is_file():
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text("# Promotion\n", encoding="utf-8")
    write_section(options.out, "Share of simulated candidates that are promoted", body)


if __name__ == "__main__":
    main()
