"""The space of a search: lists and ranges of values by key, what of it a model has, and combinations of lists.

A range is `{low: 1e-4, high: 1e-2, log: true}`, of whole numbers with `type: int`, in steps with `step`; a list is
`[a, b]`, or `{choices: [a, b]}` where it has a condition: `when: {other_key: value}`, or one of several values.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from recbole_ext.errors import UsageError
from recbole_ext.settings.base import Flag, Number, Role, Settings, key, plain


@dataclass(frozen=True)
class Knob:
    """What is tried of a key: `choices`, or from `low` to `high` with both; when: which other keys' values ask for it.

    kind: int or float, of a range. step: None: every number (of whole ones: 1). log: drawn by the logarithm.
    """

    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    kind: type = float
    step: float | None = None
    log: bool = False
    when: Mapping[str, tuple[Any, ...]] | None = None

    @property
    def is_range(self) -> bool:
        """Whether values lie between two ends, in contrast to a list of them."""
        return not self.choices

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that a check has to look at: all choices, or both ends, between which all others lie."""
        return self.choices or (self.kind(self.low), self.kind(self.high))

    def asked(self, settings: Mapping[str, Any]) -> bool:
        """Whether other keys' values leave something to try of this one."""
        return all(settings.get(other) in values for other, values in (self.when or {}).items())

    def plain(self) -> Any:
        """As plain data, for the identity of what was searched."""
        if not self.is_range and self.when is None:
            return list(self.choices)
        told: dict[str, Any] = {"choices": list(self.choices)} if self.choices else {}
        if self.is_range:
            told = {"low": self.low, "high": self.high, "type": self.kind.__name__}
            told |= {"step": self.step, "log": self.log}
        return told | {"when": {other: list(values) for other, values in (self.when or {}).items()}}


Space = Mapping[str, Knob]


