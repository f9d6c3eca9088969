"""Session neighbours, item rules and their kin: worlds on paper, a plain loop, what they must not see, refusals."""

from math import exp, log, log10, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_ext.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]
MODELS = ("SKNN", "VSKNN", "STAN", "VSTAN", "AR", "SR", "RepeatLast", "SessionPop")
SPLIT = {"session_time": [0.7, 0.1, 0.2]}
DAY = 86400.0
# five training sessions, one a day, and two that are held out
WORLD = {"n1": "A B C", "n2": "B C", "n3": "A D", "n4": "B A D", "n5": "E C", "v": "A E", "t": "A B F"}
WIDE = {"k": 10, "sample_size": 0, "remind": True}


def log_of(sessions, step=0.25):
    """Rows of sessions of letters; the last event of the i-th is at the end of day i."""
    rows = []
    for day, (name, items) in enumerate(sessions.items()):
        items = items.split()
        for place, item in enumerate(items):
            time = DAY * day + 100 - step * (len(items) - 1 - place)
            rows.append({"session_id": name, "item_id": item, "timestamp": time})
    return rows


@pytest.fixture
def build(write_log, make_config):
    """(loaders, model, trainer) of a model on a log."""

    def make(model, rows, split=SPLIT, manifest=None, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer

        write_log(rows, manifest=manifest)
        known = {"MAX_ITEM_LIST_LENGTH": 12, "data_layout": "pointers"}
        config = make_config(model, split=split, **{**known, **settings})
        loaders = data_preparation(config, create_dataset(config))
        network = get_model(model)(config, loaders[0]._dataset)
        return loaders, network, get_trainer(config["MODEL_TYPE"], model)(config, network)

    return make


@pytest.fixture
def world(build):
    """(scores by letter of a prefix of letters, model) on WORLD."""

    def make(model, sessions=WORLD, **settings):
        loaders, network, _ = build(model, log_of(sessions), {"session_time": [5, 1, 1]}, **settings)
        dataset = loaders[0]._dataset

        def scores(prefix):
            ids = np.array([[dataset.token2id("item_id", item) for item in prefix.split()]])
            found = network.score(ids, None).toarray()[0]
            return {dataset.id2token("item_id", i): found[i] for i in np.flatnonzero(found)}

        return scores, network

    return make


# --- on paper -----------------------------------------------------------------------------------------------


def test_sknn_on_paper(world):
    scores, _ = world("SKNN", **WIDE)
    both, one = 2 / sqrt(2 * 3), 1 / sqrt(2 * 2)  # n1 and n4 share A and B, n2 shares B, n3 shares A
    expected = {"A": 2 * both + one, "B": 2 * both + one, "C": both + one, "D": one + both}
    assert scores("A B") == pytest.approx(expected)
    scores, _ = world("SKNN", **{**WIDE, "k": 2})
    assert scores("A B") == pytest.approx({"A": 2 * both, "B": 2 * both, "C": both, "D": both})
    scores, _ = world("SKNN", **{**WIDE, "k": 3})  # n2 and n3 are alike: the newer, n3, is the third
    assert scores("A B") == pytest.approx({"A": 2 * both + one, "B": 2 * both, "C": both, "D": both + one})
    scores, _ = world("SKNN", **{**WIDE, "sample_size": 2})  # n3 and n4 are the newest that share an item
    assert scores("A B") == pytest.approx({"A": both + one, "B": both, "D": both + one})
    scores, _ = world("SKNN", **{**WIDE, "remind": False})
    assert scores("A B") == pytest.approx({"C": both + one, "D": one + both})
    assert scores("F") == {}  # a held-out session alone holds it


def test_vsknn_on_paper(world):
    settings = {**WIDE, "weighting": "div", "weighting_score": "div"}
    scores, _ = world("VSKNN", **settings, idf_weighting=0)
    # weights: A 1/2, B 1; n1 and n4 (1/2 + 1) / 2, n2 1/2, n3 1/4, halved again as A is two steps back
    expected = {"A": 0.75 + 0.125 + 0.75, "B": 0.75 + 0.5 + 0.75, "C": 0.75 + 0.5, "D": 0.125 + 0.75}
    assert scores("A B") == pytest.approx(expected)
    # a repeated item stands where it was last: A 1, B 2/3, and two items
    expected = {
        "A": 2 * (5 / 6) + 0.5,
        "B": 2 * (5 / 6) + (1 / 3) / 2,
        "C": 5 / 6 + (1 / 3) / 2,
        "D": 0.5 + 5 / 6,
    }
    assert scores("A B A") == pytest.approx(expected)
    scores, _ = world("VSKNN", **settings, idf_weighting=2)  # C is in three of five sessions, D in two
    assert scores("A B")["C"] == pytest.approx(1.25 * (1 + 2 * log(5 / 3)))
    assert scores("A B")["D"] == pytest.approx(0.875 * (1 + 2 * log(5 / 2)))


@pytest.mark.parametrize(
    "name, place, step",
    [
        ("same", 1, 1),
        ("div", 1 / 3, 1 / 2),
        ("linear", 0.8, 0.8),
        ("log", 1 / log10(3.7), 1 / log10(3.7)),
        ("quadratic", 1 / 9, 1 / 4),
    ],
)
def test_vsknn_s_weights_on_paper(world, name, place, step):
    """D E A: n4 shares A, the last, and D, the first; n5 shares E, two steps back."""
    scores, _ = world("VSKNN", **WIDE, weighting=name, weighting_score=name, idf_weighting=0)
    last = {"linear": 0.9, "log": 1 / log10(2.7)}.get(
        name, 1
    )  # weight of a neighbour matched by the last item
    own = {"log": 1 / log10(1.7)}.get(name, 1)  # weight of the last item itself
    middle = {"same": 1, "div": 2 / 3, "linear": 0.9, "log": 1 / log10(2.7), "quadratic": 4 / 9}[name]
    found = scores("D E A")
    assert found["B"] == pytest.approx((own + own + place) / 3 * last)  # n1, and n4
    assert found["E"] == pytest.approx(middle / 3 * step)


def test_stan_on_paper(world):
    scores, _ = world("STAN", **WIDE, lambda_spw=1, lambda_snh=None, lambda_inh=None)
    norm = sqrt(1 + exp(-2))
    n1 = n4 = (1 + exp(-1)) / (norm * sqrt(3))
    n2, n3 = 1 / (norm * sqrt(2)), exp(-1) / (norm * sqrt(2))
    assert scores("A B") == pytest.approx({"A": n1 + n3 + n4, "B": n1 + n2 + n4, "C": n1 + n2, "D": n3 + n4})
    scores, _ = world("STAN", **WIDE, lambda_spw=1, lambda_snh=2, lambda_inh=None)
    n1, n2, n3 = n1 * exp(-3 / 2), n2 * exp(-2 / 2), n3 * exp(-1 / 2)  # days before n4, the newest candidate
    assert scores("A B") == pytest.approx({"A": n1 + n3 + n4, "B": n1 + n2 + n4, "C": n1 + n2, "D": n3 + n4})
    scores, _ = world("STAN", **WIDE, lambda_spw=1, lambda_snh=2, lambda_inh=3)
    by = exp(-1 / 3)  # one step apart: n1 is met at B, n4 at A, n2 at B and n3 at A
    expected = {
        "A": n1 * by + n3 + n4,
        "B": n1 + n2 + n4 * by,
        "C": n1 * by + n2 * by,
        "D": n3 * by + n4 * by,
    }
    assert scores("A B") == pytest.approx(expected)


def test_vstan_on_paper(world):
    decays = {"lambda_spw": 1, "lambda_snh": 2, "lambda_inh": 3}
    stan, _ = world("STAN", **WIDE, **decays)
    scores, _ = world("VSTAN", **WIDE, **decays, lambda_ipw=None, lambda_idf=0)
    assert scores("A B") == pytest.approx(stan("A B"))
    scores, _ = world("VSTAN", **WIDE, **decays, lambda_ipw=4, lambda_idf=2)
    # n3 alone is met by A, a step before the last item
    n3 = exp(-1) / (sqrt(1 + exp(-2)) * sqrt(2)) * exp(-1 / 2)
    idf = {"A": log(5 / 3), "B": log(5 / 3), "C": log(5 / 3), "D": log(5 / 2)}
    lost = {"A": n3 * (1 - exp(-1 / 4)), "D": n3 * exp(-1 / 3) * (1 - exp(-1 / 4))}
    expected = {i: (v - lost.get(i, 0)) * (1 + 2 * idf[i]) for i, v in stan("A B").items()}
    assert scores("A B") == pytest.approx(expected)


def test_ages_in_order_of_sessions(build):
    """Without times (time_origin null) an age is the percent of training sessions that are newer; ties are alike."""
    rows = log_of(WORLD)
    for row in rows:
        row["timestamp"] = {"n2": 150000.0, "n3": 150000.0}.get(row["session_id"], row["timestamp"])
    settings = {**WIDE, "lambda_spw": 1, "lambda_snh": 20, "lambda_inh": None}
    split = {"session_time": [5, 1, 1]}
    origin = {"time_origin": None}
    _, model, _ = build("STAN", rows, split, manifest=origin, **settings)
    assert model.learnt["age"].tolist() == [80, 40, 40, 20, 0]
    assert model.notes == ["ages of sessions are in percent of the training sessions"]
    _, model, _ = build("STAN", rows, split, manifest={"time_origin": 5.0}, **settings)
    assert model.learnt["age"][-2] == pytest.approx(1)  # n4 ended a day before n5
    assert model.notes == ["ages of sessions are in days"]
    _, model, _ = build("STAN", rows, split, manifest={"time_origin": 5.0}, age="share", **settings)
    assert model.learnt["age"].tolist() == [80, 40, 40, 20, 0]
    with pytest.raises(UsageError, match="age is days, but toy has the order of events and no times"):
        build("STAN", rows, split, manifest=origin, age="days", **settings)


def test_old_neighbours_do_not_vanish(world):
    """A decay of a thousandth of a day: only the newest candidate counts, however old it is itself."""
    scores, _ = world("STAN", **WIDE, lambda_spw=1, lambda_snh=0.001, lambda_inh=None)
    assert scores("A B").keys() == {"A", "B", "D"}  # n4
    assert scores("B C").keys() == {"E", "C"}  # n5


def test_ar_on_paper(world):
    sessions = {**WORLD, "n5": "E E C"}
    scores, _ = world("AR", sessions)
    assert scores("C A") == {"B": 2, "C": 1, "D": 2}
    assert scores("E") == {"E": 2, "C": 2}  # the pair of both E's, once for each direction
    scores, _ = world("AR", sessions, rules_per_item=1)
    assert scores("C A") == {"B": 2}  # of equal rules the item that came first


def test_sr_on_paper(world):
    scores, _ = world("SR", steps=2, weighting="div")
    assert scores("C A") == {"B": 1, "C": 0.5, "D": 2}
    scores, _ = world("SR", steps=1, weighting="div")
    assert scores("C A") == {"B": 1, "D": 2}
    scores, _ = world("SR", steps=2, weighting="quadratic", rules_per_item=2)
    assert scores("C A") == {"B": 1, "D": 2}
    assert scores("C") == {}  # nothing comes after C


def test_repeat_last_and_session_pop_on_paper(world):
    scores, _ = world("RepeatLast")
    assert scores("A B A C") == {"C": 1}
    scores, model = world("SessionPop")
    # training events: A 3, B 3, C 3, D 2, E 1, F 0: four different counts
    assert scores("A B A D") == pytest.approx({"A": 2 + 4 / 5, "B": 1 + 4 / 5, "D": 1 + 3 / 5})
    assert sorted(model.popularity.tolist()) == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


# --- against the plain loop ---------------------------------------------------------------------------------

SETTINGS = [
    ("SKNN", {"k": 3, "sample_size": 7}),
    ("SKNN", {"k": 50, "sample_size": 0, "remind": False}),
    (
        "VSKNN",
        {"k": 5, "sample_size": 12, "weighting": "linear", "weighting_score": "log", "idf_weighting": 0.5},
    ),
    (
        "VSKNN",
        {"k": 2, "sample_size": 1000, "weighting": "quadratic", "weighting_score": "div", "remind": False},
    ),
    (
        "VSKNN",
        {"k": 9, "sample_size": 0, "weighting": "log", "weighting_score": "quadratic", "idf_weighting": 0},
    ),
    ("VSKNN", {"k": 4, "sample_size": 15, "weighting": "same", "weighting_score": "linear"}),
    ("STAN", {"k": 4, "sample_size": 20, "lambda_spw": 0.8, "lambda_snh": 0.01, "lambda_inh": 1.5}),
    ("STAN", {"k": 30, "sample_size": 0, "lambda_spw": None, "lambda_snh": 0.003, "lambda_inh": None}),
    ("STAN", {"k": 6, "sample_size": 9, "lambda_snh": None, "age": "share", "remind": False}),
    ("VSTAN", {"k": 5, "sample_size": 25, "lambda_snh": 0.01, "lambda_ipw": 0.9, "lambda_idf": 2}),
    (
        "VSTAN",
        {"k": 8, "sample_size": 0, "lambda_snh": 7, "age": "share", "lambda_ipw": None, "lambda_idf": 0.3},
    ),
    ("VSTAN", {"k": 3, "sample_size": 11, "lambda_inh": None, "lambda_snh": 0.02, "lambda_spw": 1e-5}),
    ("AR", {"rules_per_item": 0}),
    ("AR", {"rules_per_item": 3}),
    ("SR", {"steps": 3, "weighting": "log", "rules_per_item": 4}),
    ("SR", {"steps": 20, "weighting": "linear", "rules_per_item": 0}),
    ("RepeatLast", {}),
    ("SessionPop", {}),
]


def trained_sessions(dataset):
    """(session id, last time, items) of what trains, from old to new, one event at a time."""
    sessions = []
    for first, length in zip(dataset.session_start.tolist(), dataset.train_length.tolist()):
        if not length:
            continue
        items = dataset.events["item_id"][first : first + length].tolist()
        sessions.append(
            (dataset.events["session_id"][first].item(), dataset.event_time[first + length - 1], items)
        )
    return sorted(sessions, key=lambda session: session[1])


def loop_rank(scores, target, floor, n_items):
    """Rank by definition; scores: by item; floor: of the others, None: they are no candidates."""
    full = {i: scores.get(i, None if floor is None else floor[i]) for i in range(1, n_items)}
    if full[target] is None:
        return n_items - 1
    others = [v for i, v in full.items() if i != target and v is not None]
    return 1 + sum(v > full[target] for v in others) + sum(v == full[target] for v in others) // 2


CASES = [(*case, split) for case in SETTINGS for split in (SPLIT, {"LS": "valid_and_test"})]
CASES += [(*case, split) for case in SETTINGS[9:11] for split in ({"RS": [6, 2, 2]}, {"TS": [6, 2, 2]})]


@pytest.mark.parametrize("model, settings, split", CASES, ids=str)
def test_scores_are_those_of_one_prefix_at_a_time(build, random_log, monkeypatch, model, settings, split):
    import recbole_ext.model.counting.nearest as nearest

    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setattr(nearest, "CHUNK_PAIRS", 40)  # many pieces
    from one_prefix import peer

    loaders, network, trainer = build(model, random_log(sessions=70, items=15, seed=3), split, **settings)
    train, _, test = loaders
    known = {**trainer.config.final_config_dict, **settings}
    plain = peer(model, known, trained_sessions(train._dataset), known.get("age") != "share")
    trainer._meet(test)
    checked = 0
    for rows, _, _, target in test:
        found = network.sparse_scores(rows)
        dense = found.dense().numpy()
        floor = network.popularity - 1
        ranks = found.ranks(target).tolist()
        for row, (prefix, own) in enumerate(zip(rows["item_id_list"].tolist(), rows["session_id"].tolist())):
            expected = plain.scores([i for i in prefix if i], own)
            highest = max(expected.values(), default=1)
            stored = slice(found.indptr[row], found.indptr[row + 1])
            assert dict(zip(found.indices[stored].tolist(), found.data[stored].tolist())) == pytest.approx(
                {i: v / highest for i, v in expected.items()}, rel=1e-5
            )
            single = {i: dense[row, i] for i in expected}
            open_ = model == "SessionPop"
            assert ranks[row] == loop_rank(
                single, target[row].item(), floor if open_ else None, network.n_items
            )
            checked += len(expected) > 0
    assert checked > 20


def test_a_session_is_no_neighbour_of_itself(build):
    """Under LS a session's first events train: they may not vouch for themselves."""
    rows = log_of({"a": "A B C D E", "b": "F A G H I"})
    settings = {**WIDE, "lambda_snh": None}
    loaders, model, trainer = build("STAN", rows, {"LS": "valid_and_test"}, **settings)
    trainer._meet(loaders[2])
    (batch,) = list(loaders[2])
    found = model.sparse_scores(batch[0]).dense()
    tokens = loaders[0]._dataset.field2id_token["item_id"]
    for prefix, row in zip(batch[0]["item_id_list"].tolist(), found):
        other = {"A", "F", "G"} if tokens[prefix[0]] == "A" else {"A", "B", "C"}
        assert {tokens[i] for i in range(len(row)) if row[i] > -torch.inf} == other


# --- ties, candidates and what follows ----------------------------------------------------------------------


@pytest.mark.parametrize("fill", ["none", "popularity"])
@pytest.mark.parametrize("model", MODELS)
def test_an_item_without_a_score_is_below_all_with_one(build, random_log, model, fill):
    if model == "SessionPop" and fill == "none":
        pytest.skip("popularity is part of its score")
    settings = {} if model == "SessionPop" else {"fill": fill}
    loaders, network, trainer = build(model, random_log(items=60, seed=5), **settings)
    trainer._meet(loaders[2])
    events = network.learnt["popularity"]
    for rows, _, _, target in loaders[2]:
        scores = network.full_sort_predict(rows).view(len(rows), -1)
        assert (scores[:, 0] == -torch.inf).all()
        known = network.sparse_scores(rows)
        for row in range(len(rows)):
            mine = set(known.indices[known.indptr[row] : known.indptr[row + 1]].tolist())
            rest = [i for i in range(1, network.n_items) if i not in mine]
            if fill == "none":
                assert (scores[row, rest] == -torch.inf).all()
            else:
                assert (scores[row, rest] < min((scores[row, i].item() for i in mine), default=1)).all()
                by_events = events[rest][np.argsort(-scores[row, rest].numpy(), kind="stable")]
                assert (np.diff(by_events) <= 0).all()
        one = network.predict(rows)
        assert torch.equal(one, scores[torch.arange(len(rows)), target])


@pytest.mark.parametrize("fill", ["none", "popularity"])
@pytest.mark.parametrize("model", MODELS)
def test_before_a_session_s_first_event_popularity_ranks(build, random_log, model, fill):
    settings = {} if model == "SessionPop" else {"fill": fill}
    loaders, network, trainer = build(model, random_log(seed=2), empty_history=True, **settings)
    trainer._meet(loaders[2])
    blank = 0
    for rows, *_ in loaders[2]:
        scores = network.full_sort_predict(rows).view(len(rows), -1)
        for row in torch.nonzero(rows["item_id_list"][:, 0] == 0).flatten().tolist():
            events = network.learnt["popularity"][1:]
            assert (np.diff(events[np.argsort(-scores[row, 1:].numpy(), kind="stable")]) <= 0).all()
            blank += 1
    assert blank > 5


# --- nothing is seen that does not train --------------------------------------------------------------------


@pytest.mark.parametrize("split", [SPLIT, {"LS": "valid_and_test"}, {"RS": [6, 2, 2]}], ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_held_out_events_change_nothing(build, random_log, model, split):
    rows = random_log(sessions=50, items=12, seed=4)
    # every item trains, so that ids do not depend on the rest
    items = [i % 12 for i in range(24)]
    every = [{"session_id": "all", "item_id": f"i{i}", "timestamp": n - 100.0} for n, i in enumerate(items)]
    rows = every + [{key: row[key] for key in every[0]} for row in rows]
    loaders, network, _ = build(model, rows, split)
    dataset = loaders[0]._dataset
    kept = dataset._training_events().tolist()
    tokens, sessions = (
        dataset.field2id_token[f][dataset.events[f].numpy()] for f in ("item_id", "session_id")
    )
    rebuilt = [
        {"session_id": s, "item_id": i, "timestamp": t}
        for s, i, t in zip(sessions, tokens, dataset.event_time.tolist())
    ]
    changed = 0
    for place in set(range(len(rebuilt))) - set(kept):
        rebuilt[place]["item_id"] = "i1"
        changed += 1
    again = build(model, rebuilt, split)[1]
    assert changed > 15
    assert network.learnt.keys() == again.learnt.keys()
    for key, value in network.learnt.items():
        mine, other = (v.toarray() if hasattr(v, "toarray") else v for v in (value, again.learnt[key]))
        assert np.array_equal(mine, other), key


# --- the trainer and RecBole --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "split", [SPLIT, {"LS": "valid_and_test"}, {"RS": [8, 1, 1]}, {"session_random": [7, 1, 2]}], ids=str
)
@pytest.mark.parametrize("model", MODELS)
def test_fit_evaluate_and_checkpoint(build, random_log, model, split):
    """One validation; the checkpoint holds all: a model that has learnt another log scores the same with it."""
    from recbole_ext.bridge.checkpoint import load_other_parameter, read_checkpoint

    loaders, network, trainer = build(model, random_log(seed=6), split, epochs=7)
    noted = []
    best, result = trainer.fit(*loaders[:2], verbose=False, callback_fn=lambda *args: noted.append(args))
    assert noted == [(0, best)] and result["ndcg@5"] == round(best, 9) and trainer.train_loss_dict == {0: 0.0}
    tested = trainer.evaluate(loaders[2])
    assert tested["hit@5"] < 1 and (tested["hit@5"] > 0 or model == "RepeatLast")
    stored = read_checkpoint(trainer.saved_model_file)
    other = build(model, random_log(seed=9), split)[1]
    batch = next(iter(loaders[2]))[0]
    other.n_items = network.n_items
    load_other_parameter(other, stored["other_parameter"])
    assert torch.equal(other.full_sort_predict(batch), network.full_sort_predict(batch))


@pytest.mark.parametrize("model", MODELS)
def test_sampled_candidates(build, random_log, model):
    loaders, network, trainer = build(model, random_log(items=40, seed=8), mode="uni20")
    result = trainer.evaluate(loaders[2], load_best_model=False)
    for rows, candidates, _, _ in loaders[2]:
        scores = network.sparse_scores(rows)
        dense = scores.dense()
        assert torch.equal(scores.of(candidates), dense.gather(1, candidates))
        assert torch.equal(trainer._predict_candidates(rows, candidates), dense.gather(1, candidates))
    assert result["hit@5"] < 1 and (result["hit@5"] > 0 or model == "RepeatLast")


def test_run_and_recbole_s_own_run(tmp_path, monkeypatch, write_log, random_log):
    import recbole_ext

    recbole_ext.install()
    from recbole.quick_start import load_data_and_model, run_recbole
    from recbole.utils import get_trainer

    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=80))
    settings = {"data_path": "data", "use_gpu": False, "eval_args": {"split": SPLIT}, "state": "ERROR"}
    record = recbole_ext.run("VSTAN", "toy", **settings)
    assert record["epochs_run"] == 1
    assert round(record["best_valid_score"], 6) == record["valid"]["ndcg@10"] > 0
    assert np.load(record["files"]["ranks"])["top"].shape == (record["counts"]["test_targets"], 20)
    unseen = {**settings, "eval_args": {"split": {"session_time": [8, 0, 2]}}}
    assert recbole_ext.run("SKNN", "toy", **unseen)["best_valid_score"] is None  # no validation part
    with pytest.raises(
        UsageError, match=r"^resume_from is .*, but VSTAN learns at once and has nothing to go on"
    ):
        recbole_ext.run("VSTAN", "toy", **settings, resume_from=record["checkpoint"])
    result = run_recbole(model="VSTAN", dataset="toy", config_dict={**settings, "checkpoint_dir": "theirs"})
    assert result["test_result"] == {k: round(v, 6) for k, v in record["test"].items()}
    (checkpoint,) = Path("theirs").glob("VSTAN-*.pth")
    config, model, _, _, _, test = load_data_and_model(str(checkpoint))
    again = get_trainer(config["MODEL_TYPE"], "VSTAN")(config, model)
    assert again.evaluate(test, load_best_model=False) == result["test_result"]


