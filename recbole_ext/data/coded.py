"""Events read straight into numbers: RecBole's loading of a data set, with codes in place of `.inter`'s texts.

RecBole holds a Python text a cell until it gives out ids (dataset.py:1155). Here a column of tokens is codes (E,) from
the file on (data/blocks.py), filters and protocol work on these, and ids are given to the codes that are left: the same
ids, and the same attributes after it, as RecBole's own way, which `unfit` names the data sets for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
from recbole.data.dataset import SequentialDataset
from recbole.utils import FeatureSource, FeatureType

from recbole_ext.data import blocks
from recbole_ext.data.atomic import encoding_of, head_of, inter_file, kept_columns, note_columns
from recbole_ext.data.codes import Codes, renumbered
from recbole_ext.data.tokens import Ids, Tokens
from recbole_ext.progress import stage
from recbole_ext.segments import pieces

# what makes a table of events of a file, and goes on with its texts
_STEPS = (
    *("_from_scratch", "_load_data", "_load_inter_feat", "_load_feat", "_init_alias", "_data_processing"),
    *("_data_filtering", "_filter_nan_user_or_item", "_remove_duplication", "_filter_by_field_value"),
    *("_filter_inter_by_user_or_item", "_filter_by_inter_num", "_reset_index", "_get_remap_list"),
    *("_remap_ID_all", "_concat_remaped_tokens", "_remap", "_user_item_feat_preparation", "_fill_nan"),
)


def unfit(dataset: Any, heads: Mapping[str, list[tuple[str, str]]]) -> str | None:
    """Why the events of a data set are read by pandas, in RecBole's own way; None: they are read as codes.

    heads: name and type of the columns of each atomic file, by suffix.
    """
    config = dataset.config
    events = dict(heads["inter"])
    tokens = {name for name, kind in events.items() if kind == "token"}
    ids = {"user": dataset.uid_field, "item": dataset.iid_field}
    others = {
        name
        for suffix, head in heads.items()
        if suffix != "inter"
        for name, _ in head
        if name != ids.get(suffix)
    }
    reasons = {
        "benchmark_filename": config["benchmark_filename"],
        "an encoding that is not UTF-8": encoding_of(config) != "utf-8-sig",
        "field_separator": config["field_separator"] not in blocks.SEPARATORS,
        "alias_of_user_id or alias_of_item_id": config["alias_of_user_id"] or config["alias_of_item_id"],
        "preload_weight": config["preload_weight"],
        "a column of sequences": any(kind.endswith("seq") for kind in events.values()),
        "ids that are no column of tokens": not {dataset.uid_field, dataset.iid_field} <= tokens,
        "a column of .inter's name in another file": others & set(events),
        "a step of loading of the data set's own": next(
            filter(None, (_foreign(dataset, s) for s in _STEPS)), None
        ),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _foreign(dataset: Any, step: str) -> bool:
    return getattr(type(dataset), step).__module__.split(".")[0] not in ("recbole", "recbole_ext")


class CodedLog(SequentialDataset):
    """RecBole's SequentialDataset, read so. Until ids are given out, `inter_feat` holds codes, MISSING where a cell is
    empty, and so do the ids of `user_feat` and `item_feat`."""

    codes: Mapping[str, Codes] = {}  # by column of tokens of .inter, while it holds codes
    code_of: Mapping[
        str, np.ndarray
    ] = {}  # then (N - 1,) the code of each id from 1, while ids are given out

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        self.codes, self.code_of = {}, {}
        heads = self._heads(Path(dataset_path), token)
        reason = unfit(self, heads) if "inter" in heads else "no .inter file"
        if reason is None:
            try:
                self._read_codes(inter_file(dataset_path, token), heads["inter"])
                return
            except blocks.OddFileError as error:
                reason = f".inter: {error}"
        self.logger.debug(f"events are read by pandas: {reason}")
        super()._load_inter_feat(token, dataset_path)

    def _heads(self, folder: Path, name: str) -> dict[str, list[tuple[str, str]]]:
        """Of the columns that are loaded."""
        more = self.config["additional_feat_suffix"] or []
        heads = {}
        for suffix in ("inter", "user", "item", *([more] if isinstance(more, str) else more)):
            file = inter_file(folder, name) if suffix == "inter" else folder / f"{name}.{suffix}"
            if file.is_file():
                head = head_of(file, encoding_of(self.config), self.config["field_separator"])
                source = suffix if suffix in more else FeatureSource(suffix)
                heads[suffix] = list(kept_columns(self, head, source).items())
        return heads

    def _read_codes(self, file: Path, kept: list[tuple[str, str]]) -> None:
        config = self.config
        head = head_of(file, encoding_of(config), config["field_separator"])
        names = [name for name, _ in head]
        columns, self.codes = blocks.read(file, names, dict(kept), config["field_separator"])
        note_columns(self, {name: FeatureType(kind) for name, kind in kept}, FeatureSource.INTERACTION)
        self.inter_feat = pd.DataFrame(columns, copy=False)

    def _load_data(self, token: str, dataset_path: str) -> None:
        super()._load_data(token, dataset_path)
        if self.codes:
            for table, field in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
                if table is not None:
                    ids = pl.Series(table[field].to_list(), dtype=pl.String)
                    table[field] = self.codes[field].more(ids)

    def _filter_inter_by_user_or_item(self) -> None:
        if not self.codes:
            super()._filter_inter_by_user_or_item()
            return
        if self.config["filter_inter_by_user_or_item"] is not True:
            return
        keep = np.ones(len(self.inter_feat), dtype=bool)
        for table, field in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
            if table is not None:
                known = np.zeros(len(self.codes[field]), dtype=bool)
                known[table[field].to_numpy()] = True
                keep &= known[self.inter_feat[field].to_numpy()]
        self._keep_events(keep)

    def _keep_events(self, keep: np.ndarray) -> None:
        """Leave the events of `keep` (E,) bool, numbered from 0."""
        if not keep.all():
            events = {field: self.inter_feat[field].to_numpy()[keep] for field in self.inter_feat}
            self.inter_feat = pd.DataFrame(events, copy=False)

    def _remap(self, remap_list: list[tuple[pd.DataFrame, str, Any]]) -> None:
        columns = sum(kind.value.startswith("token") for kind in self.field2type.values())
        stage("ids", len(self.field2id_token) / columns)
        if not remap_list or remap_list[0][1] not in self.codes:
            kinds = {kind for _, _, kind in remap_list}
            remap = self._remap_sequences if kinds == {FeatureType.TOKEN_SEQ} else super()._remap
            remap(remap_list)
            return
        field = remap_list[0][1]
        columns = [table[field].to_numpy() for table, _, _ in remap_list]
        ids, code = renumbered(columns, len(self.codes[field]))
        self.code_of = {**self.code_of, field: code}
        tokens = Tokens(self.codes[field].names(code))
        self.field2id_token[field], self.field2token_id[field] = tokens, Ids(tokens)
        for (table, _, _), column in zip(remap_list, ids):
            table[field] = column if table is self.inter_feat else column.astype(np.int64)

    def _remap_sequences(self, remap_list: list[tuple[pd.DataFrame, str, Any]]) -> None:
        """RecBole's _remap of columns of sequences, without pandas' and numpy's steps a row (1.5 million: a minute)."""
        lengths = [np.array([*map(len, table[field])], dtype=np.int64) for table, field, _ in remap_list]
        cells = [cell for table, field, _ in remap_list for cell in table[field]]
        ids, names = pd.factorize(np.concatenate(cells) if cells else np.array([], dtype=str))
        known = np.array(["[PAD]", *names])
        id_of = {name: place for place, name in enumerate(known)}
        columns = np.split(ids + 1, np.cumsum([length.sum() for length in lengths])[:-1])
        for (table, field, _), column, length in zip(remap_list, columns, lengths):
            self.field2id_token.setdefault(field, known)
            self.field2token_id.setdefault(field, id_of)
            table[field] = pd.Series(pieces(column, length), index=table.index, dtype=object)

    def _remap_ID_all(self) -> None:
        super()._remap_ID_all()
        self._after_ids()
        self.codes, self.code_of = {}, {}

    def _after_ids(self) -> None:
        """Hook: ids have been given out, and `code_of` tells what they were before."""