def _number(value: Any) -> Any:
    """yaml reads 1e-4 as a text: it wants 1.0e-4."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Bound = Annotated[Number | None, BeforeValidator(_number)]


class Written(Settings):
    """A knob as it is written, where that is no list."""

    role: ClassVar[Role] = Role.TRAINING

    low: Bound = key(None, "least value of a range")
    high: Bound = key(None, "greatest value of it, tried too")
    type: Literal["float", "int"] = key("float", "int: whole numbers alone")
    log: Flag = key(False, "draw the logarithm evenly, as for learning rates")
    step: Bound = key(None, "from one value to the next, above 0")
    choices: list[Any] | None = key(None, "values, where there is a condition")
    when: dict[str, Any] | None = key(
        None, "other searched keys and the values of them that ask for this key"
    )


def read_space(space: Mapping[str, Any], where: str) -> dict[str, Knob]:
    """What a `search` says, checked; keys that a condition names go before the key that has it.

    where: of the mapping, for the errors: UsageError for what is neither list nor range, and for a wrong condition.
    """
    knobs = {name: _knob(name, value, where) for name, value in space.items()}
    for name, knob in knobs.items():
        for other, values in (knob.when or {}).items():
            _check_condition(knobs, name, other, values, where)
    return _ordered(knobs, where)


def _knob(name: str, value: Any, where: str) -> Knob:
    if isinstance(value, Knob):  # read before
        return value
    if isinstance(value, list | tuple) and value:
        return Knob(choices=_each_once(name, value, where))
    if not isinstance(value, Mapping):
        raise UsageError(
            f"{where} has {name}: {value!r}: write a list of the values to try, or a range as {{low: 1, high: 2}}"
        )
    found = Written.read(value, f"{where}: {name}")
    when = {
        str(other): tuple(wanted) if isinstance(wanted, list) else (wanted,)
        for other, wanted in (found.when or {}).items()
    }
    if found.choices is not None:
        unread = [part for part in value if part not in ("choices", "when")]
        if unread or not found.choices:
            raise UsageError(
                f"{where} has {name}: {plain(value)}: choices go with when alone, and are one at least"
            )
        return Knob(choices=_each_once(name, found.choices, where), when=when or None)
    return _range(name, found, when, where)


def _range(name: str, found: Written, when: Mapping[str, tuple[Any, ...]], where: str) -> Knob:
    def refused(said: str) -> UsageError:
        return UsageError(f"{where}: the range of {name} {said}")

    if found.low is None or found.high is None:
        raise refused("lacks low or high: write both, or a list of values")
    if found.step is not None and found.step <= 0:
        raise refused(f"has the step {found.step:g}: write one above 0")
    if found.low >= found.high:
        raise refused(f"goes from {found.low:g} to {found.high:g}: low has to be below high")
    if found.log and found.low <= 0:
        raise refused(
            f"begins at {found.low:g}, of which there is no logarithm: leave log out, or begin above 0"
        )
    if found.log and found.step is not None:
        raise refused("has both log and step: keep one of them")
    numbers = (found.low, found.high, found.step or 1)
    if found.type == "int" and any(number != int(number) for number in numbers):
        raise refused("is of whole numbers (type: int), and low, high or step is none")
    if found.step is not None and found.step > found.high - found.low:
        raise refused(f"is shorter than its step {found.step:g}")
    kind = int if found.type == "int" else float
    return Knob((), found.low, found.high, kind, found.step, found.log, when or None)


def _each_once(name: str, values: Sequence[Any], where: str) -> tuple[Any, ...]:
    if any(values.count(item) > 1 for item in values):
        raise UsageError(f"{where} names a value of {name} twice: {list(values)}")
    return tuple(values)


def _check_condition(
    knobs: Mapping[str, Knob], name: str, other: str, values: tuple[Any, ...], where: str
) -> None:
    if other not in knobs or other == name:
        raise UsageError(
            f"{where}: {name} has when: {other}, which is no other key of this search: search it too"
        )
    if knobs[other].is_range:
        raise UsageError(
            f"{where}: {name} has when: {other}, which is a range: a condition needs a list of values"
        )
    for value in values:
        if value not in knobs[other].choices:
            raise UsageError(
                f"{where}: {name} has when: {other}: {value}, which is none of {list(knobs[other].choices)}"
            )


def _ordered(knobs: dict[str, Knob], where: str) -> dict[str, Knob]:
    """Those that others wait for first, else as they stand."""
    done: dict[str, Knob] = {}
    while len(done) < len(knobs):
        ready = [
            name
            for name, knob in knobs.items()
            if name not in done and all(other in done for other in knob.when or {})
        ]
        if not ready:
            waiting = next(name for name in knobs if name not in done)
            raise UsageError(
                f"{where}: the condition of {waiting} comes back to itself: leave one of them out"
            )
        done[ready[0]] = knobs[ready[0]]
    return done


def settled(space: Space, settings: Mapping[str, Any]) -> dict[str, Knob]:
    """The space of a model that is not searched over all that conditions name: its settings answer those.

    A key whose condition they do not meet is left out, and so is one whose condition names such a key.
    """
    found: dict[str, Knob] = {}
    for name, knob in space.items():
        fixed = {other: values for other, values in (knob.when or {}).items() if other not in found}
        if all(other not in space and settings.get(other) in values for other, values in fixed.items()):
            left = {other: values for other, values in (knob.when or {}).items() if other in found}
            found[name] = replace(knob, when=left or None)
    return found


# --- combinations of lists ----------------------------------------------------------------------------------


def combinations(space: Space, most: int | None, seed: int) -> list[dict[str, Any]]:
    """At most `most` combinations of lists of values, in the order of their grid; the whole grid if that is smaller.

    Which ones is drawn with `seed` alone, so that models with the same space try the same.
    """
    if not space:
        return []
    total = math.prod(len(knob.choices) for knob in space.values())
    chosen = (
        range(total)
        if most is None or total <= most
        else sorted(random.Random(seed).sample(range(total), most))
    )
    return [_combination(space, place) for place in chosen]


def _combination(space: Space, place: int) -> dict[str, Any]:
    """The `place`-th of the grid, whose last key changes fastest."""
    found = {}
    for name in reversed(list(space)):
        place, digit = divmod(place, len(space[name].choices))
        found[name] = space[name].choices[digit]
    return {name: found[name] for name in space}


def corners(space: Space) -> Iterator[dict[str, Any]]:
    """Combinations whose values are the first and the last of every key, for a check before anything is tried."""
    for place in (0, -1):
        found: dict[str, Any] = {}
        for name, knob in space.items():
            if knob.asked(found):
                found[name] = knob.ends[place]
        yield found
