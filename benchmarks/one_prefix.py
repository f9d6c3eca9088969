"""Session neighbours and item rules one prefix at a time, in plain Python, as the field's own code does it.

Dictionaries of sessions by item and of items by session, sets, a sort, and a loop over neighbours and their items. It
is what recbole_ext/model/neighbours.py and item_rules.py are measured against and, in the tests, compared with.
"""

from __future__ import annotations

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
        self.items = {name: list(items) for name, _, items in sessions}
        self.sets = {name: set(items) for name, items in self.items.items()}
        self.place = {name: place for place, (name, _, _) in enumerate(sessions)}
        self.sessions_of: dict[int, set[Any]] = defaultdict(set)
        for name, items in self.sets.items():
            for item in items:
                self.sessions_of[item].add(name)
        times = [time for _, time, _ in sessions]
        self.age = {
            name: (times[-1] - time) / DAY if timed else 100 * sum(t > time for t in times) / len(times)
            for name, time, _ in (sessions if settings.get("lambda_snh") is not None else ())
        }
        self.idf = {item: log(len(sessions) / len(names)) for item, names in self.sessions_of.items()}

    def scores(self, prefix: Sequence[int], own: Any = None) -> dict[int, float]:
        """Score by item of what may come after a prefix of items, which is of session `own`."""
        candidates: set[Any] = set()
        for item in set(prefix):
            candidates |= self.sessions_of.get(item, set())
        candidates.discard(own)
        recent = sorted(candidates, key=self.place.__getitem__, reverse=True)
        if self.settings["sample_size"]:
            recent = recent[: self.settings["sample_size"]]
        similar = [(name, self._similarity(prefix, name)) for name in recent]
        if self.settings.get("lambda_snh") is not None and similar:
            newest = min(self.age[name] for name in recent)
            rate = self.settings["lambda_snh"]
            similar = [(name, value * exp(-(self.age[name] - newest) / rate)) for name, value in similar]
        similar = [pair for pair in similar if pair[1] > 0]
        nearest = sorted(similar, key=lambda pair: -pair[1])[: self.settings["k"]]  # alike: the newer first
        found: dict[int, float] = {}
        for name, value in nearest:
            value *= self._match(prefix, name)
            for item in self.sets[name]:
                if self.settings["remind"] or item not in prefix:
                    found[item] = found.get(item, 0) + value * self._item(prefix, name, item)
        return {item: value for item, value in found.items() if value > 0}

    def _similarity(self, prefix: Sequence[int], name: Any) -> float:
        weights = {}
        for place, item in enumerate(prefix, start=1):
            if self.model == "VSKNN":
                weights[item] = place_weight(self.settings["weighting"], place, len(prefix))
            elif self.settings.get("lambda_spw") is not None:
                weights[item] = exp((place - len(prefix)) / self.settings["lambda_spw"])
            else:
                weights[item] = 1.0
        shared = sum(weight for item, weight in weights.items() if item in self.sets[name])
        if self.model == "VSKNN":
            return shared / len(weights)
        return shared / (sqrt(sum(w * w for w in weights.values())) * sqrt(len(self.sets[name])))

    def _match(self, prefix: Sequence[int], name: Any) -> float:
        back = next(step for step, item in enumerate(reversed(prefix), start=1) if item in self.sets[name])
        if self.model == "VSKNN":
            return step_weight(self.settings["weighting_score"], back)
        if self.model == "VSTAN" and self.settings["lambda_ipw"] is not None:
            return exp(-(back - 1) / self.settings["lambda_ipw"])
        return 1.0

    def _item(self, prefix: Sequence[int], name: Any, item: int) -> float:
        weight = 1.0
        items = self.items[name]
        if self.settings.get("lambda_inh") is not None:
            last = {other: place for place, other in enumerate(items)}
            anchor = max(last[other] for other in prefix if other in last)
            weight = exp(-abs(last[item] - anchor) / self.settings["lambda_inh"])
        idf = self.settings.get("idf_weighting", self.settings.get("lambda_idf", 0))
        return weight * (1 + idf * self.idf[item])


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
