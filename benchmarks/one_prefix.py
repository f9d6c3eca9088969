"""Session neighbours and item rules one prefix at a time, in plain Python, as the field's own code does it.

Dictionaries of sessions by item and of items by session, sets, a sort, and a loop over neighbours and their items. It
is what recbole_ext/model/counting/neighbours.py and item_rules.py are measured against and, in the tests, compared
with.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import exp, log, log10, sqrt
from typing import Any

DAY = 86400


def step_weight(name: str, steps: float) -> float:
    """Weight of what lies so many steps back, from 1."""
    if name == "same":
        return 1.0
    if name == "div":
        return 1 / steps
    if name == "linear":
        return max(1 - 0.1 * steps, 0)
    if name == "log":
        return 1 / log10(steps + 1.7)
    return 1 / steps**2


def place_weight(name: str, place: int, length: int) -> float:
    """VSKNN's weight of the item at a place, from 1, of a session."""
    if name == "same":
        return 1.0
    if name == "div":
        return place / length
    if name == "linear":
        return max(1 - 0.1 * (length - place), 0)
    if name == "log":
        return 1 / log10(length - place + 1.7)
    return (place / length) ** 2


class Neighbours:
    """SKNN, VSKNN, STAN or VSTAN with the settings of its yaml file.

    sessions: (id, time of the last event in seconds, items) each, from old to new; timed: whether ages are in days.
    """

    def __init__(
        self,
        model: str,
        settings: Mapping[str, Any],
        sessions: Sequence[tuple[Any, float, Sequence[int]]],
        timed: bool,
    ):
        self.model, self.settings = model, settings
        self.last = {name: {item: place for place, item in enumerate(items)} for name, _, items in sessions}
        self.place = {name: place for place, (name, _, _) in enumerate(sessions)}
        self.sessions_of: dict[int, set[Any]] = defaultdict(set)
        for name, items in self.last.items():
            for item in items:
                self.sessions_of[item].add(name)
        times = [time for _, time, _ in sessions]
        self.age = {
            name: (times[-1] - time) / DAY if timed else 100 - 100 * bisect_right(times, time) / len(times)
            for name, time, _ in sessions
        }
        self.idf = {item: log(len(sessions) / len(names)) for item, names in self.sessions_of.items()}

    def scores(self, prefix: Sequence[int], own: Any = None) -> dict[int, float]:
        """Score by item of what may come after a prefix of items, which is of session `own`."""
        settings = self.settings
        known = set(prefix)
        candidates: set[Any] = set()
        for item in known:
            candidates |= self.sessions_of.get(item, set())
        candidates.discard(own)
        recent = sorted(candidates, key=self.place.__getitem__, reverse=True)
        if settings["sample_size"]:
            recent = recent[: settings["sample_size"]]
        similar = self._similarities(prefix, known, recent)
        nearest = sorted(similar, key=lambda pair: -pair[1])[: settings["k"]]  # alike: the newer first
        distance = settings.get("lambda_inh")
        idf = settings.get("idf_weighting", settings.get("lambda_idf", 0))
        found: dict[int, float] = {}
        for name, value in nearest:
            last = self.last[name]
            value *= self._match(prefix, last)
            anchor = max(last[item] for item in known if item in last)
            for item, place in last.items():
                if item in known and not settings["remind"]:
                    continue
                share = value * (1 + idf * self.idf[item])
                if distance is not None:
                    share *= exp(-abs(place - anchor) / distance)
                found[item] = found.get(item, 0) + share
        return {item: value for item, value in found.items() if value > 0}

    def _similarities(
        self, prefix: Sequence[int], known: set[int], recent: list[Any]
    ) -> list[tuple[Any, float]]:
        weights = {item: self._weight(place, len(prefix)) for place, item in enumerate(prefix, start=1)}
        norm = sqrt(sum(weight * weight for weight in weights.values()))
        rate = self.settings.get("lambda_snh")
        newest = min((self.age[name] for name in recent), default=0)
        similar = []
        for name in recent:
            items = self.last[name]
            value = sum(weights[item] for item in known & items.keys())
            value /= len(weights) if self.model == "VSKNN" else norm * sqrt(len(items))
            if rate is not None:
                value *= exp(-(self.age[name] - newest) / rate)
            if value > 0:
                similar.append((name, value))
        return similar

    def _weight(self, place: int, length: int) -> float:
        if self.model == "VSKNN":
            return place_weight(self.settings["weighting"], place, length)
        rate = self.settings.get("lambda_spw")
        return 1.0 if rate is None else exp((place - length) / rate)

    def _match(self, prefix: Sequence[int], last: Mapping[int, int]) -> float:
        back = next(step for step, item in enumerate(reversed(prefix), start=1) if item in last)
        if self.model == "VSKNN":
            return step_weight(self.settings["weighting_score"], back)
        rate = self.settings.get("lambda_ipw")
        return 1.0 if rate is None else exp(-(back - 1) / rate)


class Rules:
    """AR or SR with the settings of its yaml file."""

    def __init__(
        self, model: str, settings: Mapping[str, Any], sessions: Sequence[tuple[Any, float, Sequence[int]]]
    ):
        self.rules: dict[int, Counter] = defaultdict(Counter)
        for _, _, items in sessions:
            for place, item in enumerate(items):
                for back in range(1, place + 1):
                    before = items[place - back]
                    if model == "AR":
                        self.rules[before][item] += 1
                        self.rules[item][before] += 1
                    elif back <= settings["steps"]:
                        self.rules[before][item] += step_weight(settings["weighting"], back)
        most = settings["rules_per_item"]
        if most:
            for item, rules in self.rules.items():
                ordered = sorted(rules.items(), key=lambda rule: (-rule[1], rule[0]))
                self.rules[item] = Counter(dict(ordered[:most]))

    def scores(self, prefix: Sequence[int], own: Any = None) -> dict[int, float]:
        """Score by item of what may come after a prefix of items."""
        rules = self.rules.get(prefix[-1], {}) if len(prefix) else {}
        return {item: value for item, value in rules.items() if value > 0}


class InSession:
    """RepeatLast or SessionPop; events: training events by item."""

    def __init__(self, model: str, events: Mapping[int, int]):
        self.model = model
        counts = sorted({0, *events.values()})
        self.share = {item: (counts.index(n) + 1) / (len(counts) + 1) for item, n in events.items()}
        self.least = 1 / (len(counts) + 1)

    def scores(self, prefix: Sequence[int], own: Any = None) -> dict[int, float]:
        """Score by item of what may come after a prefix of items."""
        if not len(prefix):
            return {}
        if self.model == "RepeatLast":
            return {prefix[-1]: 1.0}
        return {item: n + self.share.get(item, self.least) for item, n in Counter(prefix).items()}


def peer(
    model: str, settings: Mapping[str, Any], sessions: Sequence[tuple[Any, float, Sequence[int]]], timed: bool
) -> Neighbours | Rules | InSession:
    """The plain counterpart of one of our models, which has learnt the sessions."""
    if model in ("AR", "SR"):
        return Rules(model, settings, sessions)
    if model in ("RepeatLast", "SessionPop"):
        return InSession(model, Counter(item for _, _, items in sessions for item in items))
    return Neighbours(model, settings, sessions, timed)
