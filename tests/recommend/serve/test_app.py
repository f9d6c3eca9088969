"""Answers over HTTP: those of the Recommender, and one sentence for what is refused."""

import asyncio
import json
import math
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from recbole_ext.recommend import Session
from recbole_ext.recommend.serve.app import Service
from recbole_ext.settings.limits import Limits

from .conftest import asked, recommended


def run(*requests):
    """The replies to requests made together."""

    async def main():
        return await asyncio.gather(*requests)

    return asyncio.run(main())


def plain(lists):
    """What an answer says, of `Recommender.lists`."""
    found = []
    for place, session in enumerate(lists.labels.tolist()):
        there = lists.items[place] != 0
        scores = lists.scores[place, there].tolist()
        one = {
            "session": session,
            "items": lists.names[lists.items[place, there]].tolist(),
            "scores": [None if math.isnan(score) else score for score in scores],
        }
        if lists.evidence:
            one["why"] = {name: values[place, there].tolist() for name, values in lists.evidence.items()}
        found.append(one)
    return found


def near(found, expected):
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected):
        assert mine.keys() == theirs.keys()
        assert (mine["session"], mine["items"]) == (theirs["session"], theirs["items"])
        for own, other in zip(mine["scores"], theirs["scores"], strict=True):
            assert own is other is None or own == pytest.approx(other, rel=1e-4, abs=1e-6)
        for name, values in theirs.get("why", {}).items():
            assert mine["why"][name] == pytest.approx(values, rel=1e-4, abs=1e-6)


QUESTIONS = [
    {"sessions": [["i1", "i2"]]},
    {"sessions": [["i1"], [], ["i3", "nothing"]], "k": 5, "why": True},
    {"sessions": [["i4", "i5"]], "k": 3, "exclude": ["i6", "i7"], "exclude_seen": True},
    {"sessions": [["i4"], ["i9"]], "candidates": [["i1", "i2"], ["i3"]], "k": 4, "fill": True},
    {"sessions": [["i8"]], "where": "price < 9 and available == 1", "why": True},
    {"sessions": [["i8"]], "history": [[["i1", "i2"], ["i3"]]], "why": True, "k": 7},
    {"sessions": [["nothing"]], "empty": "popular", "k": 3},
]


def test_lists_are_those_of_the_recommender_however_many_ask_at_once(service, asked_hrnn):
    service.batcher._queue = 100
    app = service.app()
    replies = run(*(recommended(app, question) for question in QUESTIONS * 3))
    assert service.metrics.registry.get_sample_value("recbole_ext_model_requests_count") < len(QUESTIONS) * 3
    for question, reply in zip(QUESTIONS * 3, replies):
        assert reply.status == 200 and reply.headers["content-type"] == "application/json"
        lists = asked_hrnn.lists(**question)
        near(reply.json["lists"], plain(lists))
        assert reply.json["report"] == vars(lists.report)
        assert reply.json["run"] == asked_hrnn.path.parent.name


