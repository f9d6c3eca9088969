"""The body of a request as a typed question, and its answer as JSON. What is wrong is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import to_json

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.recommend import Lists, Question, Session
from recbole_ext.settings.limits import Limits

Item = StrictStr | StrictInt
Items = list[Item]

EXAMPLE = '{"sessions": [["17", "42"]], "k": 5}'


class AskedSession(BaseModel):
    """A session with more than its items."""

    model_config = ConfigDict(extra="forbid")

    items: Items = Field(description="the shop's own ids, oldest first")
    id: StrictStr | StrictInt | None = Field(
        None, description="what its list is called; without it, its place from 0"
    )
    history: list[Items] = Field(
        default_factory=list, description="the visitor's earlier sessions, oldest first, each its items"
    )
    times: list[FiniteFloat] | None = Field(
        None, description="when each event happened: Unix seconds, or running numbers where the log has such"
    )
    events: list[StrictStr] | None = Field(None, description="the kind of each event, as the log calls it")


class Asked(BaseModel):
    """A request for lists."""

    model_config = ConfigDict(extra="forbid")

    sessions: list[Items | AskedSession] = Field(
        description="each a list of items (the shop's own ids), oldest first, or an object; a session may be empty"
    )
    k: Annotated[StrictInt, Field(ge=1)] = Field(20, description="items of a list, from 1")
    exclude: Items | list[Items] | dict[StrictStr, Items] | None = Field(
        None,
        description="items that may not stand in the lists: one list for all sessions, a list of lists, one a session, "
        "or an object from a session's id to its list",
    )
    candidates: Items | list[Items] | dict[StrictStr, Items] | None = Field(
        None, description="the only items that may stand in the lists, written as exclude is"
    )
    exclude_seen: StrictBool = Field(False, description="no item of the session itself")
    where: StrictStr | None = Field(
        None, description='a condition on item features, such as "available == 1 and price < 50"'
    )
    history: list[list[Items]] | None = Field(
        None, description="what the visitors did before: one entry a session, a list of earlier sessions"
    )
    why: StrictBool = Field(False, description="say what speaks for each item")
    empty: Literal["start", "popular"] = Field(
        "start",
        description="what a session without any known item gets: what the model ranks before a first event, or what "
        "was popular last",
    )
    fill: StrictBool = Field(False, description="fill short lists with popular items, whose score is null")


class AnsweredList(BaseModel):
    """One session's list, best item first."""

    session: str | int = Field(description="the session's id, or its place from 0")
    items: list[str]
    scores: list[float | None] = Field(description="null where an item stands for its popularity alone")
    why: dict[str, list[float | bool]] | None = Field(
        None, description="what speaks for each item, by name, where it was asked for"
    )


class Answered(BaseModel):
    """Lists, in the order of the sessions."""

    run: str = Field(description="the run that ranked")
    lists: list[AnsweredList]
    report: dict[str, int | list[str]] = Field(
        description="what was left out, counted; its notes say the same in sentences"
    )


WRITE: Mapping[str, str] = {
    "sessions": 'a list of sessions, each a list of items such as ["4711", "42"]',
    "items": 'a list of items such as ["4711", "42"]',
    "id": "text or a whole number",
    "times": "a number an item, Unix seconds",
    "events": "the kind of each event as text",
    "k": "a whole number from 1",
    "exclude": "a list of items, or one list a session",
    "candidates": "a list of items, or one list a session",
    "exclude_seen": "true or false",
    "where": 'a condition as text, such as "price < 50"',
    "history": "for each session the list of its visitor's earlier sessions, each a list of items",
    "why": "true or false",
    "empty": "start or popular",
    "fill": "true or false",
}


_OF_ITEMS = ("sessions", "items", "exclude", "candidates", "history")


def question_of(body: bytes, limits: Limits) -> Question:
    """The question of a request's body; UsageError, in one sentence, for a body that is none or asks for too much."""
    try:
        asked = Asked.model_validate_json(body)
    except ValidationError as error:
        raise UsageError(_sentence(error, body)) from None
    _check(asked, limits)
    return Question(
        [one if isinstance(one, list) else Session(**vars(one)) for one in asked.sessions],
        k=asked.k,
        exclude=asked.exclude,
        candidates=asked.candidates,
        exclude_seen=asked.exclude_seen,
        where=asked.where,
        history=asked.history,
        why=asked.why,
        empty=asked.empty,
        fill=asked.fill,
    )


