"""Protocol: which events train, which targets are ranked, what they are worth, what is measured.

Two runs can be compared if their protocols are equal. Keys of RecBole stand beside ours; what a key does on RecBole's
own data sets is RecBole's documentation's to say.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recbole_ext.errors import UsageError
from recbole_ext.settings import split
from recbole_ext.settings.base import (
    Flag,
    Kinds,
    Names,
    Number,
    OneOrNames,
    Settings,
    Text,
    Whole,
    Wholes,
    key,
)
from recbole_ext.settings.protocol_values import (
    METRICS,
    OF_LISTS,
    OF_VALUES,
    RANKING,
    ColdItems,
    Columns,
    Discretization,
    Encoding,
    EvalArgs,
    Intervals,
    Limits,
    Metrics,
    OffPolicySettings,
    Rewards,
    ValidMetric,
)


class Protocol(Settings):
    """All keys of it; `from_ranks` marks those whose change a finished run can answer without being run again."""

    # --- where session data comes from
    source: Text | None = key(None, "converter of the raw logs: diginetica, retailrocket, session-lists, csv")
    convert_options: dict[str, Any] | None = key(None, "options of that converter, as on its command line")

    # --- which sessions, items and targets
    data_layout: Literal["pointers", "recbole"] | None = key(
        "recbole", "recbole: RecBole's own dataset classes; pointers: flat columns and (start, length) rows"
    )
    eval_args: EvalArgs = key(EvalArgs(), "split, order, group_by and mode; may be given in part", of="rows")
    refit: Flag | None = key(
        False, "validation sessions train too, for the last fit with everything chosen (docs/experiments.md)"
    )
    eval_targets: Literal["all", "last"] | None = key(
        "all", "all: every event after a session's first is a target; last: only the last one", of="rows"
    )
    empty_history: Flag | None = key(
        False, "a session's first event is a target too, in training, validation and test", of="rows"
    )
    max_sessions_per_user: Whole | None = key(
        None,
        "a visitor keeps at most so many sessions, evenly spread over its own, before the split",
        ge=1,
        of="rows",
    )
    user_inter_num_interval: Limits = key(
        "[0,inf)",
        "sessions with so many events stay",
        says='an interval of numbers of events, "[5,inf)"',
        of="rows",
    )
    item_inter_num_interval: Limits = key(
        "[0,inf)",
        "items with so many events stay",
        says='an interval of numbers of events, "[5,inf)"',
        of="rows",
    )
    inter_num_part: Literal["train", "all"] | None = key(
        None,
        "whether the two intervals look at the training part or at the whole log, test part included",
        of="rows",
    )
    inter_num_passes: Whole | None = key(
        None, "~: repeated until nothing changes (k-core); 1: once, sessions first", ge=1, of="rows"
    )
    cold_items: ColdItems | None = key(
        None, "a share of the training items is taken wholly out of training (docs/cold_items.md)", of="rows"
    )
    MAX_ITEM_LIST_LENGTH: Whole = key(
        50, "the latest events of a prefix that a model reads", ge=1, le=100_000
    )
    repeatable: Flag = key(False, "an item of the prefix may be the target")

    # --- events of several kinds
    EVENT_FIELD: Text | None = key(
        "event", "column of the event's kind; metrics are also shown by the kind of the target's event"
    )
    rewards: Rewards = key(
        None,
        "a number an event kind, {view: 0.2, addtocart: 1.0}: adds reward@k",
        says="a mapping of an event kind to a number",
        of="measures",
    )
    off_policy: OffPolicySettings | None = key(
        None,
        "estimates the reward that recommending by the scores would earn (docs/off_policy.md)",
        of="measures",
    )
    category_field: Text | None = key(
        "category",
        "token or token_seq column of the .item file: is the target's category recommended?",
        of="measures",
    )
    cart_events: Kinds | None = key(
        ["addtocart", "cart"],
        "kinds of EVENT_FIELD that make a session one with a cart; one may stand alone",
        of="measures",
    )
    purchase_events: Kinds | None = key(
        ["transaction", "purchase"],
        "kinds that make it one with a purchase; every other kind is a view; one may stand alone",
        of="measures",
    )

    # --- what is measured
    metrics: Metrics = key(
        ["Recall", "MRR", "NDCG", "Hit", "Precision"],
        "Hit is printed as HR; a single one may stand alone",
        says=f"a list of {', '.join(METRICS)}",
        from_ranks=True,
        of="measures",
    )
    topk: Wholes | None = key(
        [10],
        "the k of the metrics; a single one may stand alone",
        says="a list of whole numbers from 1 to 1000000, each once",
        from_ranks=True,
        of="measures",
    )
    valid_metric: ValidMetric = key(
        "MRR@10", "chooses the epoch and stops training; it has to be measured", of="measures"
    )
    valid_metric_bigger: Flag = key(
        True, "whether more of it is better; RecBole knows it of its metrics", of="measures"
    )
    metric_decimal_place: Whole = key(
        4,
        "decimals of metrics, as shown and recorded; epochs are compared unrounded",
        ge=0,
        le=17,
        of="measures",
    )
    tail_ratio: Number | None = key(
        None,
        "TailPercentage: items of fewer events (below 1: the share of items with the fewest)",
        gt=0,
        of="measures",
    )

    # --- columns of the atomic files
    USER_ID_FIELD: Text = key(
        "user_id", "a session is RecBole's user: sequences, splits and metrics are per session"
    )
    ITEM_ID_FIELD: Text = key("item_id", "column of the item")
    TIME_FIELD: Text | None = key("timestamp", "column of the time, by which events are ordered")
    RATING_FIELD: Text | None = key("rating", "column of the rating")
    LINK_USER_FIELD: Text | None = key("user_id", "the visitor who links sessions; may be absent")
    field_separator: Text = key("\t", "parts the columns of the atomic files")
    seq_separator: Text = key(" ", "parts the values of a sequence column")
    encoding: Encoding = key("utf-8", "of the atomic files")
    load_col: Columns | None = key(
        None, "columns that are read by suffix of the file, {inter: [a, b]}; ~: all"
    )
    unload_col: Columns | None = key(None, "columns that are not read, by suffix of the file")
    unused_col: Columns | None = key(None, "columns that are read and then left out of batches, by suffix")
    additional_feat_suffix: OneOrNames | None = key(None, "more atomic files, by their suffix")
    numerical_features: Names | None = key([], "float columns that RecBole's feature models embed")
    alias_of_user_id: Names | None = key(None, "columns numbered as USER_ID_FIELD is")
    alias_of_item_id: Names | None = key(None, "columns numbered as ITEM_ID_FIELD is")
    alias_of_entity_id: Names | None = key(None, "columns numbered as ENTITY_ID_FIELD is")
    alias_of_relation_id: Names | None = key(None, "columns numbered as RELATION_ID_FIELD is")
    seq_len: dict[str, Annotated[int, Field(strict=True, ge=1)]] | None = key(
        None, "longest length of a sequence column, by column"
    )
    preload_weight: dict[str, Text] | None = key(None, "column of ids to column of their vectors")

    # --- RecBole's filters and changes of columns
    rm_dup_inter: Annotated[Literal["first", "last"] | None, BeforeValidator(lambda v: v or None)] = key(
        None, "of equal (session, item) rows only the first or the last one stays"
    )
    val_interval: Intervals = key(
        None,
        "rows whose column lies in the interval stay, by column",
        says="a mapping of a column to an interval",
    )
    filter_inter_by_user_or_item: Flag = key(True, "rows whose user or item has no row in its own file go")
    threshold: dict[str, Number] | None = key(
        None, "labels of 0 and 1: 1 where the column is so much or more"
    )
    normalize_field: Names | None = key(None, "float columns that are scaled to 0 … 1 by what trains")
    normalize_all: Flag | None = key(None, "all float columns are")
    discretization: dict[str, Discretization] | None = key(None, "float columns as buckets, by column")
    benchmark_filename: Names | None = key(
        None, "suffixes of three files of rows, each a target with its history"
    )

    # --- names that RecBole gives to what it makes
    LABEL_FIELD: Text = key("label", "column of the label of models that learn one")
    NEG_PREFIX: Text = key("neg_", "goes before columns of negatives")
    ITEM_LIST_LENGTH_FIELD: Text = key("item_length", "column of the length of a prefix")
    LIST_SUFFIX: Text = key("_list", "goes behind columns of a prefix")
    POSITION_FIELD: Text = key("position_id", "column of the place in a prefix")

    # --- knowledge graphs
    HEAD_ENTITY_ID_FIELD: Text = key("head_id", "column of a triple's head")
    TAIL_ENTITY_ID_FIELD: Text = key("tail_id", "column of a triple's tail")
    RELATION_ID_FIELD: Text = key("relation_id", "column of a triple's relation")
    ENTITY_ID_FIELD: Text = key("entity_id", "column of the entity")
    kg_reverse_r: Flag = key(False, "triples go both ways")
    entity_kg_num_interval: Limits = key(
        "[0,inf)", "entities with so many triples stay", says='an interval of numbers, "[5,inf)"'
    )
    relation_kg_num_interval: Limits = key(
        "[0,inf)", "relations with so many triples stay", says='an interval of numbers, "[5,inf)"'
    )

    # --- asked in one place, so that nobody asks a raw config

    @property
    def split(self) -> split.Split:
        """Name and value of `eval_args.split`."""
        return split.named(self.eval_args.split)

    @property
    def straddles(self) -> bool:
        """Whether the split puts events of one session into several parts."""
        return split.straddles(self.split.name)

    def check(self) -> None:
        """Raise UsageError where two keys cannot go together."""
        if self.LINK_USER_FIELD is not None and self.LINK_USER_FIELD == self.ITEM_ID_FIELD:
            raise UsageError(
                f"LINK_USER_FIELD is {self.LINK_USER_FIELD}, which is the item's column: name the visitor's"
            )
        if self.USER_ID_FIELD == self.ITEM_ID_FIELD:
            raise UsageError(
                f"USER_ID_FIELD and ITEM_ID_FIELD are both {self.USER_ID_FIELD}: a session and an item are two columns"
            )
        self._check_columns()
        if self.off_policy is not None and not self.rewards:
            raise UsageError(
                "off_policy estimates rewards, and there are none: set rewards, as in {view: 0.2, addtocart: 1.0}"
            )
        if self.off_policy is not None and self.eval_args.mode_of("test") != "full":
            raise UsageError(
                f"off_policy needs the chance of every item, but eval_args.mode is {self.eval_args.mode_of('test')}, "
                "which scores a few: set eval_args.mode: full, or leave off_policy out"
            )
        self._check_labels()

    def check_valid_metric(self) -> None:
        """Raise UsageError where nothing measures `valid_metric`; who only wants the data need not care."""
        metric, at, k = self.valid_metric.partition("@")
        metrics = [str(name).lower() for name in self.metrics]
        topk = self.topk or []
        right = metric.lower() in metrics and (not at or (k.isdigit() and int(k) in topk))
        by_value = metric.lower() in [name.lower() for name in (*OF_VALUES, "GAUC")]
        known = metric.lower() in [name.lower() for name in METRICS]
        if not right or (known and by_value == bool(at)):
            raise UsageError(
                f"valid_metric is {self.valid_metric}, which is not measured: metrics are "
                f"{', '.join(self.metrics)} at {', '.join(map(str, topk))}"
            )

    def _check_columns(self) -> None:
        loaded = (self.load_col or {}).get("inter", "*")
        if self.load_col is not None and "inter" not in self.load_col:
            raise UsageError(
                f"load_col is {self.load_col}, which reads nothing of the .inter file: add inter with its columns"
            )
        for name, field in (("USER_ID_FIELD", self.USER_ID_FIELD), ("ITEM_ID_FIELD", self.ITEM_ID_FIELD)):
            if loaded != "*" and field not in loaded:
                raise UsageError(f"load_col leaves out {field}, which is {name}: add it to load_col.inter")

    def _check_labels(self) -> None:
        of_values = [name for name in self.metrics if name.lower() in [m.lower() for m in OF_VALUES]]
        for part in ("valid", "test") if of_values else ():
            if self.eval_args.mode_of(part) == "full":  # type: ignore[arg-type]
                raise UsageError(
                    f"metrics names {of_values[0]}, which compares scores with labels, and eval_args.mode full has "
                    "none: set eval_args.mode to uni100 or labeled, or metrics to those of a ranking"
                )
        ranked = any(str(name).lower() in [m.lower() for m in RANKING + OF_LISTS] for name in self.metrics)
        if ranked and "GAUC" not in self.metrics:
            for part in ("valid", "test"):
                if self.eval_args.mode_of(part) == "labeled":  # type: ignore[arg-type]
                    raise UsageError(
                        f"eval_args.mode is labeled, which ranks nothing, and metrics are {', '.join(self.metrics)}: "
                        "set mode: full, or metrics of labels such as AUC"
                    )
