"""How numbers, durations, metrics and settings read, by hand."""

import pytest

from recbole_ext.report import formats


@pytest.mark.parametrize(
    "function, value, shown",
    [
        (formats.score, 0.2371, ".2371"),
        (formats.score, 1.0, "1.0000"),
        (formats.score, 0.0, ".0000"),
        (formats.score, -0.00001, ".0000"),  # no minus before nought
        (formats.score, 12.5, "12.5000"),
        (formats.score, None, "–"),
        (formats.score, float("nan"), "–"),
        (formats.score, True, "–"),
        (formats.signed, 0.0123, "+.0123"),
        (formats.signed, -0.0123, "−.0123"),
        (formats.signed, 0.00001, ".0000"),
        (formats.p_value, 0.0004, "p < .001"),
        (formats.p_value, 0.013, "p = .013"),
        (formats.p_value, 0.0496, "p = .0496"),  # .050 would hide that it is under .05
        (formats.p_value, 0.05, "p = .0500"),
        (formats.p_value, 1.0, "p = 1.000"),
        (formats.stars, 0.0009, "***"),
        (formats.stars, 0.001, "**"),
        (formats.stars, 0.01, "*"),
        (formats.stars, 0.05, "n.s."),
        (formats.stars, None, "?"),
        (formats.seconds, 0.034, "0.034 s"),
        (formats.seconds, 3.14, "3.1 s"),
        (formats.seconds, 48.2, "48 s"),
        (formats.seconds, 412.0, "6.9 min"),
        (formats.seconds, 655.0, "11 min"),
        (formats.seconds, 12_240.0, "3.4 h"),
        (formats.seconds, None, "–"),
        (formats.duration, 0.4, "0 s"),
        (formats.duration, 31, "31 s"),
        (formats.duration, 99, "99 s"),
        (formats.duration, 300, "5 min"),
        (formats.duration, 9000, "2.5 h"),
        (formats.count, 60_858, "60,858"),
        (formats.count, 13.5, "13.5"),
        (formats.roughly, 950, "950"),
        (formats.roughly, 12_400, "12.4 k"),
        (formats.roughly, 4_812_300, "4.81 M"),
        (formats.size, 31_415_926, "31.4 MB"),
        (formats.amount, 0.6912, ".691"),
        (formats.amount, 1431.25, "1,431.2"),
        (formats.size, 58, "58 B"),
        (formats.metric_name, "hit@20", "HR@20"),
        (formats.metric_name, "ndcg@10", "NDCG@10"),
        (formats.metric_name, "category_hit@1", "Category HR@1"),
        (formats.metric_name, "coverage@20", "Coverage@20"),
        (
            formats.shown_value,
            {"split": {"given": {"valid_share": 0.1}}},
            "{split: {given: {valid_share: 0.1}}}",
        ),
        (formats.shown_value, {"__enum__": ["ModelType", "SEQUENTIAL"]}, "SEQUENTIAL"),
        (formats.shown_value, None, "~"),
        (formats.listed, ["A", "B", "C"], "A, B and C"),
        (formats.listed, ["A", "B", "C", "D", "E"], "A, B, C and 2 more"),
    ],
)
def test_formats(function, value, shown):
    assert function(value) == shown


def test_an_interval_below_nought_is_no_range_of_minus_signs():
    assert formats.interval({"low": 0.233, "high": 0.241}, 3) == ".233–.241"
    assert formats.interval({"low": -0.004, "high": 0.001}, 3) == "−.004 to +.001"
    assert formats.interval({"low": None, "high": 0.1}) == ""
