"""What a report claims: formats by hand, and "better" only where Holm-adjusted p < .05."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_ext.report import words
from recbole_ext.report.words import Tests, answer


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


@pytest.mark.parametrize(
    "function, value, shown",
    [
        (words.score, 0.2371, ".2371"),
        (words.score, 1.0, "1.0000"),
        (words.score, 0.0, ".0000"),
        (words.score, -0.00001, ".0000"),  # no minus before nought
        (words.score, 12.5, "12.5000"),
        (words.score, None, "–"),
        (words.score, float("nan"), "–"),
        (words.score, True, "–"),
        (words.signed, 0.0123, "+.0123"),
        (words.signed, -0.0123, "−.0123"),
        (words.signed, 0.00001, ".0000"),
        (words.p_value, 0.0004, "p < .001"),
        (words.p_value, 0.013, "p = .013"),
        (words.p_value, 0.0496, "p = .0496"),  # .050 would hide that it is under .05
        (words.p_value, 0.05, "p = .0500"),
        (words.p_value, 1.0, "p = 1.000"),
        (words.stars, 0.0009, "***"),
        (words.stars, 0.001, "**"),
        (words.stars, 0.01, "*"),
        (words.stars, 0.05, "n.s."),
        (words.stars, None, "?"),
        (words.seconds, 0.034, "0.034 s"),
        (words.seconds, 3.14, "3.1 s"),
        (words.seconds, 48.2, "48 s"),
        (words.seconds, 412.0, "6.9 min"),
        (words.seconds, 655.0, "11 min"),
        (words.seconds, 12_240.0, "3.4 h"),
        (words.seconds, None, "–"),
        (words.count, 60_858, "60,858"),
        (words.count, 13.5, "13.5"),
        (words.roughly, 950, "950"),
        (words.roughly, 12_400, "12.4 k"),
        (words.roughly, 4_812_300, "4.81 M"),
        (words.size, 31_415_926, "31.4 MB"),
        (words.amount, 0.6912, ".691"),
        (words.amount, 1431.25, "1,431.2"),
        (words.size, 58, "58 B"),
        (words.metric_name, "hit@20", "HR@20"),
        (words.metric_name, "ndcg@10", "NDCG@10"),
        (words.metric_name, "category_hit@1", "Category HR@1"),
        (words.metric_name, "coverage@20", "Coverage@20"),
        (
            words.shown_value,
            {"split": {"given": {"valid_share": 0.1}}},
            "{split: {given: {valid_share: 0.1}}}",
        ),
        (words.shown_value, {"__enum__": ["ModelType", "SEQUENTIAL"]}, "SEQUENTIAL"),
        (words.shown_value, None, "~"),
        (words.listed, ["A", "B", "C"], "A, B and C"),
        (words.listed, ["A", "B", "C", "D", "E"], "A, B, C and 2 more"),
    ],
)
def test_formats(function, value, shown):
    assert function(value) == shown


def test_an_interval_below_nought_is_no_range_of_minus_signs():
    assert words.interval({"low": 0.233, "high": 0.241}, 3) == ".233–.241"
    assert words.interval({"low": -0.004, "high": 0.001}, 3) == "−.004 to +.001"
    assert words.interval({"low": None, "high": 0.1}) == ""


def test_a_test_asked_the_other_way_round_changes_sign_and_bounds():
    tests = Tests({"tests": [difference("A", "B", 0.01, 0.2)]})
    turned = tests.between("B", "A", "ndcg@10")
    assert (turned.difference, turned.low, turned.high) == (-0.01, -0.012, -0.008)
    assert turned.p_holm == 0.2
    assert not tests.between("A", "C", "ndcg@10").tested


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
