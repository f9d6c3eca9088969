"""The paragraph of a study for each kind of end, and the pages around it."""

import re

import pytest

from recbole_ext.report.log_page import in_words, log_page
from recbole_ext.report.study_page import Found, study_page
from recbole_ext.report.study_text import study_text

FACTS = {
    "name": "shop",
    "events": 9000,
    "left_out": 0,
    "notes": [],
    "sessions": 2000,
    "items": 300,
    "visitors": 900,
    "lengths": {"1": 100, "2": 900, "3-4": 500, "5-9": 400, "10+": 100},
    "parts": {"train": 1200, "valid": 400, "test": 400},
    "targets": {"train": 5000, "valid": 1000, "test": 1500},
    "tested": 380,
    "newest": True,
    "repeats": 0.2,
    "repeats_last": 0.05,
    "cold": 0.1,
    "few_shot": 0.1,
    "returning": 0.3,
    "busiest": 0.1,
    "kinds": {"view": 8000, "buy": 1000},
    "popular": 0.1,
    "lonely": 0.1,
    "top": ["a", "b", "c"],
    "features": [{"name": "category", "type": "token", "share": 0.9}],
    "days": 28.0,
    "first_day": "2026-05-04",
    "last_day": "2026-05-31",
    "test_days": 5.0,
    "periods": [
        {
            "begin": 2 * n,
            "days": 2,
            "whole": n < 2,
            "events": 10,
            "items": 5,
            "new_items": 0.5,
            "kept": 0.4 if n else None,
        }
        for n in range(3)
    ],
}


def value(mean):
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}


def comparison(means, tests, seeds=(1, 2, 3), train=None):
    models = [
        {
            "model": label,
            "seeds": list(seeds),
            "metrics": {"ndcg@10": value(mean), "hit@20": value(2 * mean)},
            "seconds": {"train": (train or {}).get(label, 10.0)},
        }
        for label, mean in sorted(means.items(), key=lambda pair: -pair[1])
    ]
    found = [
        {
            "a": a,
            "b": b,
            "metric": "ndcg@10",
            "difference": means[a] - means[b],
            "low": means[a] - means[b] - 0.01,
            "high": means[a] - means[b] + 0.01,
            "p_holm": p,
        }
        for (a, b), p in tests.items()
    ]
    return {
        "dataset": "shop",
        "metrics": ["ndcg@10", "hit@20"],
        "models": models,
        "tests": found,
        "sessions": 400,
        "targets": 1500,
    }


CLEAR = comparison(
    {"HRNNFeat": 0.3, "GRU4Rec": 0.25, "Pop": 0.1},
    {("HRNNFeat", "GRU4Rec"): 0.001, ("HRNNFeat", "Pop"): 0.0001, ("GRU4Rec", "Pop"): 0.001},
)


def test_a_clear_win():
    text = study_text("HRNNFeat", CLEAR, None, "Pop", FACTS, {})
    assert text.startswith("Take HRNNFeat: validation chose it among 3 models.")
    assert (
        "On the newest sessions of shop, kept for the test and looked at once (400 sessions, 1,500 events"
        in text
    )
    assert "NDCG@10 .300 (95 % .290–.310): the next item is among its first 20 in 60 % of cases" in text
    assert "It is better than GRU4Rec, the next one: +.050 (95 % +.040 to +.060, Holm p = .001)" in text
    assert "It is better than Pop, the best of the simplest models: +.200" in text
    assert "sure. What this log" in text  # three seeds: nothing is said of luck in training
    assert text.endswith(
        "What this log cannot tell: whether people would have liked what they were not shown, which only a test in "
        "the shop says."
    )


def test_a_tie_names_the_cheaper_one():
    tie = comparison(
        {"HRNNFeat": 0.3, "VSTAN": 0.299, "Pop": 0.1},
        {("HRNNFeat", "VSTAN"): 0.6, ("HRNNFeat", "Pop"): 0.0001, ("VSTAN", "Pop"): 0.0001},
        seeds=(1,),
        train={"VSTAN": 2.0, "HRNNFeat": 100.0},
    )
    text = study_text("HRNNFeat", tie, None, "Pop", FACTS, {})
    assert "It is not to be told from VSTAN, the next one: +.001" in text
    assert "Not very: VSTAN may be as good (VSTAN trains in 2.0 s instead of 100 s)" in text
    assert "one seed: luck in training is not in these intervals (--seed 1,2,3)" in text
    assert "sure. What" not in text


def test_the_test_part_may_disagree_with_validation():
    other = comparison({"GRU4Rec": 0.25, "VSTAN": 0.26}, {("GRU4Rec", "VSTAN"): 0.2})
    text = study_text("GRU4Rec", other, None, None, FACTS, {})
    assert "On the test VSTAN is ahead of it, by no more than chance may do: +.010" in text
    assert "Not very: VSTAN may be as good." in text
    surely = comparison({"GRU4Rec": 0.25, "VSTAN": 0.3}, {("GRU4Rec", "VSTAN"): 0.001})
    text = study_text("GRU4Rec", surely, None, None, FACTS, {})
    assert "ahead of it, and that is more than chance: +.050" in text
    assert "Not at all: validation and test disagree on VSTAN" in text


def test_the_floor_wins():
    found = comparison({"RepeatLast": 0.3, "GRU4Rec": 0.25}, {("RepeatLast", "GRU4Rec"): 0.001})
    text = study_text("RepeatLast", found, None, "RepeatLast", FACTS, {})
    assert "validation chose it among 2 models, and it is one of the simplest." in text
    assert "It is better than GRU4Rec, the next one" in text and "best of the simplest" not in text