def test_a_session_may_say_more_than_its_items(service, asked_hrnn):
    given = {
        "id": "a",
        "items": ["i1", "i2"],
        "history": [["i5"]],
        "times": [1.5e9, 1.6e9],
        "events": ["view", "view"],
    }
    (reply,) = run(recommended(service.app(), {"sessions": [given], "exclude": {"a": ["i3"]}, "k": 40}))
    lists = asked_hrnn.lists([Session(**given)], 40, exclude={"a": ["i3"]})
    near(reply.json["lists"], plain(lists))
    assert reply.json["lists"][0]["session"] == "a" and "i3" not in reply.json["lists"][0]["items"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is no JSON (EOF"),
        (b'{"sessions": [', "the body is no JSON (EOF"),
        (b"\xff\xfe", "the body is no JSON ("),
        (b"[" * 3000, "the body is no JSON (recursion limit"),
        (b"[1]", "the body is a list of 1: send an object such as"),
        (b'"x"', 'the body is "x": send an object'),
        (b"{}", "the request lacks sessions: write a list of sessions"),
        ({"session": [["i1"]]}, "the request lacks sessions"),
        ({"sessions": [["i1"]], "excluded": []}, "the request has no field excluded: did you mean exclude?"),
        ({"sessions": [["i1"]], "path": "/etc/passwd"}, "the request has no field path: "),
        ({"sessions": "i1"}, 'sessions is "i1": write a list of sessions'),
        ({"sessions": ["i1"]}, 'sessions[0] is "i1": write a list of sessions'),
        ({"sessions": [["i1", 1.5]]}, "sessions[0][1] is 1.5: write an item's id"),
        ({"sessions": [["i1", None]]}, "sessions[0][1] is null: write an item's id"),
        ({"sessions": [["i1", True]]}, "sessions[0][1] is true: write an item's id"),
        ({"sessions": [{"items": [["i1"]]}]}, "sessions[0].items[0] is a list of 1: write an item's id"),
        ({"sessions": [{"id": "a"}]}, "sessions[0] lacks items: write a list of items"),
        ({"sessions": [{"items": [], "time": []}]}, "sessions[0] has no field time: did you mean times?"),
        ({"sessions": [{"items": ["i1"], "times": ["x"]}]}, 'sessions[0].times[0] is "x": write a number'),
        (b'{"sessions": [{"items": ["i1"], "times": [NaN]}]}', "sessions[0].times[0] is NaN: write a number"),
        ({"sessions": [{"items": ["i1"], "times": [1, 2]}]}, "session 0 has 1 item and 2 times"),
        ({"sessions": [["i1"]], "k": "5"}, 'k is "5": write a whole number from 1'),
        ({"sessions": [["i1"]], "k": 0}, "k is 0: write a whole number from 1"),
        ({"sessions": [["i1"]], "k": True}, "k is true: write a whole number"),
        ({"sessions": [["i1"]], "k": 10**30}, "this server takes 40: ask for fewer"),
        ({"sessions": [["i1"]], "k": 41}, "asks for 41 items a list and this server takes 40: ask for fewer"),
        ({"sessions": [[]] * 5}, "asks for 5 sessions and this server takes 4: ask in several"),
        ({"sessions": [["i1"] * 51]}, "asks for 51 events and this server takes 50"),
        ({"sessions": [["i1"]], "history": [[["i1"] * 50]]}, "asks for 51 events"),
        ({"sessions": [{"items": ["i1"], "history": [["i1"] * 50]}]}, "asks for 51 events"),
        ({"sessions": [["i1"]], "where": "price < 1" + " " * 60}, "characters of where"),
        ({"sessions": [["i1"]], "exclude": [["i1"], "i2"]}, "exclude mixes items and lists"),
        ({"sessions": [["i1"]], "exclude": [["i1"], ["i2"]]}, "exclude has 2 lists for 1 sessions"),
        ({"sessions": [["i1"]], "candidates": 3}, "candidates is 3: write a list of items"),
        ({"sessions": [["i1"]], "where": "weight < 3"}, "the items have no feature weight"),
        ({"sessions": [["i1"]], "where": "open('x')"}, "where cannot read"),
        ({"sessions": [["i1"]], "why": 1}, "why is 1: write true or false"),
        ({"sessions": [["i1"]], "empty": "none"}, 'empty is "none": write start or popular'),
        ({"sessions": [["i1"]], "history": [["i2"]]}, 'history[0][0] is "i2": write for each session'),
        ({"sessions": [["i1"]], "history": []}, "history has 0 entries for 1 sessions"),
    ],
)
def test_what_is_no_question_is_refused_in_one_sentence(service, body, said):
    (reply,) = run(recommended(service.app(), body))
    assert reply.status == 422 and said in reply.error and "\n" not in reply.error
    assert len(reply.error) < 300


def test_a_large_body_is_refused_unread_or_cut_off(service):
    app = service.app()
    ten_mb = b"x" * 10_000_000
    said, unsaid, right = run(
        asked(app, "POST", "/recommend", [None], {"Content-Length": "10000000"}),
        asked(app, "POST", "/recommend", [ten_mb[:4000]] * 2500),
        asked(app, "POST", "/recommend", [b'{"sessions": [["i1"]', b"]}"]),
    )
    for reply in (said, unsaid):
        assert reply.status == 413 and "more than 5,000 bytes" in reply.error
    assert right.status == 200


