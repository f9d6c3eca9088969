"""What an experiment asks of a model on a data set, checked whole before the first run.

Every setting and every value of the search is read as the model reads it; what it would pass over is left out with a
sentence, and refused where no model of the experiment reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_ext.bridge.keys import unread_keys
from recbole_ext.errors import UsageError
from recbole_ext.experiment.names import shown
from recbole_ext.experiment.plan import BLEND, Entry, Experiment, space_of
from recbole_ext.experiment.space import Knob, Space, corners, settled
from recbole_ext.settings import roles
from recbole_ext.settings.base import Role
from recbole_ext.settings.files import load_files, merge
from recbole_ext.settings.run_settings import read_given
from recbole_ext.settings.training import OF_STEPS, SWITCHES, idle
from recbole_ext.settings.unread import is_key

QUIET = {"state": "ERROR", "show_progress": False}
_OF_PARTS = ("blend_models", "blend_settings")


@dataclass(frozen=True)
class Asked:
    """A model on a data set as an experiment asks for it.

    common: settings of all models, the command line's among them, that this one reads. unread: those it does not, each
    with a sentence. space: of its search. over: of the command line, over all others.
    one_pass: it learns in one pass. epochs: that a run makes at most, of all that is searched; eval_step: from one
    validation to the next.
    """

    dataset: str
    entry: Entry
    common: Mapping[str, Any]
    over: Mapping[str, Any]
    unread: Mapping[str, str]
    space: Space
    one_pass: bool
    epochs: int
    eval_step: int

    def settings(self, tries: Mapping[str, Any]) -> dict[str, Any]:
        """All keys of a run of it, the command line's last, less what one that is searched switches off here."""
        settings = merge(QUIET, self.common, self.entry.settings, tries, self.over)
        if not set(self.space) & set(SWITCHES):
            return settings
        off = idle(_built(self.dataset, self.entry, settings), settings)
        return {key: value for key, value in settings.items() if key not in off}

    def of_job(self, tries: Mapping[str, Any]) -> dict[str, Any]:
        """Settings that a job is run with: a blend of cells gets its parts from them."""
        settings = self.settings(tries)
        return {key: value for key, value in settings.items() if not self.entry.of or key not in _OF_PARTS}

    def configured(self, tries: Mapping[str, Any], seed: int | None) -> Any:
        """RecBole's Config of a run of it, all checked; None: with the seed of its settings."""
        from recbole_ext.run.run import configure

        settings = self.settings(tries)
        if seed is not None:
            settings["seed"] = seed
        try:
            return configure(self.entry.model, self.dataset, settings)
        except UsageError as error:
            tried = f" with {shown(tries)}" if tries else ""
            raise UsageError(f"{self.entry.label} on {self.dataset}{tried}: {error}") from error

    @property
    def validates_once(self) -> bool:
        """Whether it has one validation score, or scores of one part after the other: nothing to prune by."""
        return self.one_pass or self.entry.model == BLEND

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its records has to know."""
        keys = ", ".join(sorted(self.unread))
        return (f"{self.entry.label} does not read {keys} of the experiment's settings",) if keys else ()


def asked_of(experiment: Experiment, dataset: str, entry: Entry) -> Asked:
    """What one model is asked for; raises UsageError for a value that it cannot use, in any setting or search."""
    from recbole_ext.bridge.choice import path_of

    files = load_files(experiment.files)
    common = merge(files, experiment.settings)
    everything = merge(QUIET, common, entry.settings, experiment.overrides)
    config = _built(dataset, entry, _as_blend(experiment, entry, everything))
    mine = {**entry.settings, **dict.fromkeys(entry.search or ())}
    shared = {key: value for key, value in {**common, **experiment.overrides}.items() if key not in mine}
    tried = {key: knob.ends[0] for key, knob in experiment.search.items() if key not in mine}

    def met(key: str) -> bool:
        """Whether a key is read where its condition is met."""
        when = experiment.search[key].when
        if not when:
            return False
        asking = _built(
            dataset, entry, merge(everything, {other: values[0] for other, values in when.items()})
        )
        return not unread_keys(asking, {key: tried[key]}, searched=True)

    try:
        once = path_of(config).one_pass
        unread = {**unread_keys(config, shared), **unread_keys(config, tried, searched=True)}
        unread = {key: said for key, said in unread.items() if not (key in tried and met(key))}
        for sentence in unread_keys(config, entry.settings).values():
            if entry.search is None:
                raise UsageError(sentence)
    except UsageError as error:
        raise UsageError(f"{entry.label} on {dataset}: {error}") from error
    kept = {key: value for key, value in common.items() if key not in unread}
    over = {key: value for key, value in experiment.overrides.items() if key not in unread}
    space = settled(
        space_of(experiment, entry, set(experiment.search) - set(unread)), config.final_config_dict
    )
    epochs = max(space["epochs"].ends) if "epochs" in space else config["epochs"]
    common = _as_blend(experiment, entry, kept)
    asked = Asked(dataset, entry, common, over, unread, space, once, epochs, config["eval_step"])
    _check_search(asked, config)
    return asked


def _as_blend(experiment: Experiment, entry: Entry, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a blend of two models of the experiment, as one that trains them: their checkpoints are not there."""
    if not entry.of:
        return dict(settings)
    parts = [next(one for one in experiment.models if one.label == label) for label in entry.of]
    own = {
        "blend_models": [part.model for part in parts],
        "blend_settings": [dict(part.settings) for part in parts],
    }
    return {**settings, **own}


