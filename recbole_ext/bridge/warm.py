"""Training that goes on from another run's checkpoint over other items: rows are found again by the items' names.

Exact resuming needs the numbering that a checkpoint was made with (bridge/checkpoint.py). Here weights, the optimizer's
state and the moving average of the weights are moved row by row to the numbers that the new data give out, so items may
have come, gone and changed places. What has no row yet starts from what is known of it:

    an item that the old run did not train: 0 where the model knows a feature of it, so that it is its features; else
        the mean of the old vectors of the items clicked right before and after it in training; else that of all
    a token of a feature: 0, which says nothing
    the pointer to a visitor's past, where the first visitor returns in the new days: as it is made
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_ext.bridge.checkpoint import read_checkpoint
from recbole_ext.errors import UsageError
from recbole_ext.segments import owner_of, spans


@dataclass(frozen=True)
class Rows:
    """Where the n rows of a field's new numbering were. before: how many there were. old: (n,) int64, -1: nowhere."""

    field: str
    before: int
    old: np.ndarray

    @property
    def masked(self) -> Rows:
        """The same with one row more, of a mask token behind all others, as BERT4Rec has it."""
        return Rows(self.field, self.before + 1, np.append(self.old, self.before))

    @property
    def same(self) -> bool:
        """Whether every row is where it was."""
        return self.before == len(self.old) and bool((self.old == np.arange(len(self.old))).all())

    def moved(self, was: Tensor, now: Tensor) -> Tensor:
        """`now`, its rows, (n, …), replaced by those of `was` (before, …) that are the same token's."""
        known = np.flatnonzero(self.old >= 0)
        found = now.clone()
        found[torch.from_numpy(known)] = was[torch.from_numpy(self.old[known])].to(found)
        return found


def go_on(trainer: Any, file: str, dataset: Any, trained: np.ndarray | None) -> dict[str, int]:
    """Give a fresh `trainer` and its model what the run of checkpoint `file` had learnt; counts for the record.

    dataset: the training part. trained: names of the items that the old run trained; None: the model says it, or else
    all that it knew. Returns items, new_items (without a row before), started_items (rows that had to be begun).
    Raises UsageError where the checkpoint cannot be brought to these data.
    """
    model = trainer.model
    stored = read_checkpoint(file, trainer.device, bool(trainer.config["trust_pickle"]))
    rows = _rows(stored.get("numbering"), dataset, file)
    _check(stored, trainer, file)
    average = stored.get("weight_average")
    weights = {**stored["state_dict"], **(average["weights"] if average is not None else {})}
    items, begun = rows[dataset.iid_field], _to_begin(weights, rows[dataset.iid_field], dataset, trained)
    weights = _with_past(weights, model)
    places = {
        name: _place(name, weights, value, rows, dataset.iid_field, file) for name, value in _own(model)
    }
    with torch.no_grad():
        beside = _beside(dataset, begun, items.old >= 0)
        described = _described(model)
        for name, value in model.named_parameters(remove_duplicate=False):
            place = places[name]
            value.copy_(weights[name] if place is None else place.moved(weights[name], value))
            if place is None:
                continue
            if place.field == items.field and value.dim() > 1:
                value[torch.from_numpy(begun)] = _starts(value, begun, beside, described)
            elif place.field != items.field:
                value[torch.from_numpy(np.flatnonzero(place.old < 0))] = 0
        for name, value in model.named_buffers():
            if name in weights and name not in _OF_THE_DATA and value.shape == weights[name].shape:
                value.copy_(weights[name])
    _move_optimizers(trainer, stored, places, file)
    if average is not None and hasattr(trainer, "resume_average"):
        _move_average(trainer, average, places)
    return {
        "items": len(items.old) - 1,
        "new_items": int((items.old < 0).sum()),
        "started_items": len(begun),
    }


_OF_THE_DATA = ("items.seen",)  # buffers that a constructor works out
_OF_PAST = "look_back.user."  # weights that a model has where some visitor returns
_GATES = ("look_back.gates.weight", "look_back.gates.bias")  # they have a row more then


def _with_past(weights: Mapping[str, Tensor], model: Any) -> dict[str, Tensor]:
    """The old weights, and what only a log with returning visitors asks for as the new model has made it."""
    found = dict(weights)
    for name, value in _own(model):
        if name.startswith(_OF_PAST):
            found.setdefault(name, value.detach().clone())
        elif name in _GATES and name in found:
            found[name] = _longer(found[name], value.detach())
    return found


