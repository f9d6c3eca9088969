"""Off-policy estimates: numbers worked out on paper, identities, a simulation with known truth, and whole runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError
from recbole_ext.evaluate.off_policy import Behaviour, Settings, estimate, shrunken_rewards
from recbole_ext.run.off_policy import action_chances
from recbole_ext.scores.factored import FactoredScores
from recbole_ext.scores.sparse import SparseScores

INF = float("inf")
UNCLIPPED = Settings(clip=1e9, bootstrap=100)


# --- the policy of the log ------------------------------------------------------------------------------------


def test_behaviour_on_paper():
    """Items 1 to 3; training: 1 -> 2, 1 -> 3, 2 -> 3, and a first event 1. Terms of weight .5, .3, .2."""
    beta = Behaviour(np.array([1, 1, 2, 0]), np.array([2, 3, 3, 1]), 4)
    beta.weights = np.array([0.5, 0.3, 0.2])
    popular, floor = np.array([0.25, 0.25, 0.5]), 0.2 / 3
    after = {
        0: popular,  # nothing before: popularity for transitions
        1: np.array([0, 0.5, 0.5]),
        2: np.array([0, 0, 1.0]),
        3: popular,  # never left in training
    }
    table = beta.table(np.arange(4))
    for last, moved in after.items():
        assert table[last] == pytest.approx([0, *(0.5 * moved + 0.3 * popular + floor)])
    assert table.sum(axis=1) == pytest.approx(1)
    assert beta.chances(np.array([1, 3]), np.array([2, 1])) == pytest.approx([table[1, 2], table[3, 1]])


def test_weights_of_the_terms_on_paper():
    """A step of EM from thirds, by hand: one target, terms (1/2, 1/4, 1/3), and one target more."""
    beta = Behaviour(np.array([1, 1, 2, 0]), np.array([2, 3, 3, 1]), 4)
    shares = np.array([1 / 2, 1 / 4, 1 / 3])
    shares /= shares.sum()
    expected = (shares + np.eye(3)[2]) / 2
    from recbole_ext.evaluate import off_policy

    rounds, off_policy.EM_ROUNDS = off_policy.EM_ROUNDS, 1
    try:
        assert beta.fit(np.array([1]), np.array([2])).weights == pytest.approx(expected)
    finally:
        off_policy.EM_ROUNDS = rounds


def test_weights_find_the_mixture_that_drew_the_targets():
    rng = np.random.default_rng(0)
    follow = rng.permutation(20) + 1
    popularity = np.arange(1, 21) / 210

    def draw(n):
        last, term = rng.integers(1, 21, n), rng.choice(3, n, p=[0.6, 0.3, 0.1])
        drawn = np.stack((follow[last - 1], rng.choice(20, n, p=popularity) + 1, rng.integers(1, 21, n)))
        return last, drawn[term, np.arange(n)]

    beta = Behaviour(*draw(200_000), 21).fit(*draw(20_000))
    assert beta.weights.sum() == pytest.approx(1)
    last = np.arange(1, 21)
    truth = np.zeros((20, 21))
    truth[:, 1:] = 0.3 * popularity + 0.1 / 20
    truth[last - 1, follow] += 0.6
    assert beta.table(last) == pytest.approx(truth, abs=0.02)
    held_out = draw(20_000)
    best = np.log(beta.chances(*held_out)).mean()
    beta.weights = np.array([0.2, 0.3, 0.5])
    assert np.log(beta.chances(*held_out)).mean() < best


def test_no_item_is_impossible():
    """Validation holds nothing but what training saw, yet item 9 keeps a chance."""
    last, item = np.ones(50, dtype=int), np.full(50, 2)
    beta = Behaviour(last, item, 10).fit(last, item)
    assert 0 < beta.chances(np.array([1]), np.array([9]))[0] < 0.01
    assert beta.table(np.array([0, 1, 9])).sum(axis=1) == pytest.approx(1)


# --- the guess of an item's reward ----------------------------------------------------------------------------


def test_shrunken_rewards_on_paper():
    """Item 1: 1, 1, 0, 1; item 2: 0, 0, 0, 1. Means .75 and .25, of all .5.

    Within: (.75 + .75) / 6 = .25. Between: (4 · .0625 + 4 · .0625 - .25) / (8 - 32 / 8) = .0625. k = 4: half way.
    """
    item = np.array([1, 1, 1, 1, 2, 2, 2, 2])
    found = shrunken_rewards(item, np.array([1.0, 1, 0, 1, 0, 0, 0, 1]), 4)
    assert found == pytest.approx([0.5, 0.625, 0.375, 0.5])  # 0 and 3: never seen


@pytest.mark.parametrize(
    ("item", "reward", "expected"),
    [
        ([1, 1, 2, 2], [0.0, 1, 0, 1], 0.5),  # items do not differ
        ([1, 2, 3], [0.0, 0, 3], 1.0),  # one target each
        ([1, 1], [0.0, 1], 0.5),  # one item
    ],
)
def test_items_that_tell_nothing_have_the_mean_of_all(item, reward, expected):
    assert shrunken_rewards(np.array(item), np.array(reward), 4) == pytest.approx(np.full(4, expected))


def test_items_without_noise_keep_their_mean():
    found = shrunken_rewards(np.array([1, 1, 2, 2]), np.array([0.2, 0.2, 1, 1]), 3)
    assert found == pytest.approx([0.6, 0.2, 1.0])


# --- the policy of the model ----------------------------------------------------------------------------------

REWARDS = torch.tensor([9.0, 1.0, 2.0, 4.0])  # 9: the padding's is never earned


def chances(scores, item, **settings):
    found = action_chances(
        torch.tensor([scores], dtype=torch.float32), torch.tensor([item]), REWARDS, Settings(**settings)
    )
    return [value.item() for value in found]


def test_softmax_on_paper():
    """Odds 1 : 2 : 4 at temperature 1, 1 : 4 : 16 at .5; item 3 out: 1 : 2."""
    scores = [-INF, 0.0, np.log(2), np.log(4)]
    assert chances(scores, 2) == pytest.approx([2 / 7, (1 + 4 + 16) / 7])
    assert chances(scores, 3, temperature=0.5) == pytest.approx([16 / 21, (1 + 8 + 64) / 21])
    assert chances([-INF, 0.0, np.log(2), -INF], 3) == pytest.approx([0, 5 / 3])
    assert chances([-INF, 0.0, np.log(2), float("nan")], 2) == pytest.approx([2 / 3, 5 / 3])


def test_greedy_on_paper():
    """.7 for the best, .3 over the three candidates: .8, .1, .1; a tie halves the .7."""
    greedy = {"policy": "greedy", "epsilon": 0.3}
    assert chances([-INF, 5.0, 1.0, 2.0], 1, **greedy) == pytest.approx([0.8, 0.8 + 0.2 + 0.4])
    assert chances([-INF, 5.0, 1.0, 2.0], 2, **greedy) == pytest.approx([0.1, 1.4])
    assert chances([-INF, 5.0, 5.0, 2.0], 2, **greedy) == pytest.approx([0.45, 0.45 * 3 + 0.4])
    assert chances([-INF, 5.0, -INF, 2.0], 2, **greedy) == pytest.approx([0, 0.85 + 0.15 * 4])


@pytest.mark.parametrize("policy", ["softmax", "greedy"])
def test_a_row_without_candidates_recommends_nothing(policy):
    assert chances([-INF] * 4, 2, policy=policy) == [0, 0]


def test_products_have_the_chances_of_their_matrix(monkeypatch):
    """In chunks of 16 rows, with items that are not ranked; the matrix stays as it was."""
    from recbole_ext.run import off_policy
    from recbole_ext.scores import ranks

    monkeypatch.setattr(ranks, "CHUNK_SCORES", 16)
    random = torch.Generator().manual_seed(3)
    states, vectors = torch.randn(50, 4, generator=random), torch.randn(30, 4, generator=random)
    rankable = torch.rand(30, generator=random) < 0.8
    items = torch.randint(1, 30, (50,), generator=random)
    rewards = torch.rand(30, generator=random)
    product = FactoredScores(states, vectors, rankable)
    dense = product.dense()
    before = dense.clone()
    chance = torch.softmax(dense, dim=1)
    found = []
    for scores in (product, dense):
        parts = [
            action_chances(chunk, items[piece], rewards, Settings())
            for piece, chunk in off_policy._pieces(scores)
        ]
        assert len(parts) == 4
        found.append([torch.cat(part) for part in zip(*parts)])
    for own, expected in found:
        assert torch.allclose(own, chance.gather(1, items.unsqueeze(1)).squeeze(1), atol=1e-6)
        assert torch.allclose(expected, chance @ rewards, atol=1e-6)
    assert torch.equal(dense, before)


def test_sparse_scores_have_the_chances_of_their_matrix(monkeypatch):
    import scipy.sparse as sp

    from recbole_ext.run import off_policy
    from recbole_ext.scores import ranks

    monkeypatch.setattr(ranks, "CHUNK_SCORES", 16)
    values = sp.random(40, 8, 0.3, random_state=2)
    known = sp.hstack([sp.csr_matrix((40, 1)), values], format="csr")
    scores = SparseScores(known, np.linspace(-1, -0.1, 9), np.arange(40) % 3 > 0)
    parts = list(off_policy._pieces(scores))
    assert len(parts) == 3
    assert torch.equal(torch.cat([chunk for _, chunk in parts]), scores.dense())
    items, rewards = torch.arange(40) % 8 + 1, torch.rand(9)
    own, expected = action_chances(scores.dense(), items, rewards, Settings())
    chance = torch.softmax(scores.dense(), dim=1).nan_to_num(0)  # a row may have no candidate
    assert torch.allclose(own, chance.gather(1, items.unsqueeze(1)).squeeze(1), atol=1e-6)
    assert torch.allclose(expected, chance @ rewards, atol=1e-6)


# --- estimates ------------------------------------------------------------------------------------------------


def columns(**changes):
    """Four targets of two sessions: w = 2, .5, 4, 0."""
    given = {
        "chance": [0.5, 0.1, 0.4, 0.0],
        "behaviour": [0.25, 0.2, 0.1, 0.5],
        "reward": [1.0, 0.2, 0.2, 1.0],
        "expected": [0.5, 0.4, 0.3, 0.2],
        "guessed": [0.6, 0.4, 0.2, 0.5],
        "session": [7, 7, 8, 8],
        **changes,
    }
    return {name: np.array(values) for name, values in given.items()}


def test_estimates_on_paper():
    """w = 2, .5, 4, 0: sum w = 6.5, sum w² = 20.25, sum w r = 2.9; DR terms .5 + 2 · .4, .4 - .5 · .2, .3 + 0, .2."""
    found = estimate(**columns(), settings=UNCLIPPED)
    assert found.targets == 4 and found.sessions == 2
    assert found.log.value == pytest.approx(0.6)
    assert found.snips.value == pytest.approx(2.9 / 6.5)
    assert found.dr.value == pytest.approx((1.3 + 0.3 + 0.3 + 0.2) / 4)
    assert found.sndr.value == pytest.approx(1.4 / 4 + (0.8 - 0.1) / 6.5)
    assert found.effective == pytest.approx(6.5**2 / 20.25)
    assert found.mean_weight == pytest.approx(6.5 / 4)
    assert found.clipped == 0 and found.max_weight == pytest.approx(4)


def test_clipping_on_paper():
    """w = 1.5, .5, 1.5, 0: half of the weights are cut."""
    found = estimate(**columns(), settings=Settings(clip=1.5, bootstrap=100))
    assert found.snips.value == pytest.approx((1.5 + 0.1 + 0.3) / 3.5)
    assert found.dr.value == pytest.approx((0.5 + 1.5 * 0.4 + 0.3 + 0.3 + 0.2) / 4)
    assert found.effective == pytest.approx(3.5**2 / (2.25 + 0.25 + 2.25))
    assert found.clipped == 0.5 and found.max_weight == pytest.approx(4)


def test_the_log_s_own_policy_has_its_own_value():
    rng = np.random.default_rng(1)
    beta, reward = rng.uniform(0.01, 1, 500), rng.choice([0.2, 1.0], 500)
    session = rng.integers(0, 100, 500)
    found = estimate(beta, beta, reward, np.zeros(500), np.zeros(500), session, UNCLIPPED)
    for part in (found.snips, found.dr, found.sndr):
        assert (part.value, part.low, part.high) == pytest.approx(
            (found.log.value, found.log.low, found.log.high)
        )
    assert found.log.value == pytest.approx(reward.mean())
    assert found.mean_weight == found.max_weight == 1 and found.effective == pytest.approx(500)


def test_a_right_guess_leaves_no_variance():
    """r = r_hat(a): DR is the mean of what the policy is expected to earn, whatever the weights."""
    given = columns(guessed=[1.0, 0.2, 0.2, 1.0])
    found = estimate(**given, settings=UNCLIPPED)
    assert found.dr.value == pytest.approx(given["expected"].mean())


def test_sessions_are_resampled_not_targets():
    """Two sessions, each of one reward: a resample has one of three values; targets alone would have many."""
    given = columns(reward=[1.0, 1.0, 0.0, 0.0])
    found = estimate(**given, settings=UNCLIPPED)
    assert (found.log.low, found.log.high) == (0, 1)
    one = estimate(**{**given, "session": np.zeros(4, dtype=int)}, settings=UNCLIPPED)
    assert one.log.low == one.log.value == one.log.high == 0.5
    assert estimate(**given, settings=UNCLIPPED) == found  # one seed, one interval


def test_intervals_on_paper():
    """Sessions of 1 and 3 targets: resamples are (1, 1), (1, 3) or (3, 3), with log values 1, .25, 0, in 1 : 2 : 1."""
    given = columns(reward=[1.0, 0, 0, 0], session=[1, 2, 2, 2])
    found = estimate(**given, settings=Settings(bootstrap=4000))
    assert (found.log.low, found.log.high) == (0, 1) and found.log.value == 0.25


def test_a_policy_that_never_does_what_the_log_did():
    found = estimate(**columns(chance=[0.0] * 4), settings=UNCLIPPED)
    assert found.snips.value is found.snips.low is found.snips.high is None
    assert found.effective == 0 and found.dr.value == pytest.approx(0.35)
    json.dumps(found.to_record(), allow_nan=False)


def simulate(rng, sessions, steps=4):
    """Three items after three: known beta, pi and mean rewards; returns last, item, reward, session."""
    last = np.repeat(rng.integers(1, 4, sessions)[:, None], steps, axis=1)
    for step in range(steps):
        before = last[:, step - 1] if step else last[:, 0]
        luck = rng.random(sessions)[:, None]
        last[:, step] = 1 + (np.cumsum(BETA[before - 1], axis=1)[:, :2] < luck).sum(1)
    before, item = last[:, :-1].reshape(-1), last[:, 1:].reshape(-1)
    reward = (rng.random(len(item)) < MEANS[before - 1, item - 1]).astype(float)
    return before, item, reward, np.repeat(np.arange(sessions), steps - 1)


BETA = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]])
PI = np.array([[0.2, 0.2, 0.6], [0.6, 0.2, 0.2], [0.1, 0.8, 0.1]])
MEANS = np.array([[0.1, 0.5, 0.8], [0.3, 0.2, 0.6], [0.2, 0.9, 0.1]])


@pytest.mark.slow
def test_estimates_are_right_on_average_and_intervals_hold_the_truth():
    """300 logs of 150 sessions; beta known, and estimated from logs of its own."""
    rng = np.random.default_rng(5)
    before, _, _, _ = simulate(rng, 400_000)
    visits = np.bincount(before - 1, minlength=3) / len(before)
    truth = float(visits @ (PI * MEANS).sum(axis=1))
    logged = float(visits @ (BETA * MEANS).sum(axis=1))
    assert abs(truth - logged) > 0.1  # else the log's own mean would pass
    values, held = [], []
    for _ in range(300):
        last, item, reward, _ = simulate(rng, 1000)
        beta = Behaviour(last, item, 4).fit(*simulate(rng, 1000)[:2])
        guess = shrunken_rewards(item, reward, 4)
        last, item, reward, session = simulate(rng, 150)
        rows = last - 1, item - 1
        for chance in (BETA[rows], beta.chances(last, item)):
            found = estimate(
                PI[rows], chance, reward, PI[last - 1] @ guess[1:], guess[item], session, UNCLIPPED
            )
            for part in (found.snips, found.dr, found.sndr):
                values.append(part.value)
                held.append(part.low <= truth <= part.high)
    values, held = np.reshape(values, (300, 6)), np.reshape(held, (300, 6))
    error = values.std(axis=0) / np.sqrt(300)
    assert (np.abs(values.mean(axis=0) - truth)[:3] < 3 * error[:3]).all()  # beta known: unbiased
    assert (np.abs(values.mean(axis=0) - truth)[3:] < 0.02).all()  # beta estimated: its mixture flattens it
    assert (held.mean(axis=0) > 0.90).all() and (held.mean(axis=0) < 0.99).all()


# --- through a run --------------------------------------------------------------------------------------------


@pytest.fixture
def toy(tmp_path, monkeypatch, write_log, random_log):
    monkeypatch.chdir(tmp_path)
    rows = random_log(sessions=80, ties=False)
    write_log(rows)
    return {
        "data_path": "data",
        "epochs": 1,
        "use_gpu": False,
        "rewards": {"view": 0.2, "purchase": 1.0},
        "off_policy": {"bootstrap": 100},
        "eval_args": {"split": {"session_time": [6, 2, 2]}},
    }, rows


@pytest.mark.parametrize("model", ["GRU4Rec", "HRNNFeat", "NARM", "Pop"])
def test_a_run_records_estimates(toy, model):
    import recbole_ext
    from recbole_ext.report.text import result_table

    settings, _ = toy
    sizes = {"embedding_size": 8, "hidden_size": 8} if model in ("GRU4Rec", "HRNNFeat", "NARM") else {}
    record = recbole_ext.run(model, "toy", **sizes, **settings)
    found = record["off_policy"]
    assert json.loads(Path(record["files"]["record"]).read_text())["off_policy"] == found
    assert found["settings"] == {
        "policy": "softmax",
        "temperature": 1.0,
        "clip": 10.0,
        "epsilon": 0.1,
        "bootstrap": 100,
        "seed": 1,
    }
    kept = np.load(record["files"]["ranks"])
    earned = np.where(kept["event"] == "purchase", 1.0, 0.2)
    assert found["targets"] == len(earned) == record["counts"]["test_targets"]
    assert found["sessions"] == len(np.unique(kept["session_id"]))
    assert found["log"]["value"] == pytest.approx(earned.mean())
    assert sum(found["behaviour"].values()) == pytest.approx(1)
    for key in ("log", "snips", "dr", "sndr"):
        assert 0.2 <= found[key]["low"] <= found[key]["value"] <= found[key]["high"] <= 1.5
    lines = result_table(record).splitlines()
    place = lines.index("  off-policy reward a target (softmax, temperature 1)")
    assert lines[place + 2].split()[:2] == ["SNIPS", f"{found['snips']['value']:.4f}"]
    assert lines[place + 5].startswith(f"  {len(earned):,} targets weigh like ")


@pytest.mark.parametrize("empty_history", [False, True])
@pytest.mark.parametrize("split", [{"session_time": [6, 2, 2]}, {"LS": "valid_and_test"}])
def test_a_run_s_estimates_are_those_of_a_plain_loop(toy, monkeypatch, split, empty_history):
    """Counts, last items, sessions and chances, read from the log by hand, for a model of known scores."""
    import recbole_ext
    from recbole_ext.run.off_policy import OffPolicy

    settings, rows = toy
    made = []
    original = OffPolicy.__init__

    def remember(self, *args):
        original(self, *args)
        made.append(self)

    monkeypatch.setattr(OffPolicy, "__init__", remember)
    settings["eval_args"] = {"split": split}
    record = recbole_ext.run("Pop", "toy", empty_history=empty_history, **settings)
    found, behaviour = record["off_policy"], made[0].behaviour
    kept = np.load(record["files"]["ranks"])
    tokens = kept["item_token"]
    place = {token: number for number, token in enumerate(tokens)}
    log = {}
    for row in rows:
        log.setdefault(row["session_id"], []).append(row)
    held_out = {(str(s), int(n)) for s, n in zip(kept["session_token"], kept["item_length"])}
    if "LS" in split:
        first = 0 if empty_history else 1  # the first row of a session trains, however short it is
        trained = {s: first + max(len(events) - first - 2, 1) for s, events in log.items() if events[first:]}
    else:
        starts = sorted(log, key=lambda s: log[s][0]["timestamp"])
        cut = min(log[s][0]["timestamp"] for s in starts[round(0.6 * len(starts)) :])
        trained = {
            s: sum(event["timestamp"] < cut for event in log[s]) for s in starts[: round(0.6 * len(starts))]
        }
    counts, popular = np.zeros((len(tokens), len(tokens))), np.zeros(len(tokens))
    for session, length in trained.items():
        least = 0 if empty_history else 1
        for number in range(least, max(length, 0)):
            item = place[log[session][number]["item_id"]]
            popular[item] += 1
            if number:
                counts[place[log[session][number - 1]["item_id"]], item] += 1
    assert behaviour.popularity == pytest.approx(popular / popular.sum())
    left = counts.sum(axis=1, keepdims=True)
    assert behaviour.transitions.toarray() == pytest.approx(counts / np.maximum(left, 1))
    weights, chance, reward = behaviour.weights, [], []
    for session, number in sorted(held_out):
        event = log[session][number]
        item, last = place[event["item_id"]], place[log[session][number - 1]["item_id"]] if number else 0
        moved = (
            counts[last, item] / left[last, 0] if last and left[last, 0] else popular[item] / popular.sum()
        )
        share = popular[item] / popular.sum()
        chance.append(weights @ [moved, share, 1 / (len(tokens) - 1)])
        reward.append(1.0 if event["event"] == "purchase" else 0.2)
    # every target of the test part, and no other, has been taken in
    assert len(chance) == found["targets"]
    assert found["log"]["value"] == pytest.approx(np.mean(reward))
    assert min(chance) > 0
    model = made[0]._test  # Pop's scores are the counts of the training events
    scores = model.training_counts().double().numpy()
    scores = scores / scores.max()
    scores[0] = -np.inf
    policy = np.exp(scores - scores.max())
    policy /= policy.sum()
    own = policy[[place[log[s][n]["item_id"]] for s, n in sorted(held_out)]]
    weight = np.minimum(own / np.array(chance), 10)
    assert found["snips"]["value"] == pytest.approx((weight * reward).sum() / weight.sum(), rel=1e-4)
    assert found["effective"] == pytest.approx(weight.sum() ** 2 / (weight**2).sum(), rel=1e-4)


def test_metrics_stay_as_they_are(toy):
    import recbole_ext

    settings, _ = toy
    runs = [
        recbole_ext.run(
            "GRU4Rec", "toy", embedding_size=8, hidden_size=8, **{**settings, "off_policy": given}
        )
        for given in (None, {"policy": "greedy", "bootstrap": 100})
    ]
    assert runs[0]["test"] == runs[1]["test"] and runs[0]["epochs"] == runs[1]["epochs"]
    assert "off_policy" not in runs[0] and runs[1]["off_policy"]["settings"]["policy"] == "greedy"


WRONG = [
    ({"off_policy": "softmax"}, r"off_policy is 'softmax': it has to be a mapping"),
    ({"off_policy": {"polcy": "greedy"}}, "unknown key polcy in off_policy: did you mean policy"),
    ({"off_policy": {"policy": "best"}}, "off_policy.policy is 'best': it has to be one of softmax, greedy"),
    ({"off_policy": {"temperature": 0}}, "off_policy.temperature is 0"),
    ({"off_policy": {"clip": 0.5}}, "off_policy.clip is 0.5"),
    ({"off_policy": {"epsilon": 2}}, "off_policy.epsilon is 2"),
    ({"off_policy": {"bootstrap": 10}}, "off_policy.bootstrap is 10"),
    ({"off_policy": {"seed": -1}}, "off_policy.seed is -1"),
    ({"rewards": None}, "off_policy estimates rewards, and there are none: set rewards"),
    ({"eval_args": {"mode": "uni5"}}, "eval_args.mode is uni5, which scores a few"),
    ({"eval_args": {"mode": {"valid": "full", "test": "pop5"}}}, "eval_args.mode is pop5"),
    ({"eval_args": {"split": {"session_time": [8, 0, 2]}}}, "give eval_args.split a validation part"),
    (
        {"data_layout": "recbole", "eval_args": {"split": {"LS": "valid_and_test"}}},
        "with data_layout: pointers",
    ),
    ({"EVENT_FIELD": "kind"}, "EVENT_FIELD names kind, which the .inter file does not have"),
]


@pytest.mark.parametrize(("changes", "sentence"), WRONG, ids=lambda v: str(v) if isinstance(v, dict) else "")
def test_what_cannot_be_estimated_is_refused_before_training(toy, monkeypatch, changes, sentence):
    import recbole_ext
    from recbole_ext.run.record import Run

    settings, _ = toy
    monkeypatch.setattr(Run, "trained", lambda *_: pytest.fail("trained before it was refused"))
    with pytest.raises(UsageError, match=sentence):
        recbole_ext.run("GRU4Rec", "toy", **{**settings, **changes})


def test_a_kind_of_the_training_part_needs_a_reward_too(toy, write_log):
    import recbole_ext

    settings, rows = toy
    starts = np.sort([row["timestamp"] for row in rows])
    middle = starts[len(starts) // 2]
    write_log([{**row, "event": "view" if row["timestamp"] > middle else "cart"} for row in rows])
    settings["rewards"] = {"view": 1}
    with pytest.raises(UsageError, match="none for event cart, which training targets hold"):
        recbole_ext.run("GRU4Rec", "toy", **settings)


def test_sampled_scores_are_refused():
    from recbole_ext.run.off_policy import OffPolicy
    from recbole_ext.scores.candidates import CandidateScores

    scores = CandidateScores(torch.zeros(1, 2), torch.tensor([[1, 2]]), 5)
    with pytest.raises(UsageError, match="not of sampled ones"):
        OffPolicy.collect(None, scores, torch.tensor([0]), torch.tensor([1]))
