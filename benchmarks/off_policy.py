"""How near off-policy estimates come to a value that is known. Writes results/off_policy.md.

    python benchmarks/off_policy.py

In the generated Retail Rocket log the kind of an event hangs on what no model sees (whether a view is its session's
last; carts are drawn over the whole log), so its true value of a policy cannot be worked out. So sessions are simulated
here on that generator's world (its items, popularity, successors, prices and shares of moves), as a chain whose next
item depends on the last one only; what a target pays depends on its item and on whether it succeeds the last item,
which the reward guess of DR does not know. Every policy's value then is a sum over pairs of items.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from side_by_side import ROOT, conditions, table

from recbole_ext.convert.synthetic import retailrocket
from recbole_ext.convert.synthetic.world import (
    P_CATEGORY,
    P_NOISE,
    P_REPEAT,
    P_SUCCESSOR,
    P_SWITCH,
    STYLES,
    make_world,
)
from recbole_ext.evaluate.off_policy import Behaviour, Settings, estimate, shrunken_rewards
from recbole_ext.run.off_policy import action_chances

VIEW, CART = 0.2, 1.0  # rewards
GO_ON = 0.75  # after each target the session goes on with this chance
LONGEST = 20  # events of a session
PARTS = {"train": 0.7, "valid": 0.1, "test": 0.2}


@dataclass(frozen=True)
class Shop:
    """n items, all arrays without the padding: first (n,), beta (n, n), reward (n, n) expected, state (n,) shares."""

    first: np.ndarray
    beta: np.ndarray
    cart: np.ndarray  # (n, n) chance that the target a after s goes into the cart
    state: np.ndarray  # share of the targets whose last item is s

    @property
    def reward(self) -> np.ndarray:
        """(n, n) E[r | s, a]."""
        return VIEW + (CART - VIEW) * self.cart

    def value(self, policy: np.ndarray) -> float:
        """The true one-step value of a policy (n, n)."""
        return float(self.state @ (policy * self.reward).sum(axis=1))


def make_shop(scale: float, seed: int) -> Shop:
    """The smallest world of the generator at `scale`, its moves averaged over styles."""
    rng = np.random.default_rng(seed)
    world = make_world(rng, retailrocket.SHAPE, scale, 0)
    n = len(world.item_id)
    category = world.shelf // STYLES
    same = category[:, None] == category
    near = same * world.weight
    follow = np.zeros((n, n))
    for style in range(STYLES):
        follow[np.arange(n), world.successor[:, style]] += 1 / STYLES
    beta = (
        P_SUCCESSOR * follow
        + P_CATEGORY * near / near.sum(axis=1, keepdims=True)
        + P_REPEAT * np.eye(n)
        + (P_SWITCH + P_NOISE) * world.weight
    )
    dear = (world.price_log2 - world.price_log2.mean()) / world.price_log2.std()
    cart = np.tile(0.25 / (1 + np.exp(1.5 * dear + rng.normal(0, 0.7, n))), (n, 1))
    cart = np.clip(np.where(follow > 0, 2 * cart, cart), 0, 1)  # what fits the last item sells better
    state, at = np.zeros(n), world.weight.copy()
    for step in range(LONGEST - 1):
        state += GO_ON**step * at
        at = at @ beta
    return Shop(world.weight, beta, cart, state / state.sum())


def draw(shop: Shop, rng: np.random.Generator, sessions: int) -> tuple[np.ndarray, ...]:
    """Targets of some sessions of two events or more: (T,) last and item (ids from 1), reward, session."""
    length = np.minimum(1 + rng.geometric(1 - GO_ON, sessions), LONGEST)
    running = np.cumsum(shop.beta, axis=1)
    running /= running[:, -1:]
    items = np.empty((sessions, LONGEST), dtype=np.int64)
    start = np.cumsum(shop.first) / shop.first.sum()
    items[:, 0] = np.searchsorted(start, rng.random(sessions), side="right")
    for step in range(1, LONGEST):
        alive = np.flatnonzero(length > step)
        luck = rng.random(len(alive))[:, None]
        items[alive, step] = (running[items[alive, step - 1]] <= luck).sum(axis=1)
    real = np.arange(1, LONGEST) < length[:, None]
    last, item = items[:, :-1][real], items[:, 1:][real]
    reward = np.where(rng.random(len(item)) < shop.cart[last, item], CART, VIEW)
    return last + 1, item + 1, reward, np.nonzero(real)[0]


def model_scores(shop: Shop, seed: int) -> torch.Tensor:
    """(n + 1, n + 1) float32 scores after each item, of a model.

    It knows where sessions go and what pays, with noise.
    """
    rng = np.random.default_rng([seed, 1])
    n = len(shop.first)
    known = np.log(0.5 * shop.beta + 0.3 * shop.first + 0.2 / n) + 4 * shop.reward
    scores = np.full((n + 1, n + 1), -np.inf)
    scores[1:, 1:] = known + rng.normal(0, 0.5, (n, n))
    scores[0, 1:] = np.log(shop.first)
    return torch.tensor(scores, dtype=torch.float32)


def policy_table(scores: torch.Tensor, settings: Settings) -> np.ndarray:
    """(n, n) chances of every item after every item, asked of the code that a run uses."""
    n = len(scores) - 1
    rows = torch.arange(1, n + 1)
    none = torch.zeros(n + 1)
    columns = [
        action_chances(scores[1:].clone(), torch.full_like(rows, item), none, settings)[0]
        for item in rows.tolist()
    ]
    return torch.stack(columns, dim=1).double().numpy()


@dataclass
class Line:
    """What the repeated logs said of one estimator."""

    values: list[float]
    held: list[bool]
    effective: list[float]
    clipped: list[float]


def study(
    shop: Shop, policy: np.ndarray, settings: Settings, clips: Sequence[float], sessions: int, logs: int
) -> dict[tuple[str, float, str], Line]:
    """Estimates from `logs` logs, by (behaviour policy, clip, estimator)."""
    truth = shop.value(policy)
    n = len(shop.first)
    lines: dict[tuple[str, float, str], Line] = {}
    for number in range(logs):
        rng = np.random.default_rng([settings.seed, sessions, number])
        train, valid, test = (draw(shop, rng, round(share * sessions)) for share in PARTS.values())
        behaviour = Behaviour(train[0], train[1], n + 1).fit(valid[0], valid[1])
        guess = shrunken_rewards(train[1], train[2], n + 1)
        last, item, reward, session = test
        rows = last - 1, item - 1
        expected = policy[rows[0]] @ guess[1:]
        for name, beta in (("estimated", behaviour.chances(last, item)), ("true", shop.beta[rows])):
            for clip in clips:
                found = estimate(
                    policy[rows],
                    beta,
                    reward,
                    expected,
                    guess[item],
                    session,
                    settings.model_copy(update={"clip": clip, "seed": number}),
                )
                for label, value in (
                    ("the log", found.log),
                    ("SNIPS", found.snips),
                    ("DR", found.dr),
                    ("SNDR", found.sndr),
                ):
                    line = lines.setdefault((name, clip, label), Line([], [], [], []))
                    assert value.value is not None and value.low is not None and value.high is not None
                    line.values.append(value.value)
                    line.held.append(value.low <= truth <= value.high)
                    line.effective.append(found.effective / found.targets)
                    line.clipped.append(found.clipped)
    return lines


def report(
    shop: Shop,
    policies: dict[str, tuple[np.ndarray, Settings]],
    clips: Sequence[float],
    sessions: Sequence[int],
    logs: int,
    say: Callable[[str], None] = print,
) -> str:
    """The tables, one a policy."""
    head = ("sessions", "beta", "clip", "estimator", "bias", "RMSE", "coverage", "effective", "clipped")
    parts = []
    for name, (policy, settings) in policies.items():
        truth = shop.value(policy)
        rows = []
        for size in sessions:
            began = time.perf_counter()
            for (beta, clip, label), line in study(shop, policy, settings, clips, size, logs).items():
                if label == "the log" and (beta, clip) != ("estimated", clips[0]):
                    continue
                error = np.array(line.values) - truth
                log = label == "the log"
                rows.append(
                    (
                        f"{size:,}",
                        "" if log else beta,
                        "" if log else f"{clip:g}",
                        label,
                        f"{error.mean():+.4f}",
                        f"{np.sqrt((error**2).mean()):.4f}",
                        f"{100 * np.mean(line.held):.1f} %",
                        "" if log else f"{100 * np.mean(line.effective):.0f} %",
                        "" if log else f"{100 * np.mean(line.clipped):.1f} %",
                    )
                )
            say(f"{name}, {size:,} sessions: {time.perf_counter() - began:.0f} s")
        parts.append(f"### {name}: true value {truth:.4f}\n\n{table(head, rows)}\n")
    return "\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "off_policy.md")
    parser.add_argument("--logs", type=int, default=400, help="repeated logs a line (default 400)")
    parser.add_argument("--sessions", type=int, nargs="+", default=[3_000, 30_000], help="sessions of a log")
    parser.add_argument("--clips", type=float, nargs="+", default=[10, 100])
    parser.add_argument("--bootstrap", type=int, default=500)
    parser.add_argument("--scale", type=float, default=0.0005, help="of the generated world")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    where = conditions(1, ("numpy", "scipy", "torch"))
    shop = make_shop(options.scale, options.seed)
    scores = model_scores(shop, options.seed)
    common = Settings(bootstrap=options.bootstrap, seed=options.seed)
    softmax = common.model_copy(update={"policy": "softmax", "temperature": 0.5})
    greedy = common.model_copy(update={"policy": "greedy"})
    policies = {
        "Softmax at temperature .5": (policy_table(scores, softmax), softmax),
        "Greedy, epsilon .1": (policy_table(scores, greedy), greedy),
    }
    found = report(shop, policies, options.clips, options.sessions, options.logs)
    words = " ".join(["python benchmarks/off_policy.py", *(sys.argv[1:] if argv is None else argv)])
    log = float(shop.state @ (shop.beta * shop.reward).sum(axis=1))
    cover = (
        f"how often the 95 % interval ({options.bootstrap} resamples of the test part's sessions) holds it"
    )
    lines = [
        "# Off-policy estimates against a known truth",
        "",
        f"`{words}`; {where}",
        "",
        f"{options.logs} logs a line, {len(shop.first)} items, a view pays {VIEW:g}, a cart {CART:g}; "
        f"the log's own value is {log:.4f}.",
        f"bias, RMSE: of the estimate, against the policy's true value. coverage: {cover}.",
        "the log: its own mean reward taken for the policy's value. sessions: of a log, of which "
        f"{', '.join(f'{100 * share:.0f} % {part}' for part, share in PARTS.items())}.",
        "beta: the log's policy, estimated from training and validation parts, or the true one.",
        "effective: effective sample size, as a share of the targets. clipped: share of the weights.",
        "",
        found,
    ]
    text = "\n".join(lines)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
