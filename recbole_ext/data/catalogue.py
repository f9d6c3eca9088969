"""The items of a log as a model knows them: names and rows, features and what encodes new ones, and how often each was
there. It outlives the data set: a model folder holds it, and a model is made of it again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_ext.data.manifest import has_times, manifest
from recbole_ext.data.shelf import Shelf, numbered
from recbole_ext.errors import UsageError

RECENT_DAYS = 7.0
RECENT_SHARE = 0.1  # of the training events, where the log has no times
DAY = 86400.0
PADDING = "[PAD]"
TOKENS = (FeatureType.TOKEN, FeatureType.TOKEN_SEQ)
SEPARATOR = " "  # between the values of a sequence, as RecBole's atomic files have it


@dataclass(frozen=True, eq=False)
class Catalogue(Shelf):
    """n_items items, item 0 the padding.

    It answers what the constructors of models ask of RecBole's data set, and holds no event.

    item_field, session_field, time_field, event_field: names of the log's columns; the last two None where there are
        none. names: column of tokens to its names by id, the items' and the features' and the event kinds'.
    features: (n_items, …) values by column of the `.item` file, as the data set has them. missing: which of the numbers
        are missing, by column. kinds, sources, widths, sizes: RecBole's field2type, field2source, field2seqlen and
        `num`, all of a log's columns.
    seen: (n_items,) bool, items with training events. counts: (n_items,) int64 training events; recent: those of the
        newest RECENT_DAYS, or without times of the newest RECENT_SHARE of the events.
    time_origin: Unix time of the log's timestamp 0; None: its timestamps are running numbers.
    returns: whether a visitor of the log comes back. config: of the model that is made; None before.
    """

    item_field: str
    session_field: str
    time_field: str | None
    event_field: str | None
    names: Mapping[str, Sequence[str]]
    features: Mapping[str, Tensor]
    missing: Mapping[str, Tensor]
    kinds: Mapping[str, str]
    sources: Mapping[str, str]
    widths: Mapping[str, int | None]
    sizes: Mapping[str, int]
    seen: Tensor
    counts: Tensor
    recent: Tensor
    time_origin: float | None
    returns: bool
    config: Any = field(default=None, repr=False, compare=False)

    # --- from a data set -----------------------------------------------------------------------------------

    @classmethod
    def of(cls, dataset: Any) -> Catalogue:
        """That of the training part of a RecBole data set, ours or its own, after `build()`."""
        config = dataset.config
        items, event = dataset.iid_field, config["EVENT_FIELD"]
        table = dataset.item_feat
        features = {} if table is None else {name: table[name] for name in table.columns if name != items}
        kinds = {name: str(kind.value) for name, kind in dataset.field2type.items()}
        event_field = event if event in kinds and event in dataset.field2id_token else None
        named = [
            items,
            *([event_field] if event_field else []),
            *(name for name in features if dataset.field2type[name] in TOKENS),
        ]
        counts = _counts(dataset)
        folder = dataset.dataset_path
        return cls(
            item_field=items,
            session_field=dataset.uid_field,
            time_field=dataset.time_field if dataset.time_field in kinds else None,
            event_field=event_field,
            names={name: [str(token) for token in dataset.field2id_token[name]] for name in named},
            features=features,
            missing={
                name: gap
                for name, gap in (getattr(dataset, "missing_features", None) or {}).items()
                if name in features
            },
            kinds=kinds,
            sources={name: str(source.value) for name, source in dataset.field2source.items()},
            widths={name: None if n is None else int(n) for name, n in dataset.field2seqlen.items()},
            sizes={
                name: int(dataset.num(name))
                for name, kind in dataset.field2type.items()
                if kind not in TOKENS or name in dataset.field2id_token
            },
            seen=counts > 0,
            counts=counts,
            recent=_recent(dataset, counts),
            time_origin=(manifest(folder) or {"time_origin": 0.0}).get("time_origin"),
            returns=_anybody_returns(dataset),
        )

    # --- what constructors ask of a data set -----------------------------------------------------------------

    def for_model(self, config: Any) -> Catalogue:
        """The same for a model with this config."""
        return replace(self, config=config)

    @property
    def iid_field(self) -> str:
        """The items' column."""
        return self.item_field

    @property
    def uid_field(self) -> str:
        """The sessions' column."""
        return self.session_field

    @property
    def user_num(self) -> int:
        """Sessions, the padding included, of the log; no row names one."""
        return self.sizes[self.session_field]

    def num(self, name: str) -> int:
        """Values of a column of tokens, the padding included; the width of one of numbers."""
        return len(self.names[name]) if name in self.names else self.sizes[name]

    def fields(self, ftype: Any = None, source: Any = None) -> list[str]:
        """Columns of some types and sources, RecBole's."""
        types, sources = set(ftype or FeatureType), set(source or FeatureSource)
        return [n for n, t in self.field2type.items() if t in types and self.field2source[n] in sources]

    @cached_property
    def field2type(self) -> dict[str, Any]:
        """RecBole's types by column."""
        return {name: FeatureType(kind) for name, kind in self.kinds.items()}

    @cached_property
    def field2source(self) -> dict[str, Any]:
        """RecBole's sources by column."""
        return {name: FeatureSource(source) for name, source in self.sources.items()}

    @property
    def field2seqlen(self) -> Mapping[str, int | None]:
        """RecBole's widths by column."""
        return self.widths

    @property
    def field2id_token(self) -> Mapping[str, Sequence[str]]:
        """Names by column."""
        return self.names

    @cached_property
    def item_feat(self) -> Any:
        """RecBole's table of features, None without any."""
        return self.get_item_feature() if self.features else None

    def get_item_feature(self) -> Any:
        """RecBole's table of features, and the items."""
        return Interaction({self.item_field: torch.arange(self.item_num), **self.features})

    @property
    def missing_features(self) -> Mapping[str, Tensor]:
        """Which numbers are missing."""
        return self.missing

    @property
    def train_items(self) -> Tensor:
        """(n_items,) bool, items with training events."""
        return self.seen

    def training_counts(self) -> Tensor:
        """(n_items,) int64 training events."""
        return self.counts

    @property
    def past(self) -> Any:
        """Stands for the visitors' pasts, of which only whether there are any is known."""
        return SimpleNamespace(anybody_returns=self.returns)

    @property
    def user_sequences(self) -> Any:
        """Stands for the visitors' chains of sessions, of which only whether there are any is known."""
        return SimpleNamespace(returning_users=int(self.returns))

    def flat_place(self, event_index: np.ndarray) -> np.ndarray:
        """Asked of rows of a log; a catalogue has none."""
        raise NotImplementedError("a catalogue holds no event")

    @cached_property
    def inter_feat(self) -> Any:
        """No rows, for constructors that look at the training rows for their loss."""
        none = torch.zeros(0, dtype=torch.int64)
        return Interaction({name: none for name in (self.item_field, self.session_field)})

    # --- features as a shop writes them ---------------------------------------------------------------------

    def column(self, name: str) -> np.ndarray:
        """(n_items,) values of a feature: names of tokens ("" unknown), numbers (nan missing), tuples of sequences.

        Raises UsageError for a column that there is not.
        """
        self.require(name)
        values, kind = self.features[name], self.field2type[name]
        if kind == FeatureType.TOKEN:
            tokens = np.array([*self.names[name]], dtype=object)
            tokens[0] = ""
            return tokens[values.numpy()]
        if kind == FeatureType.FLOAT:
            numbers = (values[..., 0] if values.dim() > 1 else values).double().numpy().copy()
            if name in self.missing:
                numbers[self.missing[name].numpy().reshape(len(numbers), -1)[:, 0]] = np.nan
            numbers[0] = np.nan
            return numbers
        found = np.empty(len(values), dtype=object)
        if kind == FeatureType.TOKEN_SEQ:
            known = self.names[name]
            found[:] = [tuple(known[v] for v in row if v) for row in values.tolist()]
            return found
        gap = self.missing.get(name, torch.zeros(values.shape[:2], dtype=torch.bool)).tolist()
        found[:] = [tuple(v for v, g in zip(r, m) if not g) for r, m in zip(values.tolist(), gap)]
        return found

    def grown(self, names: Sequence[str], features: Mapping[str, Sequence[Any]]) -> Catalogue:
        """With items more, which have no training events; features: their values by column, None = missing.

        A token that the log does not have counts as missing. Raises UsageError for an item that is there already or is
        named twice, a feature that there is not, and a value that cannot be one.
        """
        twice = [name for name in names if name in self.rows] or [
            n for n in dict.fromkeys(names) if names.count(n) > 1
        ]
        if twice:
            raise UsageError(f"item {twice[0]} is there already: add each new item once")
        for column in features:
            self.column(column)  # raises for one that there is not
        values, missing = dict(self.features), dict(self.missing)
        for column, old in self.features.items():
            given = list(features.get(column, [None] * len(names)))
            rows, gap = self._encoded(column, given, names)
            values[column] = torch.cat((old, rows.to(old.dtype)))
            if column in missing:
                missing[column] = torch.cat((missing[column], gap.view(len(gap), *missing[column].shape[1:])))
            elif self.field2type[column] not in TOKENS:
                before = torch.zeros(old.shape[: gap.dim()], dtype=torch.bool)
                missing[column] = torch.cat((before, gap))
        more = len(names)

        def longer(column: Tensor) -> Tensor:
            return torch.cat((column, torch.zeros(more, dtype=column.dtype)))

        return replace(
            self,
            names={**self.names, self.item_field: [*self.names[self.item_field], *names]},
            features=values,
            missing=missing,
            seen=longer(self.seen),
            counts=longer(self.counts),
            recent=longer(self.recent),
        )

    def _encoded(self, column: str, given: list[Any], names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """New rows of a feature, and which of their numbers are missing."""
        old, kind = self.features[column], self.field2type[column]
        rows = torch.zeros((len(given), *old.shape[1:]), dtype=old.dtype)
        gap = torch.zeros((len(given), *old.shape[1:2]), dtype=torch.bool)
        known = numbered(self.names[column]) if kind in TOKENS else {}
        for place, (value, name) in enumerate(zip(given, names)):
            parts = _parts(value, kind in (FeatureType.TOKEN_SEQ, FeatureType.FLOAT_SEQ))
            if kind == FeatureType.TOKEN:
                rows[place] = known.get(_text(parts[0]), 0) if parts else 0
            elif kind == FeatureType.TOKEN_SEQ:
                ids = [known[_text(part)] for part in parts if _text(part) in known][: old.shape[1]]
                rows[place, : len(ids)] = torch.tensor(ids, dtype=old.dtype)
            else:
                numbers = [_number(part, column, name) for part in parts]
                if kind == FeatureType.FLOAT:
                    gap[place] = not numbers
                    rows[place] = numbers[0] if numbers else 0.0
                else:
                    numbers = numbers[: old.shape[1]]
                    flat = rows[place] if rows.dim() == 2 else rows[place, :, 0]
                    flat[: len(numbers)] = torch.tensor(numbers, dtype=old.dtype)
                    gap[place, len(numbers) :] = True
        return rows, gap

    # --- as plain values and tensors ------------------------------------------------------------------------

    def to_plain(self) -> tuple[dict[str, Any], dict[str, list[str]], dict[str, Tensor]]:
        """What describes the columns, the names, and the tensors, for JSON and safetensors."""
        described = {name: getattr(self, name) for name in _DESCRIBED}
        tensors = {f"feature.{name}": value for name, value in self.features.items()}
        tensors |= {f"missing.{name}": value for name, value in self.missing.items()}
        tensors |= {name: getattr(self, name) for name in ("seen", "counts", "recent")}
        names = {name: list(tokens) for name, tokens in self.names.items()}
        return copy.deepcopy({**described, "features": list(self.features)}), names, tensors

    @classmethod
    def from_plain(
        cls, described: Mapping[str, Any], names: Mapping[str, list[str]], tensors: Mapping[str, Tensor]
    ) -> Catalogue:
        """The inverse of `to_plain`; KeyError or TypeError where something is not there."""
        columns = described["features"]
        parts: dict[str, Any] = {name: described[name] for name in _DESCRIBED}
        parts |= {name: tensors[name] for name in ("seen", "counts", "recent")}
        return cls(
            names=dict(names),
            features={name: tensors[f"feature.{name}"] for name in columns},
            missing={name: tensors[f"missing.{name}"] for name in columns if f"missing.{name}" in tensors},
            **parts,
        )


_DESCRIBED = (
    "item_field",
    "session_field",
    "time_field",
    "event_field",
    "kinds",
    "sources",
    "widths",
    "sizes",
    "time_origin",
    "returns",
)


def _counts(dataset: Any) -> Tensor:
    own: Callable[[], Tensor] | None = getattr(dataset, "training_counts", None)
    if own is not None:
        return own().long().clone()
    # RecBole's own data sets keep the targets of the training part alone
    items = torch.as_tensor(dataset.inter_feat[dataset.iid_field]).long()
    return torch.bincount(items, minlength=dataset.item_num)


def _recent(dataset: Any, counts: Tensor) -> Tensor:
    """(n_items,) int64 training events of the newest days, or of the newest share of the events."""
    if not hasattr(dataset, "train_length"):
        return counts.clone()
    place = dataset._training_events()
    time = dataset.event_time[place]
    if has_times(dataset.dataset_path):
        new = time > time.max(initial=0.0) - RECENT_DAYS * DAY
    else:
        new = np.zeros(len(place), dtype=bool)
        new[np.argsort(time, kind="stable")[len(place) - max(int(len(place) * RECENT_SHARE), 1) :]] = True
    items = dataset.events[dataset.iid_field][torch.from_numpy(place[new])]
    return torch.bincount(items.long(), minlength=dataset.item_num)


def _anybody_returns(dataset: Any) -> bool:
    return hasattr(dataset, "train_length") and bool(dataset.past.anybody_returns)


def _parts(value: Any, several: bool) -> list[Any]:
    """The values of a cell; none where it is missing."""
    if value is None or (isinstance(value, float) and value != value) or value == "":
        return []
    if isinstance(value, str):
        return value.split(SEPARATOR) if several else [value]
    if several and isinstance(value, list | tuple | np.ndarray):
        return list(value)
    return [value]


def _text(value: Any) -> str:
    """A value as the atomic files write it."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _number(value: Any, column: str, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{column} of item {name} is {value!r}: write a number, or nothing") from error
    if np.isinf(number):
        raise UsageError(f"{column} of item {name} is {value!r}: write a finite number, or nothing")
    return number