def _longer(was: Tensor, now: Tensor) -> Tensor:
    """`was` with the rows of `now` behind its own."""
    return torch.cat((was, now[len(was) :].to(was))) if was.dim() and len(was) < len(now) else was


def _rows(stored: Mapping[str, Tensor] | None, dataset: Any, file: str) -> dict[str, Rows]:
    """By field, those of the checkpoint's numbering that the new data have too."""
    if stored is None:
        raise UsageError(
            f"{file} holds no names of items, as it was made by an older version: train anew once"
        )
    if dataset.iid_field not in stored:
        raise UsageError(f"{file} was made with no column {dataset.iid_field}: train anew")
    found = {}
    for field, names in stored.items():
        if field not in dataset.field2id_token:
            raise UsageError(
                f"{file} was made with a column {field}, which these data do not have: train anew"
            )
        before = names.cpu().numpy().tobytes().decode("utf-8", "surrogatepass").split("\0")
        number = {name: place for place, name in enumerate(before)}
        now = [str(name) for name in dataset.field2id_token[field]]
        found[field] = Rows(
            field, len(before), np.array([number.get(name, -1) for name in now], dtype=np.int64)
        )
    return found


def _check(stored: Mapping[str, Any], trainer: Any, file: str) -> None:
    config, model = trainer.config, trainer.model
    was = stored["config"]["model"]
    if was != config["model"]:
        raise UsageError(f"{file} holds a {was}, and this is a {config['model']}: go on with the same model")
    children = dict(model.named_children())
    kept = [name for name in stored.get("other_parameter") or {} if name not in children]
    if kept:
        raise UsageError(
            f"{config['model']} keeps its {kept[0]} beside its weights, which cannot go on: train anew"
        )
    own = {name for name, _ in _own(model) if not name.startswith(_OF_PAST)}
    missing = own - set(stored["state_dict"])
    if missing:
        raise UsageError(
            f"{file} has no {min(missing)}, which the model has now: leave its settings as they were"
        )


def _own(model: Any) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(remove_duplicate=False)]


def _place(
    name: str, weights: Mapping[str, Tensor], now: Tensor, rows: Mapping[str, Rows], items: str, file: str
) -> Rows | None:
    """Whose rows a weight has; None: it has none of any token's."""
    was = weights[name]
    if was.dim() == 0 or now.dim() != was.dim() or now.shape[1:] != was.shape[1:]:
        if was.shape == now.shape:
            return None
        raise _cannot(name, was, now, file)
    sizes = was.shape[0], now.shape[0]
    fits = [field for field, own in rows.items() if sizes == (own.before, len(own.old))]
    named = [field for field in fits if field in name.split(".")]
    if named:
        return rows[named[0]]
    if items in fits and (was.shape[0] != now.shape[0] or not rows[items].same):
        return rows[items]
    if items in fits and was.dim() > 1 and ("item" in name or "ids" in name):
        return rows[items]
    masked = rows[items].masked
    if sizes == (masked.before, len(masked.old)) and was.dim() > 1 and "item" in name:
        return masked
    if was.shape != now.shape:
        raise _cannot(name, was, now, file)
    return None


def _cannot(name: str, was: Tensor, now: Tensor, file: str) -> UsageError:
    return UsageError(
        f"{name} of {file} is {tuple(was.shape)} and {tuple(now.shape)} now, and it is not known which row is whose: "
        "leave the model's settings as they were, or train anew"
    )


def _to_begin(
    weights: Mapping[str, Tensor], items: Rows, dataset: Any, trained: np.ndarray | None
) -> np.ndarray:
    """Items that train now, and did not before."""
    before = items.old >= 0
    if "items.seen" in weights:
        before[before] = weights["items.seen"].cpu().numpy()[items.old[before]]
    elif trained is not None:
        before &= np.isin(np.asarray(dataset.field2id_token[dataset.iid_field], dtype=str), trained)
    now = np.asarray(dataset.train_items, dtype=bool).copy()
    now[0] = False
    return np.flatnonzero(now & ~before)


