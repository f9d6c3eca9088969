"""Values of the protocol that are more than a word or a number: how they are checked, and classes of their keys."""

from __future__ import annotations

import codecs
import math
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from recbole_ext.errors import UsageError, did_you_mean
from recbole_ext.settings import interval, split
from recbole_ext.settings.base import (
    Names,
    NoneWord,
    Number,
    Settings,
    Text,
    Whole,
    as_list,
    each_once,
    key,
)

# RecBole's, by the kind of thing that they look at
RANKING = ("Recall", "MRR", "NDCG", "Hit", "Precision", "MAP", "GAUC")
OF_LISTS = ("ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy", "TailPercentage")
OF_VALUES = ("AUC", "MAE", "RMSE", "LogLoss")
METRICS = RANKING + OF_LISTS + OF_VALUES
LEAST_RESAMPLES = 100
OTHER_NAMES = {
    "hr": "Hit",
    "hitrate": "Hit",
    "hit_rate": "Hit",
}  # of metrics, as papers have them and our tables


def _metric(value: Any) -> Any:
    if isinstance(value, str):
        _check_metric(value, "metrics")
    return value


def _valid_metric(value: str) -> str:
    _check_metric(value.partition("@")[0], "valid_metric")
    return value


def _check_metric(value: str, key: str) -> None:
    registered = getattr(
        sys.modules.get("recbole.evaluator.register"), "metric_types", {}
    )  # a user's own too
    if value.lower() not in {name.lower() for name in METRICS} and value.lower() not in registered:
        same = OTHER_NAMES.get(value.lower())
        meant = (
            f": write {same}" if same else did_you_mean(value, METRICS) or f": there are {', '.join(METRICS)}"
        )
        raise UsageError(f"{key} names {value}, which is no metric{meant}")


def _limits(value: Any, info: ValidationInfo) -> Any:
    interval.parse_limits(value, str(info.field_name))
    return value


def _intervals(value: Any, info: ValidationInfo) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise UsageError(
            f"{info.field_name} is {value!r}: write an interval a column, as in {{price: [0,100)}}"
        )
    for column, written in (value or {}).items():
        interval.check_interval(written, f"{info.field_name}.{column}")
    return value


def _rewards(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not value:
        raise UsageError(
            f"rewards is {value!r}: write a number an event kind, as in {{view: 0.2, addtocart: 1.0}}"
        )
    for kind, reward in value.items():
        if isinstance(reward, bool) or not isinstance(reward, int | float) or not math.isfinite(reward):
            raise UsageError(f"rewards of {kind} is {reward!r}: it has to be a number")
    return dict(value)


def _split(value: Any) -> Any:
    split.checked(value)
    return value


def _mode(value: Any) -> Any:
    for phase, one in value.items() if isinstance(value, Mapping) else ((None, value),):
        where = f"eval_args.mode.{phase}" if phase else "eval_args.mode"
        if phase not in (None, "valid", "test"):
            raise UsageError(f"unknown key {phase} in eval_args.mode: it may hold test, valid")
        if not isinstance(one, str) or not re.fullmatch("full|labeled|(uni|pop)0*[1-9][0-9]*", one):
            raise UsageError(
                f"{where} is {one!r}: it has to be full, uniN or popN with N negatives of 1 or more, or labeled"
            )
    return value


def _encoding(value: Any) -> Any:
    if isinstance(value, str):
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError("no such encoding is known") from None
    return value


# None: the catalogue as it is, on RecBole's data sets and where nothing is said
Limits = Annotated[Any, BeforeValidator(_limits), WithJsonSchema({"type": ["string", "null"]})]
Intervals = Annotated[dict[str, Any] | None, BeforeValidator(_intervals)]
Rewards = Annotated[dict[str, float] | None, BeforeValidator(_rewards)]
Encoding = Annotated[Text, BeforeValidator(_encoding)]
Columns = dict[str, Names | Literal["*"]]  # by the suffix of the atomic file
Metrics = Annotated[
    list[Annotated[str, BeforeValidator(_metric)]],
    Field(min_length=1),
    BeforeValidator(as_list),
    AfterValidator(each_once),
]
ValidMetric = Annotated[Text, AfterValidator(_valid_metric)]


class ColdItems(Settings):
    """The key `cold_items`: items taken wholly out of training, see data/cold.py."""

    holdout: Number = key(..., "share of the training items that is held out", gt=0, lt=1)
    seed: Whole = key(0, "of the order in which they are drawn", ge=0)
    fold: Whole = key(0, "which share of that order; the folds of a seed share no item", ge=0)

    @model_validator(mode="after")
    def _has_fold(self) -> Self:
        if (self.fold + 1) * self.holdout > 1 + 1e-9:
            last = math.floor(1 / self.holdout + 1e-9) - 1
            raise UsageError(
                f"cold_items.fold is {self.fold}, and a holdout of {self.holdout} has folds 0 to {last}: choose one of "
                "them"
            )
        return self

    def __str__(self) -> str:
        return f"{self.holdout:g} of the training items, seed {self.seed}, fold {self.fold}"


class OffPolicySettings(Settings):
    """The key `off_policy`, see evaluate/off_policy.py."""

    policy: Annotated[Literal["softmax", "greedy"], NoneWord] = key(
        "softmax", "softmax of the scores over temperature; greedy: the best item but in a share epsilon"
    )
    temperature: Number = key(1.0, "divides the scores of policy softmax", ge=1e-6)
    clip: Number = key(10.0, "the largest weight of a target", ge=1)
    epsilon: Number = key(0.1, "share of the decisions in which policy greedy takes any item", ge=0, le=1)
    bootstrap: Whole = key(1000, "how often sessions are resampled", ge=LEAST_RESAMPLES)
    seed: Whole = key(1, "of that resampling", ge=0)


class EvalArgs(Settings):
    """The key `eval_args`: how the log is parted and what is ranked."""

    split: Annotated[dict[str, Any], BeforeValidator(_split)] = key(
        {"RS": [0.8, 0.1, 0.1]},
        "which sessions train, validate and test; LS, RS and TS are RecBole's and cut inside sessions",
        says=f"one of {', '.join(split.SPLITS)} with its value",
    )
    order: Literal["RO", "TO"] = key("RO", "random order, or time order, which sessions need")
    group_by: Annotated[Literal["user", "none"] | None, NoneWord] = key(
        "user", "whether RecBole's RS cuts inside each session or the whole log"
    )
    mode: Annotated[str | dict[str, str], BeforeValidator(_mode)] = key(
        "full",
        "the items that a target is ranked among: all, or so many drawn ones",
        says="full, uniN or popN with N negatives, or labeled; or {valid: …, test: …}",
    )

    def mode_of(self, part: Literal["valid", "test"]) -> str:
        """full, uniN, popN or labeled, of the validation or of the test part."""
        if isinstance(self.mode, str):
            return self.mode
        default = self.mode.get("valid", self.mode.get("test", "full"))
        return self.mode.get(part, default)


class Discretization(Settings):
    """One column of the key `discretization`."""

    method: Literal["ED", "LD"] = key(..., "equal distance, or logarithm")
    bucket: Whole = key(10, "number of buckets, for ED", ge=1)