def test_alone_with_those_that_were_left_out():
    one = comparison({"Pop": 0.1}, {})
    late = "3 minutes did not suffice"
    left = {"SASRec": late, "Mine": "cannot be read", "HRNNFeat": late}
    text = study_text("Pop", one, None, "Pop", FACTS, left)
    assert "Take Pop: no other model was tried to its end, and it is one of the simplest." in text
    assert "Nothing says that it is better than any other." in text
    assert "Left out: SASRec and HRNNFeat (3 minutes did not suffice); Mine (cannot be read)." in text
    assert "How sure" not in text


def row(dimension, name, state, p, new=0.2, old=0.1):
    return {"dimension": dimension, "slice": name, "state": state, "p_kept": p, "new": new, "old": old}


def test_for_whom_it_is_better():
    rows = [
        row("all", "all", "as good", 0.0001),
        row("visitor", "new", "as good", 0.0001),
        row("visitor", "returning", "as good", 0.04),  # not among five tests
        row("repeat", "repeat", "fallen", 1.0, new=0.05),
        row("item", "cold", "not known", 1.0, new=0.0, old=0.0),  # nobody ranks them
        row("item", "warm", "as good", 0.0001),
        row("length", "1", "as good", 0.0001),  # not spoken of
    ]
    text = study_text("HRNNFeat", CLEAR, {"rows": rows}, "Pop", FACTS, {})
    assert (
        "Beside Pop it is better for new visitors and items with more than 5 training events; worse for items that the "
        "session had before; not to be told from it for returning visitors." in text
    )
    text = study_text("HRNNFeat", CLEAR, {"rows": [rows[0], rows[1], rows[5], rows[5]]}, "Pop", FACTS, {})
    assert "Beside Pop it is better for every kind of visitor and item that was looked at." in text


def test_of_a_small_log_it_says_so_first_and_of_a_part_that_was_read_again_how_often():
    text = study_text("HRNNFeat", {**CLEAR, "targets": 12}, None, "Pop", FACTS, {})
    assert text.startswith("This log is too small to choose by: 12 events to guess.")
    assert "looked at once" in text
    text = study_text("HRNNFeat", CLEAR, None, "Pop", FACTS, {}, readings=3)
    assert text.startswith("Take HRNNFeat") and "looked at 3 times, which the page lists (" in text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"days": None}, "how it changes with time (no times)"),
        ({"days": 3.0}, "what changes with the week or the season (3.0 days)"),
        ({"cold": 0.4}, "much of its newest items (40 % of the events to guess"),
        ({"returning": None}, "what returning visitors want"),
        ({"features": []}, "what to do with new items (no item data)"),
        ({"kinds": {"view": 9}}, "what leads to a purchase (one kind of event)"),
        (
            {"targets": {"train": 1, "valid": 1, "test": 90}},
            "small differences (380 test sessions, 90 events",
        ),
    ],
)
def test_what_the_log_cannot_tell(more, said):
    assert said not in study_text("HRNNFeat", CLEAR, None, "Pop", FACTS, {})
    assert said in study_text("HRNNFeat", CLEAR, None, "Pop", {**FACTS, **more}, {})


# --- pages --------------------------------------------------------------------------------------------------


def test_the_first_page_says_all_and_leads_on():
    page = study_page(
        Found(
            name="shop",
            text="Take <it>.",
            facts={**FACTS, "cold": 0.4},
            comparison=CLEAR,
            validation={"HRNNFeat": 0.31, "GRU4Rec": 0.26, "Pop": -0.1},
            winner="HRNNFeat",
            left_out={"SASRec": "3 minutes did not suffice"},
            commands=["recbole-ext recommend runs/studies/shop/chosen --session a,b --k 5"],
            pages={"The log": "log.html", "The models": "experiment/index.html"},
            again="recbole-ext study shop.csv",
            minutes=3.0,
            used=100.0,
        )
    )
    assert "Take &lt;it&gt;." in page
    for part in (
        '<a href="log.html">The log</a>',
        "--session a,b --k 5",
        "study shop.csv",
        "did not suffice",
    ):
        assert part in page
    assert "40 % of the test events are of items that training never saw" in page
    assert page.index("Take &lt;") < page.index("recbole-ext recommend") < page.index("study shop.csv")
    texts = re.findall(r'<span class="text">([^<]*)</span>', page)
    assert texts[texts.index("HRNNFeat") :][:4] == ["HRNNFeat", ".3100", ".3000", ".6000"]


def test_the_page_of_a_log():
    page = log_page(FACTS, {"log.csv": {"read": 10, "kept": 9, "dropped": {"no item": 1}}})
    assert (
        "9,000 events in 2,000 sessions of 900 visitors on 300 items, from 2026-05-04 to 2026-05-31." in page
    )
    assert page.count("<img ") == 2 and "no item: 1" in page and "Events by kind" in page
    assert "On average .40 of the most popular items stay so." in page and "the last one is cut short" in page
    bare = {
        **FACTS,
        "periods": [],
        "days": None,
        "test_days": None,
        "returning": None,
        "kinds": {},
        "features": [],
    }
    page = log_page(bare, {})
    assert page.count("<img ") == 1 and "too short, or has no times" in page and "not known" in page
    assert "Nothing is known of the items but who looked at them." in page


def test_the_log_in_words():
    few = {**FACTS, "parts": {"train": 1, "valid": 1, "test": 1}, "targets": {"test": 1}, "newest": False}
    said = in_words({**few, "tested": 1, "visitors": None, "returning": None, "cold": None, "days": None})
    assert said == (
        "9,000 events in 2,000 sessions on 300 items. The 1 session is the test. 1 of them holds 1 event "
        "to guess."
    )