# --- what is refused ----------------------------------------------------------------------------------------

WRONG = [
    ("SKNN", {"k": 0}, "k is 0: it has to be a whole number of 1 or more"),
    ("SKNN", {"k": 2.5}, "k is 2.5"),
    ("SKNN", {"sample_size": -1}, "sample_size is -1"),
    ("SKNN", {"remind": "maybe"}, "remind is 'maybe': write True or False"),
    ("SKNN", {"fill": "pop"}, "fill is 'pop': it has to be one of popularity, none"),
    ("VSKNN", {"weighting": "cubic"}, "weighting is 'cubic': it has to be one of same, div, linear"),
    ("VSKNN", {"weighting_score": None}, "weighting_score is None"),
    ("VSKNN", {"idf_weighting": -1}, "idf_weighting is -1"),
    ("STAN", {"lambda_spw": 0}, "lambda_spw is 0"),
    ("STAN", {"lambda_snh": "week"}, "lambda_snh is 'week'"),
    ("STAN", {"lambda_inh": -2}, "lambda_inh is -2"),
    ("STAN", {"age": "hours"}, "age is 'hours': it has to be one of auto, days, share"),
    ("VSTAN", {"lambda_ipw": 0}, "lambda_ipw is 0"),
    ("VSTAN", {"lambda_idf": None}, "lambda_idf is None"),
    ("AR", {"rules_per_item": -1}, "rules_per_item is -1"),
    ("SR", {"steps": 0}, "steps is 0"),
    ("SR", {"weighting": "none"}, "weighting is None"),
    ("RepeatLast", {"fill": False}, "fill is False"),
    (
        "SKNN",
        {"data_layout": "recbole"},
        "SKNN learns from whole sessions, which RecBole's own data sets do not keep",
    ),
    ("AR", {"train_loss": "softmax"}, "train_loss is softmax, but AR counts and has no loss"),
    ("AR", {"score": "cosine"}, "score is cosine, but AR counts"),
    ("AR", {"train_targets": "all_positions"}, "train_targets is all_positions, but AR counts"),
]


@pytest.mark.parametrize(
    "model, settings, sentence", WRONG, ids=lambda v: str(v) if isinstance(v, dict) else ""
)
def test_wrong_settings_are_answered_in_a_sentence(build, random_log, model, settings, sentence):
    split = {"LS": "valid_and_test"}
    with pytest.raises(UsageError, match=f"^{sentence}"):
        build(model, random_log(sessions=20), split, **settings)


def test_what_it_takes_to_learn_is_in_the_record(tmp_path, monkeypatch, write_log, random_log):
    import time

    from recbole_ext.model.counting.ar import AR
    from recbole_ext.run.run import run

    monkeypatch.chdir(tmp_path)
    write_log(random_log(sessions=40))
    init = AR.__init__

    def slow(self, *args, **kwargs):
        time.sleep(0.5)
        init(self, *args, **kwargs)

    monkeypatch.setattr(AR, "__init__", slow)
    keys = {"data_path": "data", "use_gpu": False, "eval_args": {"split": SPLIT}}
    assert run("AR", "toy", keys)["seconds"]["train"] >= 0.5  # it learns when it is made
