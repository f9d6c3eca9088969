"""(prefix, target) rows over shared flat columns: RecBole's SequentialDataset without padded copies or row loops.

RecBole 1.2.1 copies every prefix, padded, into memory (sequential_dataset.py:104-146). Here each column is kept once,
in event order, and a row only names its target event; `__getitem__` gathers the prefixes of a batch. Rows, their order
and every tensor equal RecBole's under LS, RS and TS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_ext.data import recbole_splits, splits
from recbole_ext.data.coded import CodedLog
from recbole_ext.data.codes import narrow
from recbole_ext.data.light import Rows, wide
from recbole_ext.errors import UsageError


class PrefixRows(CodedLog):
    """Rows of a data set whose events lie session by session; see SessionDataset for what the attributes hold."""

    event_field = "event_index"
    trimmed = False
    empty_history: bool
    events: Any
    session_start: np.ndarray
    session_length: np.ndarray
    inter_feat: Any  # a pandas.DataFrame of events until build(), then an Interaction of rows

    def data_augmentation(self) -> None:
        """Make `inter_feat` one light row per (prefix, target); the events stay in `events`."""
        self._aug_presets()
        self.events = self.inter_feat
        suffix = self.config["LIST_SUFFIX"]
        self.list_fields = {field: field + suffix for field in self.events if field != self.uid_field}
        position = places(self.session_start, self.session_length)
        target = np.flatnonzero(position >= (0 if self.empty_history else 1)).astype(np.int32)
        if not len(target):
            raise UsageError(
                f"no session of {self.dataset_name} has two events: check USER_ID_FIELD and filters"
            )
        if splits.straddles(self.config["eval_args"]["split"]):
            # RecBole's order, so that its splits break ties in time as they do there
            session = self.events[self.uid_field].numpy()[target]
            target = target[np.argsort(session, kind="stable")]
        longest = self.max_item_list_len
        length = np.clip(position[target], 1, longest).astype(narrow(longest))
        own = {self.item_list_length_field: torch.from_numpy(length)}
        columns = list(self.events.interaction)
        self.inter_feat = Rows(self.events, torch.from_numpy(target), columns, own, self.event_field)

    @property
    def avg_actions_of_users(self) -> float:
        """RecBole's (dataset.py:1462), which makes a Python number of every row: a second for 8 million."""
        return self._rows_each(self.uid_field)

    @property
    def avg_actions_of_items(self) -> float:
        """As of users."""
        return self._rows_each(self.iid_field)

    def _rows_each(self, field: str) -> float:
        """The mean number of rows, or events before `build`, of each id that has any."""
        return len(self.inter_feat) / np.count_nonzero(np.bincount(np.asarray(self.inter_feat[field])))

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

    def __getitem__(self, index: Any, join: bool = True) -> Interaction:
        """Rows with their prefixes: `<column>_list` (B, MAX_ITEM_LIST_LENGTH), zeros on the right.

        Where `trimmed`, they are as wide as the longest prefix of the batch.
        """
        if self.event_field not in self.inter_feat:  # not built yet, or rows without prefixes
            return super().__getitem__(index, join)
        batch = Interaction(self.prefixes(index, self.trimmed))
        return self.join(batch) if join else batch

    def prefixes(self, index: Any, trimmed: bool = False) -> dict[str, torch.Tensor]:
        """The columns of rows with their prefixes, without item features; trimmed: to the longest one."""
        if isinstance(index, np.ndarray | list):
            index = torch.as_tensor(index, dtype=torch.long)
        rows = self.inter_feat.at(index)
        target = rows[self.event_field] = rows[self.event_field].long()
        length = rows[self.item_list_length_field]
        if self.empty_history:
            length = _without_first(target, length, self.session_start)
        steps = max(int(length.max()), 1) if trimmed and len(length) else self.max_item_list_len
        columns = {name: self.events.narrow(field) for field, name in self.list_fields.items()}
        lists = gathered(columns, target, length, steps)
        rows.update({name: wide(column) for name, column in lists.items()})
        return rows

    # --- RecBole's splits of rows

    def split_by_ratio(self, ratios: list[float], group_by: str | None = None) -> list[Any]:
        """RecBole's RS; without a group all rows are one."""
        shares = _shares(ratios)
        ids = np.zeros(len(self.inter_feat)) if group_by is None else self.inter_feat[group_by].numpy()
        cut = recbole_splits.by_ratio(ids, lambda rows: self._calcu_split_ids(tot=rows, ratios=shares))
        return self._split(*cut, len(shares))

    def leave_one_out(self, group_by: str | None, leave_one_mode: str) -> list[Any]:
        """RecBole's LS."""
        if leave_one_mode not in recbole_splits.HELD_OUT or group_by is None:
            return super().leave_one_out(group_by, leave_one_mode)
        ids = self.inter_feat[group_by].numpy()
        return self._split(*recbole_splits.leave_one_out(ids, leave_one_mode), len(splits.PARTS))

    def time_based_split(self, ratios: list[float], group_by: str | None) -> list[Any]:
        """RecBole's TS."""
        if group_by is None:
            return super().time_based_split(ratios, group_by)
        ids, times = (self.inter_feat[field].numpy() for field in (group_by, self.time_field))
        return self._split(*recbole_splits.by_time(ids, times, _shares(ratios)), len(splits.PARTS))

    def _split(self, order: np.ndarray, part: np.ndarray, count: int) -> list[Any]:
        self._drop_unused_col()
        return [self.copy(self._rows_at(order[part == number])) for number in range(count)]

    def _rows(self, keep: np.ndarray) -> Interaction:
        return self._rows_at(np.flatnonzero(keep))

    def _rows_at(self, place: np.ndarray) -> Interaction:
        return self.inter_feat.taken(torch.from_numpy(place))


def places(start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """(E,) int32 the place of each event in its session, from 0; start, length: (S,), all events in order."""
    return np.arange(int(length.sum()), dtype=np.int32) - np.repeat(start.astype(np.int32), length)


def gathered(
    columns: Mapping[str, torch.Tensor], target: torch.Tensor, length: torch.Tensor, steps: int
) -> dict[str, torch.Tensor]:
    """(B, steps) or (B, steps, D) of each column (E,) or (E, D).

    A row holds the `length` (B,) values before its `target` (B,), then zeros.
    """
    step = torch.arange(steps)
    padding = step >= length.unsqueeze(-1)  # (B, L)
    place = (target - length).unsqueeze(-1) + step
    place.masked_fill_(padding, 0)
    lists = {}
    for name, column in columns.items():
        values = column[place]  # (B, L) or (B, L, D)
        hidden = padding.reshape(padding.shape + (1,) * (values.dim() - padding.dim()))
        lists[name] = values.masked_fill_(hidden, 0)
    return lists


def _without_first(target: torch.Tensor, length: torch.Tensor, session_start: np.ndarray) -> torch.Tensor:
    """`length` (B,), but 0 before a session's first event, which has no prefix; session_start: (S,)."""
    starts = torch.from_numpy(session_start)
    place = torch.searchsorted(starts, target).clamp_max(len(starts) - 1)
    return torch.where(starts[place] == target, 0, length)


def _shares(ratios: list[float]) -> list[float]:
    return [ratio / sum(ratios) for ratio in ratios]