def _described(model: Any) -> np.ndarray | None:
    """(n_items,) bool: items of which the model knows a feature; None where it reads none."""
    features = getattr(getattr(model, "items", None), "features", None)
    return None if features is None else features.described().cpu().numpy()


def _beside(dataset: Any, begun: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of a place in `begun` and an item with a vector clicked right before or after it in training."""
    item = dataset.events[dataset.iid_field].numpy()
    length = dataset.train_length
    event = spans(dataset.session_start, length)
    item, owner = item[event], owner_of(length)
    place = np.full(len(known), -1)
    place[begun] = np.arange(len(begun))
    vector = known.copy()
    vector[begun], vector[0] = False, False
    together = owner[1:] == owner[:-1]
    pairs = []
    for one, other in ((item[:-1], item[1:]), (item[1:], item[:-1])):
        kept = together & (place[one] >= 0) & vector[other]
        pairs.append(np.stack((place[one[kept]], other[kept])))
    found = np.concatenate(pairs, axis=1)
    return found[0], found[1]


def _starts(
    table: Tensor, begun: np.ndarray, beside: tuple[np.ndarray, np.ndarray], described: np.ndarray | None
) -> Tensor:
    """(begun, …) first rows of a table of items, whose other rows are in place."""
    known = np.setdiff1d(np.arange(1, len(table)), begun)
    own, other = (torch.from_numpy(column).to(table.device) for column in beside)
    found = table.new_zeros((len(begun), *table.shape[1:]))
    found.index_add_(0, own, table[other])
    count = torch.bincount(own, minlength=len(begun)).to(table)
    shape = (-1, *[1] * (table.dim() - 1))
    found /= count.clamp_min(1).view(shape)
    if len(known):
        found[count == 0] = table[torch.from_numpy(known)].mean(0)
    if described is not None:
        found[torch.from_numpy(described[begun])] = 0
    return found


def _move_optimizers(
    trainer: Any, stored: Mapping[str, Any], places: Mapping[str, Rows | None], file: str
) -> None:
    """Their state by the new rows, 0 for those that are begun; settings such as the learning rate are the new run's."""
    names = {id(value): name for name, value in _own(trainer.model)}
    if str(stored["config"].get("learner")).lower() != str(trainer.config["learner"]).lower():
        trainer.logger.info("another learner than before: it starts without state")
        return
    for attribute, state in {"optimizer": stored["optimizer"], **stored.get("optimizers", {})}.items():
        optimizer = getattr(trainer, attribute)
        own = optimizer.state_dict()
        every = [value for group in optimizer.param_groups for value in group["params"]]
        # without a part that the old model did not have
        known = [
            place
            for place, value in enumerate(every)
            if not names.get(id(value), "").startswith(_OF_PAST) or names[id(value)] in stored["state_dict"]
        ]
        parameters = [every[place] for place in known]
        if len(parameters) != sum(len(group["params"]) for group in state["param_groups"]):
            raise UsageError(
                f"{file} has an optimizer of other weights: leave the settings of training as they were"
            )
        order = [number for group in state["param_groups"] for number in group["params"]]
        moved = {}
        for place, number, parameter in zip(known, order, parameters):
            rows = places.get(names.get(id(parameter), ""))
            moved[place] = {
                key: _moved_state(value, parameter, rows)
                for key, value in state["state"].get(number, {}).items()
            }
        optimizer.load_state_dict(
            {
                "state": {place: one for place, one in moved.items() if one},
                "param_groups": own["param_groups"],
            }
        )


def _moved_state(value: Any, parameter: Tensor, rows: Rows | None) -> Any:
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    if rows is None:
        return _longer(value, torch.zeros_like(parameter, dtype=value.dtype))
    return rows.moved(value, torch.zeros_like(parameter, dtype=value.dtype))


def _move_average(trainer: Any, average: Mapping[str, Any], places: Mapping[str, Rows | None]) -> None:
    """The moving average goes on; rows that are begun count as if they had always been what they start with."""
    mass, sums = float(average["mass"]), {}
    parameters = dict(_own(trainer.model))
    for name, parameter in parameters.items():
        if name not in average["sums"] and not name.startswith(_OF_PAST):
            continue
        start, rows = parameter.detach() * mass, places.get(name)
        value = average["sums"].get(name, start)
        sums[name] = _longer(value, start) if rows is None else rows.moved(value, start)
    trainer.resume_average({"mass": mass, "sums": sums})