def test_who_sends_slowly_or_leaves_holds_nothing_up(served):
    service = Service(served, Limits(timeout=0.05))
    slow, gone = run(
        asked(service.app(), "POST", "/recommend", [b"{", b"}"], pause=0.2),
        asked(service.app(), "POST", "/recommend", [b"{", None]),
    )
    assert slow.status == 408 and "did not come within 0.05 s" in slow.error
    assert gone.status == 400
    counted = service.metrics.registry.get_sample_value
    assert counted("recbole_ext_requests_total", {"path": "/recommend", "status": "499"}) == 1


class Held:
    """A model that answers when it may."""

    def __init__(self, served):
        self.served, self.may, self.now = served, threading.Event(), served.now

    def answer(self, questions):
        assert self.may.wait(20)
        return self.served.answer(questions)


def test_a_full_queue_sends_away_and_says_when_to_come_back(served):
    held = Held(served)
    service = Service(held, Limits(queue=2, timeout=20))
    app = service.app()

    async def main():
        question = {"sessions": [["i1"]]}
        first = asyncio.create_task(recommended(app, question))
        while not service.batcher.busy:
            await asyncio.sleep(0)
        two = [asyncio.create_task(recommended(app, question)) for _ in range(2)]
        while not service.batcher.full:
            await asyncio.sleep(0)
        away = await recommended(app, question)
        unready, healthy = await asked(app, "GET", "/ready"), await asked(app, "GET", "/health")
        held.may.set()
        return away, unready, healthy, await asyncio.gather(first, *two), await asked(app, "GET", "/ready")

    away, unready, healthy, others, ready = asyncio.run(main())
    assert away.status == 503 and away.headers["retry-after"] == "1" and "2 requests wait" in away.error
    assert unready.status == 503 and healthy.status == 200 and ready.status == 200
    assert [reply.status for reply in others] == [200, 200, 200]


def test_no_answer_in_time_is_said(served):
    held = Held(served)
    service = Service(held, Limits(timeout=0.05))

    async def main():
        reply = await recommended(service.app(), {"sessions": [["i1"]]})
        held.may.set()
        await service.batcher.close()
        return reply

    reply = asyncio.run(main())
    assert reply.status == 503 and reply.headers["retry-after"] == "1"
    assert "no answer within 0.05 s" in reply.error


def test_a_call_that_never_ends_is_no_health(served, monkeypatch):
    monkeypatch.setattr("recbole_ext.recommend.serve.app.STUCK", 0.0)
    held = Held(served)
    service = Service(held, Limits())
    app = service.app()

    async def main():
        task = asyncio.create_task(recommended(app, {"sessions": [["i1"]]}))
        while not service.batcher.busy:
            await asyncio.sleep(0)
        replies = await asked(app, "GET", "/health"), await asked(app, "GET", "/ready")
        held.may.set()
        await task
        return replies

    assert [reply.status for reply in asyncio.run(main())] == [503, 503]


def test_a_fault_of_ours_is_its_requests_own(served, capsys):
    class Faulty(Held):
        def answer(self, questions):
            if any(question.k == 13 for question in questions):
                raise RuntimeError("thirteen")
            return self.served.answer(questions)

    service = Service(Faulty(served), Limits())
    app = service.app()

    async def faulty():
        with pytest.raises(RuntimeError):  # after the answer, for the log
            await recommended(app, {"sessions": [["i1"]], "k": 13})

    _, right = run(faulty(), recommended(app, {"sessions": [["i1"]], "k": 12}))
    assert right.status == 200
    counted = service.metrics.registry.get_sample_value
    assert counted("recbole_ext_requests_total", {"path": "/recommend", "status": "500"}) == 1


def test_a_token_is_asked_for(served):
    app = Service(served, Limits(), token="secret-1").app()
    question = {"sessions": [["i1"]], "k": 2}

    def with_header(value):
        return recommended(app, question, headers={"Authorization": value})

    wrong = ["", "Bearer", "Bearer secret", "Bearer secret-12", "Basic secret-1", "secret-1", "Bearer sécret"]
    *refused, right, lower = run(
        *map(with_header, wrong), with_header("Bearer secret-1"), with_header("bearer secret-1")
    )
    for reply in refused:
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer TOKEN" in reply.error
    assert right.status == lower.status == 200
    open_, closed = ("/", "/docs", "/openapi.json", "/health", "/ready"), ("/model", "/metrics", "/items")
    statuses = [reply.status for reply in run(*(asked(app, "GET", path) for path in open_ + closed))]
    assert statuses == [200] * 5 + [401] * 3
    (large,) = run(asked(app, "POST", "/recommend", [None], {"Content-Length": "10000000"}))
    assert large.status == 401  # before its body is looked at


