"""Session logs as RecBole's SequentialDataset, as RecBole and the models see them; a session is RecBole's "user".

What differs from RecBole's: rows are light (data/rows.py); events are ordered by time in float64, before RecBole casts
it to float32; splits that keep sessions whole; with `empty_history` a session's first event is a target too; limits on
numbers of events look at the training part (data/prepare.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_ext.data import cold, numbers, splits
from recbole_ext.data.codes import narrow
from recbole_ext.data.feature_time import feature_time_note
from recbole_ext.data.light import Events
from recbole_ext.data.manifest import has_times
from recbole_ext.data.past import Past
from recbole_ext.data.prepare import Log, Wanted, prepare, time_order
from recbole_ext.data.recency import target_weights
from recbole_ext.data.rows import PrefixRows
from recbole_ext.data.splits import NO_PART, Parting
from recbole_ext.data.tokens import Tokens
from recbole_ext.errors import UsageError
from recbole_ext.progress import progress, stage
from recbole_ext.segments import holder_of, last_of, padded, runs, spans
from recbole_ext.settings.training import LARGE_BATCH, SMALL_BATCH, SMALL_LOG
from recbole_ext.wording import several


class SessionDataset(PrefixRows):
    """Events of sessions and (prefix, target) rows over them, whole and in three parts.

    After `build()`, on the data set and on each of its three parts:

    events: Interaction of E events, all `.inter` columns, by (session start, session, time, file order).
    session_start, session_length: (S,) int64, first event and number of events of each session in that order.
    session_time: (S,) float64, time of each session's first event. event_time: (E,) float64.
    train_length: (S,) int64, how many leading events of each session belong to training; 0: none.
        Under `session_time` events of a training session that happen after the first held-out session starts
        (a purchase days later) belong to no part.
    train_items: (item_num,) bool, items of training events, first events of sessions included.
    inter_feat: one row per (prefix, target): the target event's columns, `item_length` = min(its position,
        MAX_ITEM_LIST_LENGTH), and `event_index`, the target's place in `events`: the prefix is the
        `item_length` events before it. RecBole's loaders, sort, split and copy move it with the row as they
        move any column. It is not in field2type, so RecBole's models, which list their inputs there, do not
        see it. The row of a session's first event (`empty_history`) has no prefix, yet `item_length` 1, as models
        look for their state at item_length - 1: its only step is padding.
    trimmed: whether batches are cut to their longest prefix; the Trainer sets it where a model scores alike either way.
    held_out_items: (item_num,) bool, items that `cold_items` has taken out of training.
    missing_features: which values of float and float_seq item columns are missing, by column.
    part: "train", "valid", "test"; None for the whole. orders_events: by session, which RecBole's own do not.
    notes: sentences that the reader of a result has to know.

    Raises UsageError when the log has no time column or the split cannot be made.
    """

    part: str | None = None
    orders_events = True

    def __init__(self, config: Any):
        self.events: Any = None
        self._labels: np.ndarray | None = None  # (S,) the split column
        self._frozen: Any = None  # (user_num,) part by session id, of a split made before the filters
        self._held_out_time = np.inf  # of the frozen split: start of the first session that does not train
        self._held_out: list[str] | None = None  # tokens of items that `cold_items` takes out of training
        self.empty_history = bool(config["empty_history"])
        self.notes: list[str] = []
        splits.check_limits(config)
        super().__init__(config)

    @classmethod
    def loader_class(cls, phase: str) -> type | None:
        """A loader of its own for "train", "valid" or "test"; None: the usual one."""
        return None

    # --- from data frames to rows ----------------------------------------------------------------------

    def _filter_by_inter_num(self) -> None:
        """What the protocol takes out of the log, see data/prepare.py."""
        stage("filters")
        wanted = Wanted.of(self.config, self.dataset_path)
        if wanted.limits is None and not wanted.needs_time:
            return
        if wanted.needs_time:
            self._require_time()
        found = prepare(Log.of(self, wanted), wanted)
        if found.parts is not None:
            self._frozen, self._held_out_time = found.parts.by_session, found.parts.held_out_time
        if found.held_out is not None:
            self._held_out = [str(token) for token in found.log.item_tokens(found.held_out)]
        stays = np.zeros(len(self.inter_feat), dtype=bool)
        stays[found.log.place] = True
        self._keep_events(stays)
        for feat, field, rows in (
            (self.user_feat, self.uid_field, found.log.session_rows),
            (self.item_feat, self.iid_field, found.log.item_rows),
        ):
            if rows is not None:
                feat.drop(feat.index[~feat[field].isin(rows)], inplace=True)
        for note in found.notes:
            self.notes.append(note)
            self.logger.info(note)

    def _require_time(self) -> None:
        if not self.time_field or self.time_field not in self.inter_feat:
            raise UsageError(
                f"the .inter file of {self.dataset_name} has no column {self.time_field}, so events have no "
                "order: set TIME_FIELD to its time column (load_col has to keep it)"
            )

    def _after_ids(self) -> None:
        if self._frozen is not None:
            names = np.asarray(self.field2id_token[self.uid_field])[1:] if not self.codes else None
            before = self.code_of[self.uid_field] if names is None else names
            self._frozen = np.append(np.int8(NO_PART), self._frozen.reindex(before, fill_value=NO_PART))

    def _fill_nan(self) -> None:
        self._require_time()
        numbers.take(self)
        super()._fill_nan()
        # before normalisation, discretisation and float32, each of which loses order
        self._times = self.inter_feat[self.time_field].to_numpy(dtype=np.float64)

    def _change_feat_format(self) -> None:
        self._order_events()
        self._take_split_column()
        super()._change_feat_format()

    def _dataframe_to_interaction(self, data: Any) -> Interaction:
        """As RecBole's, columns of sequences at once; of the events without a copy, in narrow types."""
        if data is not self.inter_feat:
            return self._with_sequences(data)
        columns = {}
        for field in data:
            values = data[field].to_numpy()
            kind = self.field2type[field]
            if kind == FeatureType.TOKEN:
                columns[field] = values.astype(narrow(len(self.field2id_token[field])), copy=False)
            elif kind == FeatureType.FLOAT and values.ndim == 1 and values.dtype != object:
                columns[field] = values.astype(np.float32)
            else:
                columns[field] = super()._dataframe_to_interaction(data[[field]])[field].numpy()
        return Events({field: _tensor(column) for field, column in columns.items()})

    def _with_sequences(self, data: Any) -> Interaction:
        kinds = {field: self.field2type[field] for field in data}
        flat = {
            field: _padded(data[field], self.field2seqlen[field])
            for field in data
            if kinds[field] == FeatureType.TOKEN_SEQ
        }
        others = super()._dataframe_to_interaction(data[[field for field in data if field not in flat]])
        return Interaction({field: flat[field] if field in flat else others[field] for field in data})

    def _order_events(self) -> None:
        session = self.inter_feat[self.uid_field].to_numpy()
        start = np.full(self.user_num, np.inf)
        np.minimum.at(start, session, self._times)
        order = time_order(session, self._times, start)
        if order is not None:
            events = {field: self.inter_feat[field].to_numpy()[order] for field in self.inter_feat}
            self.inter_feat = pd.DataFrame(events, copy=False)
            numbers_of = self.raw_numbers["inter"]
            self.raw_numbers["inter"] = {field: column[order] for field, column in numbers_of.items()}
            session = session[order]
            self._times = self._times[order]
        self.event_time = self._times
        del self._times
        self.session_start, self.session_length = runs(session)
        self.session_time = start[session[self.session_start]]

    def _take_split_column(self) -> None:
        column = splits.SPLIT_COLUMN
        if column not in self.inter_feat:
            return
        name = splits.split_of(self.config).name
        if name != "given":
            self.notes.append(f"column {column} of the .inter file is not read: eval_args.split is {name}")
        else:
            kinds = np.asarray(self.field2id_token[column])
            names = self._session_names(self.inter_feat)
            self._labels = splits.session_labels(
                self.inter_feat[column].to_numpy(), kinds, self.session_start, self.session_length, names
            )
        self._del_col(self.inter_feat, column)

    def _session_names(self, events: Any) -> Sequence[str] | np.ndarray:
        """(S,) tokens of the sessions in order of start; `events`: the ordered events' columns."""
        sessions = np.asarray(events[self.uid_field])[self.session_start]
        tokens = self.field2id_token[self.uid_field]
        return tokens.some(sessions) if isinstance(tokens, Tokens) else tokens[sessions]

    # --- splits ----------------------------------------------------------------------------------------

    @property
    def of_pairs(self) -> bool:
        """Whether its test sessions are published (prefix, target) pairs."""
        return splits.of_pairs(self.config, self.dataset_path)

    def build(self) -> list[SessionDataset]:
        """Split into train, valid, test as `eval_args.split` and `eval_targets` say; valid may be empty."""
        stage("rows")
        name, _ = splits.split_of(self.config)
        if self.config["eval_args"]["order"] != "TO":
            raise UsageError(
                f"eval_args.order is {self.config['eval_args']['order']}: sessions need TO (time order)"
            )
        targets = splits.eval_targets(self.config, self.dataset_path)
        if splits.straddles(name):
            parts = super().build()
            last = last_of(parts[0].inter_feat[self.event_field].numpy(), self.session_start)
            self._set_training(np.where(last < 0, 0, last - self.session_start + 1))
        else:
            self._change_feat_format()
            stage("parts")
            part_of = self._session_parts()
            self._set_training(self._train_lengths(part_of))
            self._drop_unused_col()
            of_event = np.repeat(part_of, self.session_length)
            of_event[(of_event == splits.TRAIN) & ~self._trains()] = NO_PART
            of_row = of_event[self.inter_feat[self.event_field].numpy()]
            parts = [self.copy(self._rows(of_row == part)) for part in splits.PARTS.values()]
        self._recount()
        if len(parts) != len(splits.PARTS):
            raise UsageError(f"eval_args.split {name} makes {len(parts)} parts: write three shares")
        self._choose_batch_size()
        self._note_feature_time(parts[splits.TEST], whole_sessions=not splits.straddles(name))
        self.held_out_items = self._held_out_ids()
        for part, label in zip(parts, splits.PARTS):
            part.part = label
            part.train_length, part.train_items = self.train_length, self.train_items
            part.held_out_items = self.held_out_items
            if label == "train":
                part._as_training()
            elif targets == "last":
                part._keep_last_targets()
            if self._held_out is not None and label != "train":
                self.notes.append(part._cold_note())
        return parts

    def check_targets(self) -> None:
        """Of a part: UsageError where nothing is learnt or ranked; a note where nothing validates though sessions were
        to."""
        split = splits.split_of(self.config).name
        if len(self.inter_feat) or splits.straddles(split):
            return
        what = {"train": "training", "valid": "validation", "test": "test"}[str(self.part)]
        lacks = f"eval_args.split {split} leaves no target in the {what} part: none of its sessions has a second event"
        if self.part != "valid":
            raise UsageError(
                f"{lacks}; give it more sessions, or set empty_history: True, which ranks first events too"
            )
        if (self._session_parts() == splits.VALID).any():
            self.notes.append(f"{lacks}, so nothing validates and the last epoch is kept")

    def _recount(self) -> None:
        """Numbers by what trains alone, see data/numbers.py."""
        trained = torch.from_numpy(self._trains())
        sessions = torch.zeros(self.user_num, dtype=torch.bool)
        first = self.session_start[self.train_length > 0]
        sessions[self.events.narrow(self.uid_field)[first].long()] = True
        for name, rows in (("inter", trained), ("user", sessions), ("item", self.train_items)):
            numbers.recount(self, name, rows)

    def _choose_batch_size(self) -> None:
        """Under `train_batch_size: auto`: small logs learn more from many small steps, large ones faster from few."""
        if self.config["train_batch_size"] != "auto":
            return
        targets = int(np.maximum(self.train_length - 1 + self.empty_history, 0).sum())
        size = SMALL_BATCH if targets <= SMALL_LOG else LARGE_BATCH
        self.config["train_batch_size"] = size
        self.notes.append(f"train_batch_size auto: {size:,} for {several(targets, 'training target')}")

    def _held_out_ids(self) -> torch.Tensor:
        held_out = torch.zeros(self.item_num, dtype=torch.bool)
        if self._held_out is not None:
            ids = self.field2token_id[self.iid_field]
            held_out[[ids[token] for token in self._held_out if token in ids]] = True
        return held_out

    def _cold_note(self) -> str:
        target = self.inter_feat[self.iid_field]
        part = {"valid": "validation"}.get(str(self.part), str(self.part))
        return cold.target_note(part, self.held_out_items[target].numpy(), self.train_items[target].numpy())

    def _session_parts(self) -> np.ndarray:
        """(S,) part of every session, as it was before filters that look at the training part."""
        if self._frozen is None:
            names = self._session_names(self.events)
            parting = Parting.of(self.config, self.dataset_path)
            return splits.session_parts(parting, self.session_time, self._labels, names)
        parts = self._frozen[self.events[self.uid_field].numpy()[self.session_start]]
        name, value = splits.split_of(self.config)
        splits.check_parts(parts, name, value, filtered=True)
        return parts

    def _note_feature_time(self, test: SessionDataset, whole_sessions: bool) -> None:
        if self.item_feat is None or not len(test):
            return
        first = test.inter_feat[self.event_field].numpy()
        if whole_sessions:
            first = self.session_start[holder_of(first, self.session_start)]
        what = "session" if whole_sessions else "event"
        note = feature_time_note(self.dataset_path, float(self.event_time[first].min()), what)
        if note is not None:
            self.notes.append(note)

    def _train_lengths(self, part_of: np.ndarray) -> np.ndarray:
        """(S,) leading events of training sessions; under `session_time` those before the held-out time."""
        lengths = np.where(part_of == splits.TRAIN, self.session_length, 0)
        if splits.split_of(self.config).name != "session_time":
            return lengths
        # a filter may have taken a held-out session's first events: they happened all the same
        held_out = min(self._held_out_time, self.session_time[part_of != splits.TRAIN].min())
        known = np.add.reduceat(self.event_time < held_out, self.session_start)
        late = int(np.maximum(lengths - known, 0).sum())
        if late:
            self.logger.info(
                f"left out: {several(late, 'event')} of training sessions after the held-out time"
            )
        return np.minimum(lengths, known)

    def training_positions(self) -> tuple[torch.Tensor, np.ndarray, np.ndarray, int | None]:
        """Training sessions for `train_targets: all_positions`.

        Returns the flat items (E,), each session's start there and its number of positions (inputs with a next item),
        and how many positions a row may have: MAX_ITEM_LIST_LENGTH, None without limit.
        """
        if self.empty_history:
            raise UsageError(
                f"train_targets all_positions of {self.config['model']} cannot start from an empty history: "
                "set empty_history: False or train_targets: prefixes"
            )
        positions = np.maximum(self.train_length - 1, 0)
        return self.events[self.iid_field], self.session_start, positions, self.max_item_list_len

    def flat_place(self, event_index: np.ndarray) -> np.ndarray:
        """(R,) places of events in the flat column of `training_positions`."""
        return event_index

    @cached_property
    def past(self) -> Past:
        """What every session's user had done before it."""
        with progress("finding what visitors did before"):
            return Past(self)

    def target_weights(self, recency: float) -> np.ndarray:
        """(S,) float32 what each training target of a session weighs, see data/recency.py."""
        targets = np.where(self.train_length > 0, self.train_length - 1 + self.empty_history, 0)
        return target_weights(self.session_time, targets, recency, has_times(self.dataset_path))

    def training_counts(self) -> torch.Tensor:
        """(item_num,) how often each item is a training event."""
        items = self.events.narrow(self.iid_field).numpy()
        return torch.from_numpy(np.bincount(items[self._trains()], minlength=self.item_num))

    def _set_training(self, train_length: np.ndarray) -> None:
        self.train_length = train_length
        self.train_items = self.training_counts() > 0

    def _trains(self) -> np.ndarray:
        """(E,) bool of the leading `train_length` events of each session."""
        opens = np.zeros(len(self.events) + 1, dtype=np.int8)
        some = self.train_length > 0
        opens[self.session_start[some]] += 1
        opens[(self.session_start + self.train_length)[some]] -= 1
        return np.cumsum(opens[:-1], dtype=np.int8).view(bool)

    def _training_events(self) -> np.ndarray:
        """Indices of the leading `train_length` events of each session."""
        return spans(self.session_start, self.train_length)

    def _as_training(self) -> None:
        """Hook: what the training part holds besides its (prefix, target) rows."""

    def _keep_last_targets(self) -> None:
        target = self.inter_feat[self.event_field].numpy()
        last = last_of(target, self.session_start)
        self.inter_feat = self._rows(target == last[holder_of(target, self.session_start)])

    # --- counts ----------------------------------------------------------------------------------------

    def _own_events(self) -> np.ndarray:
        """This part's events: leading ones in training, else targets (and a first event before one, if it is none)."""
        if self.part is None:
            return np.arange(len(self.events))
        if self.part == "train":
            return self._training_events()
        target = self.inter_feat[self.event_field].numpy()
        if self.empty_history:
            return target
        return np.concatenate((target, target[self.inter_feat[self.item_list_length_field].numpy() == 1] - 1))

    def counter(self, field: str) -> Counter:
        """How often each value of a token column occurs in this part's events, first events included."""
        if self.events is None or field not in self.events or self.field2type[field] != FeatureType.TOKEN:
            return super().counter(field)
        values, counts = np.unique(self.events[field].numpy()[self._own_events()], return_counts=True)
        return Counter(dict(zip(values.tolist(), counts.tolist())))

    def inter_matrix(self, form: str = "coo", value_field: str | None = None) -> Any:
        """Sparse (user_num, item_num) session × item matrix of this part's events; repeats add up in csr.

        The training part's holds all training events, first ones of sessions included, as RecBole's does.
        """
        if self.events is None:
            raise ValueError("inter_matrix needs a data set that has been built")
        index = torch.from_numpy(self._own_events())
        fields = [self.uid_field, self.iid_field] + ([value_field] if value_field else [])
        missing = [field for field in fields if field not in self.events]
        if missing:
            raise ValueError(f"value_field {missing[0]} is not a column of the .inter file")
        events = Interaction({field: self.events[field][index] for field in fields})
        return self._create_sparse_matrix(events, self.uid_field, self.iid_field, form, value_field)


def _padded(cells: Any, longest: int) -> torch.Tensor:
    """(N, L) int64 of a column of sequences, zeros behind them, cut to `longest`."""
    cut = [cell[:longest] for cell in cells]
    length = np.array([*map(len, cut)], dtype=np.int64)
    return torch.from_numpy(
        padded(np.concatenate([np.empty(0, dtype=np.int64), *cut]).astype(np.int64), length)
    )


def _tensor(column: np.ndarray) -> torch.Tensor:
    """The column's memory as a tensor's; a table that nobody has any more had marked it as not to be written."""
    column = column.view()
    column.flags.writeable = True
    return torch.from_numpy(column)
