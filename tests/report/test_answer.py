"""What a report claims in plain language: "better" only where Holm-adjusted p < .05."""

import re

from hypothesis import given
from hypothesis import strategies as st

from recbole_ext.report.answer import answer
from recbole_ext.report.paired import Tests


def model(label, mean, seeds=(1, 2, 3), train=100.0, **metrics):
    values = {"ndcg@10": mean, **{name.replace("_", "@"): value for name, value in metrics.items()}}
    found = {
        name: {
            "mean": v,
            "low": v - 0.004,
            "high": v + 0.004,
            "seed_std": None,
            "seed_values": [v] * len(seeds),
        }
        for name, v in values.items()
    }
    return {
        "model": label,
        "name": label,
        "seeds": list(seeds),
        "metrics": found,
        "seconds": {"train": train},
    }


def difference(a, b, value, p, metric="ndcg@10"):
    low, high = value - 0.002, value + 0.002
    return {
        "a": a, "b": b, "metric": metric, "difference": value, "low": low, "high": high, "p": p, "p_holm": p
    }  # fmt: skip


def comparison(models, tests=(), metrics=("ndcg@10",)):
    return {"dataset": "toy", "metrics": list(metrics), "models": list(models), "tests": list(tests)}


def test_a_test_asked_the_other_way_round_changes_sign_and_bounds():
    tests = Tests({"tests": [difference("A", "B", 0.01, 0.2)]})
    turned = tests.between("B", "A", "ndcg@10")
    assert (turned.difference, turned.low, turned.high) == (-0.01, -0.012, -0.008)
    assert turned.p_holm == 0.2
    assert not tests.between("A", "C", "ndcg@10").tested


def test_it_counts_those_that_are_beaten():
    for losers, said in (
        ("BC", "and than C (Holm"),
        ("BCD", "both others (Holm"),
        ("BCDE", "all 3 others (Holm"),
    ):
        models = [model("A", 0.3), *(model(label, 0.2) for label in losers)]
        assert said in answer(comparison(models, [difference("A", label, 0.1, 0.001) for label in losers]))


def test_the_answer_names_winner_interval_and_what_the_tests_say():
    found = comparison(
        [model("HRNNFeat", 0.237), model("SASRec", 0.225), model("VSTAN", 0.2252, train=3.0)],
        [difference("HRNNFeat", "SASRec", 0.012, 0.0001), difference("HRNNFeat", "VSTAN", 0.0118, 0.3)],
    )
    assert answer(found) == (
        "On toy HRNNFeat ranks first (NDCG@10 .237, 95 % .233–.241). "
        "It is indistinguishable from VSTAN (+.012 over VSTAN, Holm p = .300). "
        "It is better than SASRec by +.012 (95 % +.010 to +.014, Holm p < .001). "
        "VSTAN, which trains in 3.0 s instead of 100 s, is within .012 of it."
    )


def test_one_seed_is_said_so():
    found = comparison(
        [model("A", 0.3, seeds=(1,)), model("B", 0.2, seeds=(1,))], [difference("A", "B", 0.1, 0.001)]
    )
    assert "better than B by +.100 (95 % +.098 to +.102, Holm p = .001)" in answer(found)
    assert "Every model ran with one seed" in answer(found)
    found["models"][0]["seeds"] = [1, 2]
    assert "B ran with one seed" in answer(found)


def test_the_baseline_is_counted_by_what_the_tests_say():
    found = comparison(
        [model("A", 0.3), model("B", 0.29), model("Base", 0.2), model("C", 0.1), model("D", 0.05)],
        [
            difference("A", "Base", 0.1, 0.001),
            difference("Base", "B", -0.09, 0.2),
            difference("Base", "C", 0.1, 0.01),
        ],
    )
    said = answer(found, "Base")
    assert "Against the baseline Base, 4 models: 1 better, 1 worse, 1 indistinguishable, 1 untested." in said
    assert "The baseline Gone has no finished run here." in answer(found, "Gone")


def test_another_metric_with_another_winner_is_mentioned_with_its_test():
    models = [model("A", 0.3, hit_20=0.5), model("B", 0.2, hit_20=0.6)]
    tests = [difference("A", "B", 0.1, 0.001), difference("A", "B", -0.1, 0.2, "hit@20")]
    found = comparison(models, tests, ("ndcg@10", "hit@20"))
    assert "By HR@20, B is first, though not significantly ahead of A." in answer(found)
    assert "By HR@20, B is first; no test compares it with A there." in answer({**found, "tests": tests[:1]})
    tests[1]["p_holm"] = 0.001
    assert "By HR@20, B is first (Holm p < .05 against A)." in answer(found)


def test_without_tests_and_without_models_nothing_is_claimed():
    assert "No test compares it with B." in answer(comparison([model("A", 0.3), model("B", 0.2)]))
    assert answer(comparison([])) == "On toy no run finished, so there is nothing to compare."
    assert "ran alone" in answer(comparison([model("A", 0.3)]))


def test_a_test_that_contradicts_the_means_is_no_claim():
    found = comparison([model("A", 0.3), model("B", 0.2)], [difference("A", "B", -0.1, 0.001)])
    assert "better" not in answer(found)
    assert "points the other way against B" in answer(found)


results = st.one_of(
    st.none(), st.just(float("nan")), st.floats(0, 1), st.sampled_from([0.0, 0.0499, 0.05, 0.0501])
)


@given(
    st.lists(results, min_size=6, max_size=6), st.permutations(range(4)), st.sampled_from([None, 0, 1, 2, 3])
)
def test_better_is_said_only_of_tests_with_p_below_five_percent(ps, order, base):
    labels = ["M0", "M1", "M2", "M3"]
    means = {label: 0.1 + 0.02 * order[i] for i, label in enumerate(labels)}
    pairs = [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]
    tests = [difference(a, b, means[a] - means[b], p) for (a, b), p in zip(pairs, ps)]
    ranked = sorted(labels, key=lambda label: -means[label])
    found = comparison([model(label, means[label]) for label in ranked], tests)
    said = answer(found, None if base is None else labels[base])
    decided = {frozenset(pair) for pair, p in zip(pairs, ps) if p is not None and p < 0.05}
    claims = re.search(r"It is better than (.*?)\.(?: |$)(?=[A-Z]|$)", said)
    claimed = set(re.findall(r"M\d|all \d", claims.group(1))) if claims else set()
    beaten = {label for label in ranked[1:] if frozenset((ranked[0], label)) in decided}
    if claimed & {"all 2"}:
        assert beaten == set(ranked[1:])
    else:
        assert claimed == beaten
    against = re.search(r"Against the baseline.*?(\d) better", said)
    if against:
        better = [
            x for x in labels if means[x] > means[labels[base]] and frozenset((x, labels[base])) in decided
        ]
        assert int(against.group(1)) == len(better)
    if not decided:
        assert "better" not in said