def test_what_there_is_not(service):
    lost, wrong, read = run(
        asked(service.app(), "GET", "/../../etc/passwd"),
        asked(service.app(), "POST", "/model"),
        asked(service.app(), "GET", "/recommend"),
    )
    assert lost.status == 404 and "/docs says what there is" in lost.error
    assert wrong.status == 405 and set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert read.status == 405 and read.headers["allow"] == "POST"


def test_the_model_says_what_it_is(service, asked_hrnn):
    (reply,) = run(asked(service.app(), "GET", "/model"))
    about = reply.json
    assert about.items() >= json.loads(json.dumps(asked_hrnn.about())).items()
    assert about["run"] == asked_hrnn.path.parent.name and about["examples"] == asked_hrnn.examples
    assert str(asked_hrnn.path.parent.parent) not in reply.body.decode()


def test_items_are_found_by_id_and_by_words(service):
    app = service.app()
    paths = ("q=i1&limit=3", "q=c2", "q=c2+17", "item=i3&item=nothing&item=i0", "q=nosuch", "q=")
    found = [
        [one["item"] for one in r.json["items"]]
        for r in run(*(asked(app, "GET", f"/items?{p}") for p in paths))
    ]
    assert found[0][0] == "i1" and len(found[0]) == 3 and all(item.startswith("i1") for item in found[0])
    assert set(found[1]) == {f"i{n}" for n in range(2, 40, 5)} and found[2] == ["i17"]
    assert found[3] == ["i3", "i0"] and found[4] == [] and len(found[5]) == 20
    wrong = ("limit=0", "limit=x", "limit=²", "limit=101", "q=" + "x" * 101, "page=2")
    for reply in run(*(asked(app, "GET", f"/items?{path}") for path in wrong)):
        assert reply.status == 422 and reply.error


def test_metrics_count(service):
    app = service.app()
    run(
        recommended(app, {"sessions": [["i1"], ["i2"]]}),
        recommended(app, b"{"),
        asked(app, "GET", "/nothing"),
    )
    (reply,) = run(asked(app, "GET", "/metrics"))
    assert reply.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
    }
    assert found["recbole_ext_requests_total", "/recommend", "200"] == 1
    assert found["recbole_ext_requests_total", "/recommend", "422"] == 1
    assert found["recbole_ext_requests_total", "404", "other"] == 1
    assert found["recbole_ext_request_seconds_count", "/recommend"] == 2
    assert found["recbole_ext_model_sessions_sum",] == 2 and found["recbole_ext_model_requests_sum",] == 1
    assert found["recbole_ext_swaps_total", "done"] == 0 and found["recbole_ext_waiting_requests",] == 0
    assert found["recbole_ext_model_loaded_timestamp_seconds",] == service.served.now.since


def test_the_document_names_every_route_and_every_refusal(service):
    app = service.app()
    document = run(asked(app, "GET", "/openapi.json"))[0].json
    routes = {(route.path, method.lower()) for route in app.routes for method in route.methods}
    named = {(path, method) for path, own in document["paths"].items() for method in own}
    assert named == {pair for pair in routes if pair[1] != "head"}

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            value = list(value.values())
        if isinstance(value, list):
            for one in value:
                yield from references(one)

    names = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert names == document["components"]["schemas"].keys()
    asked_ = document["components"]["schemas"]["Asked"]
    assert asked_["properties"]["k"]["maximum"] == 40 and asked_["required"] == ["sessions"]
    assert all(own.get("description") for own in asked_["properties"].values())
    assert document["paths"]["/recommend"]["post"]["responses"].keys() == {"200", "408", "413", "422", "503"}


def test_the_pages_load_nothing_from_elsewhere(service):
    for reply in run(asked(service.app(), "GET", "/"), asked(service.app(), "GET", "/docs")):
        text = reply.body.decode()
        assert "http://" not in text and "https://" not in text and "src=" not in text
        policy = reply.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
    (docs,) = run(asked(service.app(), "GET", "/docs"))
    for word in ("exclude_seen", "/metrics", "Retry-After", "At most 4 sessions"):
        assert word in docs.body.decode()
