"""A run is four values, parsed once: what a configuration's keys say, checked, with their types.

`read_given` looks at what the user gave, before anybody else reads it; `parse` at all values of a run, defaults among
them. Both raise UsageError for the first value that is wrong. What somebody gave and nothing reads: unread.py.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeVar

from recbole_ext.settings.base import ModelSettings, Settings, heads_fit, plain
from recbole_ext.settings.of_model import settings_class
from recbole_ext.settings.place import Place
from recbole_ext.settings.protocol import Protocol
from recbole_ext.settings.training import Training

_Asked = TypeVar("_Asked", bound=Settings)

GENERAL: tuple[type[Settings], ...] = (Protocol, Training, Place)
# keys of Training and Place that some models declare themselves, and then say what they may be
OF_MODELS_TOO = frozenset({"temperature", "recency"})


@dataclass(frozen=True)
class RunSettings:
    """What a run is. A key that a model's class declares itself is read as that class says, see `of`."""

    protocol: Protocol
    model: ModelSettings
    training: Training
    place: Place

    @classmethod
    def read(cls, values: Mapping[str, Any], model_class: type) -> RunSettings:
        """The settings that `values` say, each key alone checked."""
        own = settings_class(model_class)
        found: dict[str, Any] = {"model": own.read(_of(own, values))}
        for name, group in zip(("protocol", "training", "place"), GENERAL):
            asked = _of(group, values)
            if group is not Protocol:  # a model's own temperature is not that of `score`
                asked = {key: value for key, value in asked.items() if key not in own.model_fields}
            found[name] = group.read(asked)
        return cls(**found)

    def __reduce__(self) -> Any:
        """RecBole pickles its Config, and a class made on the way has no name to be found by: None is kept."""
        return type(None), ()

    def check(self) -> None:
        """Raise UsageError where two keys cannot go together."""
        self.protocol.check()
        self.training.check()
        self.model.check()
        self.model.check_beside(self.training)
        size = getattr(self.model, "hidden_size", None) or getattr(self.model, "embedding_size", None)
        heads = getattr(self.model, "n_heads", None)
        if isinstance(size, int) and isinstance(heads, int):
            heads_fit(size, heads)

    def groups(self) -> tuple[Settings, ...]:
        """The four, the model's own first, as what it says of a key wins."""
        return self.model, self.protocol, self.training, self.place


def settings_of(config: Any, cls: type[_Asked]) -> _Asked:
    """Of the settings of a run those of class `cls`: Protocol, Training, Place, or a class of its model's.

    config: RecBole's Config, whose `run_settings` are asked, or any mapping, which is read then.
    """
    known = getattr(config, "run_settings", None)
    found = next((group for group in known.groups() if isinstance(group, cls)), None) if known else None
    return cls.read(_of(cls, config)) if found is None else found


def parse(values: Mapping[str, Any], model_class: type) -> RunSettings:
    """The settings of a run, all checked, also against each other."""
    settings = RunSettings.read(values, model_class)
    settings.check()
    return settings


def read_given(given: Mapping[str, Any], model_class: type) -> dict[str, Any]:
    """What a user gave, its values checked and written as they are meant (`no` as False); unknown keys stay."""
    values = dict(given)
    write_back(values, RunSettings.read(values, model_class))
    return values


def read_general(given: Mapping[str, Any]) -> None:
    """Raise UsageError for the first value that no model's run can have; unknown keys, and models' own, are passed
    over."""
    for group in GENERAL:
        group.read({key: value for key, value in _of(group, given).items() if key not in OF_MODELS_TOO})


def write_back(values: MutableMapping[str, Any], settings: RunSettings) -> None:
    """Put what the settings understood in place of what was written, where these differ: flags as words and such."""
    for group in reversed(settings.groups()):
        for name in group.model_fields_set:
            values[name] = did_you_mean(getattr(group, name), values[name])


def did_you_mean(understood: Any, written: Any) -> Any:
    """Values as they were understood, in the form in which they were written."""
    if isinstance(understood, Settings) and isinstance(written, Mapping):
        return {name: did_you_mean(getattr(understood, name), item) for name, item in written.items()}
    if isinstance(understood, bool) or (
        isinstance(understood, list) and not isinstance(written, list | tuple)
    ):
        return understood
    return understood if isinstance(understood, str) and isinstance(written, list | tuple) else written


def _of(group: type[Settings], values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(values[name]) for name in group.model_fields if name in values}