def answer_of(lists: Lists, run: str) -> bytes:
    """The answer's JSON; `run` is the name of the run that ranked."""
    found = []
    there = lists.items != 0
    whole = bool(there.all())
    for place, session in enumerate(lists.labels.tolist()):
        own = slice(None) if whole else there[place]
        one: dict[str, Any] = {
            "session": session,
            "items": lists.names[lists.items[place, own]].tolist(),
            "scores": lists.scores[place, own].tolist(),
        }
        if lists.evidence:
            one["why"] = {name: values[place, own].tolist() for name, values in lists.evidence.items()}
        found.append(one)
    return to_json({"run": run, "lists": found, "report": vars(lists.report)}, inf_nan_mode="null")


def _check(asked: Asked, limits: Limits) -> None:
    events = sum(
        len(one) if isinstance(one, list) else len(one.items) + sum(map(len, one.history))
        for one in asked.sessions
    )
    events += sum(len(session) for past in asked.history or () for session in past)
    for count, most, what, do in (
        (len(asked.sessions), limits.sessions, "sessions", "ask in several requests"),
        (events, limits.events, "events", "send the last events of each session, or ask in several requests"),
        (asked.k, limits.k, "items a list", "ask for fewer"),
        (len(asked.where or ""), limits.where, "characters of where", "write less, or give candidates"),
    ):
        if count > most:
            raise UsageError(f"the request asks for {count:,} {what} and this server takes {most:,}: {do}")


# --- what is wrong ------------------------------------------------------------------------------------------


def _sentence(error: ValidationError, body: bytes) -> str:
    """The first mistake that lies deepest in the body: one of a union's branches got furthest there."""
    found = error.errors(include_url=False, include_context=False)
    first = found[0]
    if first["type"] == "json_invalid":
        said = first["msg"].partition(": ")[2]
        return f"the body is no JSON ({said}): send an object such as {EXAMPLE}"
    whole = json.loads(body)
    if not isinstance(whole, dict):
        return f"the body is {_kind(whole)}: send an object such as {EXAMPLE}"
    field = first["loc"][0]
    same = [one for one in found if one["loc"][:1] == (field,)]
    path, one = max(
        ((_path(whole, one["loc"]), one) for one in same),
        key=lambda pair: len(pair[0]) + (pair[1]["type"] == "missing"),
    )
    at = _value(whole, path)
    if one["type"] == "extra_forbidden":
        *above, name = path
        known = AskedSession.model_fields if above else Asked.model_fields
        hint = did_you_mean(str(name), known) or f": there are {', '.join(known)}"
        return f"{_written([*above])}has no field {name}{hint}"
    if one["type"] == "missing":
        name = str(one["loc"][-1])
        return f"{_written(path)}lacks {name}: write {WRITE[name]}"
    last = next(str(part) for part in reversed(path) if isinstance(part, str) and part in WRITE)
    if isinstance(whole[field], list) and field in ("exclude", "candidates"):
        lists = sum(isinstance(entry, list) for entry in whole[field])
        if 0 < lists < len(whole[field]):
            return f"{field} mixes items and lists: write {WRITE[last]}"
    if one["type"] in ("string_type", "int_type") and last in _OF_ITEMS:
        write = "an item's id as text or a whole number"
    else:
        write = WRITE[last]
    return f"{_written(path).strip()} is {_kind(at)}: write {write}"


def _path(whole: Any, place: Sequence[str | int]) -> list[str | int]:
    """The parts of an error's place that lead through the body: pydantic names the branches of unions too."""
    path: list[str | int] = []
    at = whole
    for part in place:
        if (isinstance(at, dict) and isinstance(part, str) and part in at) or (
            isinstance(at, list) and isinstance(part, int) and part < len(at)
        ):
            at = at[part]  # type: ignore[index]
            path.append(part)
    return path


def _value(whole: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        whole = whole[part]
    return whole


def _written(path: Sequence[str | int]) -> str:
    """A place as text: `sessions[0].items[2]`, with a space behind; the body's own is called so."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text.removeprefix('.')} " if text else "the request "


def _kind(value: Any) -> str:
    """A value as a sentence names it, cut."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value):,}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:40]}…"
