"""Sessions as flat columns with pointers: RecBole's SequentialDataset without padded copies or row loops.

RecBole 1.2.1 copies every prefix, padded, into memory (sequential_dataset.py:104-146). Here each column is
kept once, in event order, and a row of `inter_feat` only names its target event; `__getitem__` gathers the
prefixes of a batch. Rows, their order and every tensor equal RecBole's under LS, RS and TS. What differs:
events are ordered by time in float64, before RecBole casts it to float32; splits that keep sessions whole; with
`empty_history` a session's first event is a target too; limits on numbers of events look at the training part.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset
from recbole.data.interaction import Interaction
from recbole.utils import FeatureType

from recbole_ext.data import cache, cold, filters, splits
from recbole_ext.data.feature_time import feature_time_note
from recbole_ext.errors import UsageError

NO_PART = -1  # an event that neither trains nor is ranked


class SessionDataset(SequentialDataset):
    """(prefix, target) rows over shared flat columns; a session is RecBole's "user".

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
    part: "train", "valid", "test"; None for the whole.
    notes: sentences that the reader of a result has to know.

    Raises UsageError when the log has no time column or the split cannot be made.
    """

    event_field = "event_index"
    part: str | None = None
    trimmed = False
    inter_feat: Any  # a pandas.DataFrame of events until build(), then an Interaction of rows

    def __init__(self, config: Any):
        self.events: Any = None
        self._labels: np.ndarray | None = None  # (S,) the split column
        self._frozen: pd.Series | None = None  # part by session token, of a split made before the filters
        self._held_out_time = np.inf  # of the frozen split: start of the first session that does not train
        self._held_out: np.ndarray | None = None  # tokens of items that `cold_items` takes out of training
        self.empty_history = bool(config["empty_history"])
        self.notes: list[str] = []
        splits.check_limits(config)
        super().__init__(config)

    @classmethod
    def loader_class(cls, phase: str) -> type | None:
        """A loader of its own for "train", "valid" or "test"; None: the usual one."""
        return None

    def _from_scratch(self) -> None:
        cache.load(self, super()._from_scratch)

    # --- from data frames to rows ----------------------------------------------------------------------

    def _filter_by_inter_num(self) -> None:
        """Sessions beyond the cap of a user, sessions and items outside the limits, and training events of items that
        `cold_items` holds out leave the log."""
        self._cap_sessions()
        self._apply_limits()
        held_out = cold.settings_of(self.config)
        if held_out is not None:
            self._hold_items_out(held_out)
            self._apply_limits()  # sessions and items that were inside them may no longer be

    def _apply_limits(self) -> None:
        limits = [filters.parse_limits(self.config, key) for key in filters.CORE_KEYS]
        if limits == [None, None]:  # RecBole would count every token twice all the same
            return
        session, names = pd.factorize(self.inter_feat[self.uid_field])
        item, item_names = pd.factorize(self.inter_feat[self.iid_field])
        counted, removable = np.ones(len(session), dtype=bool), np.ones(len(names), dtype=bool)
        if splits.chosen_part(self.config) == "train":
            counted, removable = self._training_part(session, names)
        exempt = np.isin(np.asarray(item_names), [] if self._held_out is None else self._held_out)
        passes = self.config["inter_num_passes"]
        keep = filters.core(session, item, counted, removable, limits[0], limits[1], passes, exempt)
        if not keep.any():
            raise UsageError(
                f"{' and '.join(filters.CORE_KEYS)} leave no event of {self.dataset_name}: lower their limits"
            )
        self._keep_events(keep)
        # features of what has gone would be candidates without an event
        for feat, field, codes, tokens, intervals in (
            (self.user_feat, self.uid_field, session, names, limits[0]),
            (self.item_feat, self.iid_field, item, item_names, limits[1]),
        ):
            if feat is None or intervals is None:
                continue
            events = np.bincount(codes[keep], minlength=len(tokens))
            place = tokens.get_indexer(feat[field])
            without_events = filters.within(np.zeros(1), intervals)[0]
            stays = np.where(place < 0, without_events, events[place] > 0)
            if field == self.iid_field and self._held_out is not None:
                stays |= np.isin(np.asarray(feat[field]), self._held_out)
            feat.drop(feat.index[~stays], inplace=True)

    def _hold_items_out(self, wanted: cold.HoldOut) -> None:
        """Draw items of training events, and take all events of theirs out of the sessions that train."""
        session, names = pd.factorize(self.inter_feat[self.uid_field])
        item, item_names = pd.factorize(self.inter_feat[self.iid_field])
        counted, trains = self._training_part(session, names)
        trained = np.unique(item[counted])
        tokens = np.asarray(item_names, dtype=object)[trained]
        chosen = cold.drawn(tokens, wanted)
        self._held_out = tokens[chosen]
        leaves = trains[session] & np.isin(item, trained[chosen])
        if not (counted & ~leaves).any():
            raise UsageError(
                f"cold_items {dict(self.config['cold_items'])} leaves no training event: lower holdout"
            )
        note = f"cold_items: {int(chosen.sum()):,} of {len(tokens):,} training items ({wanted}) and their "
        note += f"{int(leaves.sum()):,} training events held out"
        self.notes.append(note)
        self.logger.info(note)
        self._keep_events(~leaves)

    def _keep_events(self, keep: np.ndarray) -> None:
        self.inter_feat.drop(self.inter_feat.index[~keep], inplace=True)

    def _raw_times(self) -> np.ndarray:
        """(E,) float64 seconds before ids are given out, missing ones filled as RecBole fills them."""
        self._require_time()
        times = self.inter_feat[self.time_field]
        return times.fillna(times.mean()).to_numpy(dtype=np.float64)

    def _cap_sessions(self) -> None:
        most = self.config["max_sessions_per_user"]
        if most is None:
            return
        field = self.config["LINK_USER_FIELD"]
        if field not in self.inter_feat:
            raise UsageError(
                f"max_sessions_per_user needs the user of each session, but the .inter file has no column {field}: "
                "set LINK_USER_FIELD, or leave max_sessions_per_user out"
            )
        session, names = pd.factorize(self.inter_feat[self.uid_field])
        times = self._raw_times()
        by_time = np.lexsort((times, session))
        # each session's first event says whose it is
        first = by_time[np.searchsorted(session[by_time], np.arange(len(names)))]
        in_order = np.argsort(times[first], kind="stable")
        user = pd.factorize(self.inter_feat[field])[0][first]
        keep = np.empty(len(names), dtype=bool)
        keep[in_order] = filters.spread(user[in_order], most)
        left_out = int((~keep).sum())
        users = len(np.unique(user[~keep]))
        note = f"at most {most} sessions a user: {left_out:,} sessions of {users:,} users left out"
        self.notes.append(note)
        self.logger.info(note)
        self._keep_events(keep[session])

    def _training_part(self, session: np.ndarray, names: pd.Index) -> tuple[np.ndarray, np.ndarray]:
        """Which events (E,) train, and which sessions (S,) do; the split is made on the log as it is, once."""
        times = self._raw_times()
        if self._frozen is None:
            self._freeze_split(session, names, times)
        assert self._frozen is not None
        trains = self._frozen.loc[names].to_numpy() == splits.TRAIN
        return trains[session] & (times < self._held_out_time), trains

    def _freeze_split(self, session: np.ndarray, names: pd.Index, times: np.ndarray) -> None:
        start = np.full(len(names), np.inf)
        np.minimum.at(start, session, times)
        in_order = np.argsort(start, kind="stable")
        labels = self._raw_labels(session, names)
        parts = np.empty(len(names), dtype=np.int8)
        parts[in_order] = splits.session_parts(
            self.config,
            start[in_order],
            None if labels is None else labels[in_order],
            np.asarray(names)[in_order],
            self.dataset_path,
        )
        self._frozen = pd.Series(parts, index=names)
        if splits.split_of(self.config)[0] == "session_time":
            self._held_out_time = start[parts != splits.TRAIN].min()

    def _raw_labels(self, session: np.ndarray, names: pd.Index) -> np.ndarray | None:
        column = splits.SPLIT_COLUMN
        if splits.split_of(self.config)[0] != "given" or column not in self.inter_feat:
            return None
        by_session = np.argsort(session, kind="stable")
        length = np.bincount(session)
        tokens = self.inter_feat[column].to_numpy().astype(str)[by_session]
        return splits.session_labels(tokens, np.cumsum(length) - length, length, np.asarray(names))

    def _require_time(self) -> None:
        if not self.time_field or self.time_field not in self.inter_feat:
            raise UsageError(
                f"the .inter file of {self.dataset_name} has no column {self.time_field}, so events have no "
                "order: set TIME_FIELD to its time column (load_col has to keep it)"
            )

    def _fill_nan(self) -> None:
        self._require_time()
        self.missing_features = self._missing_features()
        super()._fill_nan()
        # before normalisation, discretisation and float32, each of which loses order
        self._times = self.inter_feat[self.time_field].to_numpy(dtype=np.float64)

    def _missing_features(self) -> dict[str, torch.Tensor]:
        """(item_num,) or (item_num, L) bool for float and float_seq item columns, before RecBole fills them."""
        missing = {}
        for field in self.item_feat if self.item_feat is not None else ():
            column = self.item_feat[field]
            if self.field2type[field] == FeatureType.FLOAT:
                missing[field] = torch.from_numpy(column.isna().to_numpy())
            elif self.field2type[field] == FeatureType.FLOAT_SEQ:
                lengths = torch.tensor([0 if isinstance(value, float) else len(value) for value in column])
                missing[field] = torch.arange(self.field2seqlen[field]) >= lengths.unsqueeze(1)
        return missing

    def _change_feat_format(self) -> None:
        self._order_events()
        self._take_split_column()
        super()._change_feat_format()

    def _order_events(self) -> None:
        session = self.inter_feat[self.uid_field].to_numpy()
        start = np.full(self.user_num, np.inf)
        np.minimum.at(start, session, self._times)
        keys = (self._times, session, start[session])  # last one first
        if not _ascending(keys):
            order = np.lexsort(keys)
            self.inter_feat = self.inter_feat.iloc[order].reset_index(drop=True)
            session = session[order]
            self._times = self._times[order]
        self.event_time = self._times
        del self._times
        self.session_start = np.flatnonzero(np.concatenate(([True], session[1:] != session[:-1])))
        self.session_length = np.diff(np.append(self.session_start, len(session)))
        self.session_time = start[session[self.session_start]]

    def _take_split_column(self) -> None:
        column = splits.SPLIT_COLUMN
        if column not in self.inter_feat:
            return
        if splits.split_of(self.config)[0] == "given":
            tokens = np.asarray(self.field2id_token[column])[self.inter_feat[column].to_numpy()]
            self._labels = splits.session_labels(
                tokens, self.session_start, self.session_length, self._session_names(self.inter_feat)
            )
        self._del_col(self.inter_feat, column)

    def _session_names(self, events: Any) -> np.ndarray:
        """(S,) tokens of the sessions in order of start; `events`: the ordered events' columns."""
        sessions = np.asarray(events[self.uid_field])[self.session_start]
        return np.asarray(self.field2id_token[self.uid_field])[sessions]

    def data_augmentation(self) -> None:
        """Make `inter_feat` one light row per (prefix, target); the events stay in `events`."""
        self._aug_presets()
        self.events = self.inter_feat
        suffix = self.config["LIST_SUFFIX"]
        self.list_fields = {field: field + suffix for field in self.events if field != self.uid_field}
        position = self._position()
        target = np.flatnonzero(position >= (0 if self.empty_history else 1))
        if not len(target):
            raise UsageError(
                f"no session of {self.dataset_name} has two events: check USER_ID_FIELD and filters"
            )
        if splits.straddles(self.config["eval_args"]["split"]):
            # RecBole's order, so that its splits break ties in time as they do there
            session = self.events[self.uid_field].numpy()[target]
            target = target[np.argsort(session, kind="stable")]
        index = torch.from_numpy(target)
        rows = {field: column[index] for field, column in self.events.interaction.items()}
        length = np.clip(position[target], 1, self.max_item_list_len)
        rows[self.item_list_length_field] = torch.from_numpy(length)
        rows[self.event_field] = index.int()  # half the memory; 2**31 events do not fit either way
        self.inter_feat = Interaction(rows)

    def _position(self) -> np.ndarray:
        """(E,) place of each event in its session, from 0."""
        return np.arange(self.session_length.sum()) - np.repeat(self.session_start, self.session_length)

    def _drop_unused_col(self) -> None:
        unused = self.config["unused_col"] or {}
        for source, fields in unused.items():
            feat = getattr(self, f"{source}_feat")
            for field in fields:
                column = next((c for c, name in self.list_fields.items() if name == field), None)
                if source == "inter" and column is not None:
                    del self.list_fields[column]
                elif field in feat:
                    self._del_col(feat, field)
                else:
                    self.logger.warning(f"unused_col names {field}, which {source}_feat does not have")

    # --- batches ---------------------------------------------------------------------------------------

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Rows with their prefixes: `<column>_list` (B, MAX_ITEM_LIST_LENGTH), zeros on the right.

        Where `trimmed`, they are as wide as the longest prefix of the batch.
        """
        if self.event_field not in self.inter_feat:  # not built yet, or rows without prefixes
            return super().__getitem__(index, join)
        if isinstance(index, np.ndarray | list):
            index = torch.as_tensor(index, dtype=torch.long)
        rows = {field: column[index] for field, column in self.inter_feat.interaction.items()}
        target = rows[self.event_field] = rows[self.event_field].long()
        rows.update(self._prefixes(target, self._history_length(target, rows[self.item_list_length_field])))
        batch = Interaction(rows)
        return self.join(batch) if join else batch

    def _history_length(self, target: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Events before each target that are its prefix: `length`, but 0 before a session's first event."""
        if not self.empty_history:
            return length
        starts = torch.from_numpy(self.session_start)
        place = torch.searchsorted(starts, target).clamp_max(len(starts) - 1)
        return torch.where(starts[place] == target, 0, length)

    def _prefixes(self, target: torch.Tensor, length: torch.Tensor) -> dict[str, torch.Tensor]:
        steps = max(int(length.max()), 1) if self.trimmed and len(length) else self.max_item_list_len
        step = torch.arange(steps)
        padding = step >= length.unsqueeze(-1)  # (B, L)
        place = (target - length).unsqueeze(-1) + step
        place.masked_fill_(padding, 0)
        lists = {}
        for field, list_field in self.list_fields.items():
            values = self.events[field][place]  # (B, L) or (B, L, D)
            hidden = padding.reshape(padding.shape + (1,) * (values.dim() - padding.dim()))
            lists[list_field] = values.masked_fill_(hidden, 0)
        return lists

    # --- splits ----------------------------------------------------------------------------------------

    def build(self) -> list[SessionDataset]:
        """Split into train, valid, test as `eval_args.split` and `eval_targets` say; valid may be empty."""
        name, _ = splits.split_of(self.config)
        if self.config["eval_args"]["order"] != "TO":
            raise UsageError(
                f"eval_args.order is {self.config['eval_args']['order']}: sessions need TO (time order)"
            )
        targets = splits.eval_targets(self.config, self.dataset_path)
        if splits.straddles(name):
            parts = super().build()
            self._set_training(
                _leading_events(parts[0].inter_feat[self.event_field].numpy(), self.session_start)
            )
        else:
            self._change_feat_format()
            part_of = self._session_parts()
            self._set_training(self._train_lengths(part_of, name))
            self._fill_from_training()
            self._drop_unused_col()
            of_event = np.repeat(part_of, self.session_length)
            in_training = self._position() < np.repeat(self.train_length, self.session_length)
            of_event[(of_event == splits.TRAIN) & ~in_training] = NO_PART
            of_row = of_event[self.inter_feat[self.event_field].numpy()]
            parts = [self.copy(self._rows(of_row == part)) for part in splits.PARTS.values()]
        if len(parts) != len(splits.PARTS):
            raise UsageError(f"eval_args.split {name} makes {len(parts)} parts: write three shares")
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
        names = self._session_names(self.events)
        if self._frozen is None:
            return splits.session_parts(
                self.config, self.session_time, self._labels, names, self.dataset_path
            )
        parts = self._frozen.loc[names].to_numpy()
        name, value = splits.split_of(self.config)
        splits.check_parts(parts, name, value, filtered=True)
        return parts

    def _note_feature_time(self, test: SessionDataset, whole_sessions: bool) -> None:
        if self.item_feat is None or not len(test):
            return
        first = test.inter_feat[self.event_field].numpy()
        if whole_sessions:
            first = self.session_start[np.searchsorted(self.session_start, first, side="right") - 1]
        what = "session" if whole_sessions else "event"
        note = feature_time_note(self.dataset_path, float(self.event_time[first].min()), what)
        if note is not None:
            self.notes.append(note)

    # RecBole's three, without its loops over rows (TS on 200,000 sessions: a minute)

    def split_by_ratio(self, ratios: list[float], group_by: str | None = None) -> list[SessionDataset]:
        """RecBole's RS: the rows of each group (None: all rows are one) by shares, in order."""
        shares = [ratio / sum(ratios) for ratio in ratios]
        order, position, total = self._groups(group_by)
        sizes, size = np.unique(total, return_inverse=True)
        cuts = np.array([self._calcu_split_ids(tot=int(n), ratios=shares) for n in sizes])
        part = (position[:, None] >= cuts[size.reshape(-1)]).sum(axis=1)
        return self._split(order, part, len(shares))

    def leave_one_out(self, group_by: str | None, leave_one_mode: str) -> list[SessionDataset]:
        """RecBole's LS: the last one or two rows of each group are held out, the first one never."""
        places = {
            "valid_and_test": (splits.VALID, splits.TEST),
            "valid_only": (splits.VALID,),
            "test_only": (splits.TEST,),
        }.get(leave_one_mode)
        if places is None or group_by is None:
            return super().leave_one_out(group_by, leave_one_mode)
        order, position, total = self._groups(group_by)
        from_end = total - 1 - position
        part = np.full(len(order), splits.TRAIN)
        for distance, place in enumerate(reversed(places)):
            part[(from_end == distance) & (position > 0)] = place
        return self._split(order, part, len(splits.PARTS))

    def time_based_split(self, ratios: list[float], group_by: str | None) -> list[SessionDataset]:
        """RecBole's TS: rows after one instant are test, the earlier rows of each group by shares."""
        if group_by is None:
            return super().time_based_split(ratios, group_by)
        shares = [ratio / sum(ratios) for ratio in ratios]
        order, position, _ = self._groups(group_by)
        times = self.inter_feat[self.time_field].numpy()
        early = (times <= np.percentile(times, 100 * (1 - shares[-1])))[order]
        group = np.cumsum(position == 0) - 1
        known = np.bincount(group, weights=early).astype(np.int64)  # rows are in time order
        cut = (known * (shares[0] / (1 - shares[2]))).astype(np.int64)
        held_out = np.where(position < cut[group], splits.TRAIN, splits.VALID)
        return self._split(order, np.where(early, held_out, splits.TEST), len(splits.PARTS))

    def _groups(self, field: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = len(self.inter_feat)
        return splits.grouped(np.zeros(rows) if field is None else self.inter_feat[field].numpy())

    def _split(self, order: np.ndarray, part: np.ndarray, count: int) -> list[SessionDataset]:
        self._drop_unused_col()
        return [self.copy(self._rows_at(order[part == number])) for number in range(count)]

    def _train_lengths(self, part_of: np.ndarray, split: str) -> np.ndarray:
        """(S,) leading events of training sessions; under `session_time` those before the held-out time."""
        lengths = np.where(part_of == splits.TRAIN, self.session_length, 0)
        if split != "session_time":
            return lengths
        # a filter may have taken a held-out session's first events: they happened all the same
        held_out = min(self._held_out_time, self.session_time[part_of != splits.TRAIN].min())
        known = np.add.reduceat(self.event_time < held_out, self.session_start)
        late = int(np.maximum(lengths - known, 0).sum())
        if late:
            self.logger.info(f"{late} events of training sessions happen after the held-out time: left out")
        return np.minimum(lengths, known)

    def _rows(self, keep: np.ndarray) -> Interaction:
        return self._rows_at(np.flatnonzero(keep))

    def _rows_at(self, place: np.ndarray) -> Interaction:
        index = torch.from_numpy(place)
        return Interaction({field: column[index] for field, column in self.inter_feat.interaction.items()})

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

    def training_counts(self) -> torch.Tensor:
        """(item_num,) how often each item is a training event."""
        trained = self.events[self.iid_field][torch.from_numpy(self._training_events())]
        return torch.bincount(trained, minlength=self.item_num)

    def _set_training(self, train_length: np.ndarray) -> None:
        self.train_length = train_length
        trained = self.events[self.iid_field][torch.from_numpy(self._training_events())]
        self.train_items = torch.zeros(self.item_num, dtype=torch.bool)
        self.train_items[trained] = True

    def _training_events(self) -> np.ndarray:
        """Indices of the leading `train_length` events of each session."""
        return np.flatnonzero(self._position() < np.repeat(self.train_length, self.session_length))

    def _fill_from_training(self) -> None:
        """Fill missing float item features with training items' mean; RecBole's mean knows future items."""
        for field, missing in self.missing_features.items():
            values = self.item_feat[field]
            if values.dim() > 1 or not missing.any():  # discretised ones keep RecBole's value
                continue
            known = values[self.train_items & ~missing].double().sort().values  # one order, whatever the ids
            values[missing] = known.mean().to(values.dtype) if len(known) else 0

    def _as_training(self) -> None:
        """Hook: what the training part holds besides its (prefix, target) rows."""

    def _keep_last_targets(self) -> None:
        target = self.inter_feat[self.event_field].numpy()
        session = np.searchsorted(self.session_start, target, side="right") - 1
        last = np.full(len(self.session_start), -1)
        np.maximum.at(last, session, target)
        self.inter_feat = self._rows(target == last[session])

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


def _ascending(keys: tuple[np.ndarray, ...]) -> bool:
    """Whether rows are in the order of np.lexsort(keys): by the last key, then the one before it, …"""
    undecided = np.ones(max(len(keys[0]) - 1, 0), dtype=bool)
    for key in reversed(keys):
        before, after = key[:-1], key[1:]
        if (undecided & (before > after)).any():
            return False
        undecided &= before == after
    return True


def _leading_events(target: np.ndarray, session_start: np.ndarray) -> np.ndarray:
    """(S,) leading events up to each session's last training target (R,), 0 for a session without one."""
    last = np.full(len(session_start), -1)
    np.maximum.at(last, np.searchsorted(session_start, target, side="right") - 1, target)
    return np.where(last < 0, 0, last - session_start + 1)