def _check_search(asked: Asked, config: Any) -> None:
    """Raise UsageError for a value of a search that the model cannot use, and for a key that it never reads."""
    who = f"{asked.entry.label} on {asked.dataset}"
    for key, knob in asked.space.items():
        if roles.role_of(key, config.model_class) is Role.PLACE:
            raise UsageError(
                f"{who}: search names {key}, which never changes a result: write it into settings"
            )
        for value in knob.ends:
            try:
                read_given({key: value}, config.model_class)
            except UsageError as error:
                raise UsageError(f"{who} with {key}={value}: {error}{_whole_hint(knob, error)}") from error
        sentence = unread_keys(config, {key: knob.ends[0]}, searched=True).get(key)
        switched = knob.when or any(other != key for other in asked.space if other in SWITCHES)
        if sentence and not switched:
            raise UsageError(f"{who}: {sentence}")


def _whole_hint(knob: Knob, error: UsageError) -> str:
    return " (type: int)" if knob.is_range and knob.kind is float and "whole number" in str(error) else ""


def check_sampling(experiment: Experiment, asked: Sequence[Asked]) -> None:
    """Raise UsageError where nothing is searched that a sampler was named for, and where a pruner never prunes."""
    sampling = experiment.sampling
    if not sampling.sampled:
        return
    said = f"sampler is {sampling.sampler}" if sampling.sampler != "grid" else f"pruner is {sampling.pruner}"
    searched = [one for one in asked if one.space]
    if not searched and not experiment.narrowed:
        raise UsageError(f"{said}, and nothing is searched: write search, or leave it out")
    for one in searched:
        for corner in corners(one.space):
            one.configured(corner, None)
    if sampling.pruner == "none" or not searched:
        return
    prunable = [one for one in searched if not one.validates_once]
    if not prunable and not experiment.narrowed:
        raise UsageError(
            f"pruner is {sampling.pruner}, and no model that is searched is validated more than once: leave it out"
        )
    for one in prunable:
        if one.eval_step <= 0 or one.epochs // one.eval_step < 2:
            raise UsageError(
                f"{one.entry.label} on {one.dataset}: pruner is {sampling.pruner}, and {one.epochs} epochs with "
                f"eval_step {one.eval_step} are validated fewer than twice: train for more epochs, or leave pruner out"
            )


def refuse_unread(experiment: Experiment, dataset: str, asked: Sequence[Asked]) -> None:
    """Raise UsageError for a common key that no model of the experiment reads, and for a search that none does.

    How a model is trained may be said to models that count alone, and what a file says holds for its other models
    where a call names some of them only.
    """
    for key in asked[0].unread:
        if experiment.narrowed and key not in experiment.overrides and is_key(key):
            continue
        if key in OF_STEPS and all(one.one_pass for one in asked):
            continue
        if all(
            key in one.unread or key in one.entry.settings or key in (one.entry.search or ()) for one in asked
        ):
            raise UsageError(f"{asked[0].entry.label} on {dataset}: {asked[0].unread[key]}")
    searched = set().union(*(one.space for one in asked))
    for key in experiment.search:
        counted = key in OF_STEPS and all(one.one_pass for one in asked)
        if (
            key not in searched
            and key not in experiment.overrides
            and not experiment.narrowed
            and not counted
        ):
            raise UsageError(
                f"search names {key}, which no model searches: each sets it, or has a search of its own"
            )


def _built(dataset: str, entry: Entry, settings: Mapping[str, Any]) -> Any:
    from recbole_ext.run.run import build_config, check_dataset

    try:
        config = build_config(entry.model, dataset, dict(settings))
        check_dataset(config)
        return config
    except UsageError as error:
        raise UsageError(f"{entry.label} on {dataset}: {error}") from error
