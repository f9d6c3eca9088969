"""Training: how a model learns. A model's yaml may set other defaults of these keys."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from recbole_ext.errors import UsageError
from recbole_ext.settings.base import Flag, NoneWord, Number, Role, Settings, Whole, key

LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")
LARGEST_SEED = 2**32 - 1  # that numpy takes
# what the trainers of models that count do not read
OF_STEPS = (
    *("epochs", "train_batch_size", "learner", "learning_rate", "train_neg_sample_args", "eval_step"),
    *("stopping_step", "clip_grad_norm", "weight_decay", "require_pow", "enable_amp", "enable_scaler"),
    *("shuffle", "train_targets", "length_buckets", "train_loss", "negatives", "negative_power", "gbce_t"),
    *("target_log_q", "batch_negatives", "negative_pool", "row_updates"),
    *("score", "temperature", "precision", "cuda_graphs", "recency", "weight_average"),
    "replay_share",
)
# what only our own trainer and loaders read, of sequential models on our rows
OF_SESSIONS = (
    *("train_targets", "length_buckets", "train_loss", "negatives", "negative_power", "gbce_t"),
    *("target_log_q", "batch_negatives", "negative_pool", "row_updates"),
    *("score", "temperature", "precision", "cuda_graphs", "recency", "weight_average"),
    "replay_share",
)
SWITCHES = ("train_loss", "score")  # switch others of these keys off, see `idle`
SMALL_LOG, SMALL_BATCH, LARGE_BATCH = 300_000, 256, 2048  # what `train_batch_size: auto` goes by
ROWS_PAY_FROM = 100_000  # items
SAMPLED = ("sampled_softmax", "bce", "gbce")

_Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
_NoWord = BeforeValidator(lambda value: None if isinstance(value, str) and value.lower() == "none" else value)


class NegativeSampling(Settings):
    """The key `train_neg_sample_args`: RecBole's negatives, drawn by its loaders."""

    role: ClassVar[Role] = Role.TRAINING
    distribution: Annotated[Literal["uniform", "popularity", "none"] | None, NoneWord] = key(
        "uniform", "how negatives are drawn; none: there are none"
    )
    sample_num: Annotated[int | Literal["none"], NoneWord] = key(
        1, "negatives of a target", says="a whole number of 1 or more"
    )
    alpha: Number | Literal["none"] = key(
        1.0, "power of the counts, for popularity", says="a number of 0 or more"
    )
    dynamic: Flag = key(False, "the hardest of candidate_num drawn ones is taken")
    candidate_num: Whole = key(0, "for dynamic", ge=0)


class ClipGradNorm(Settings):
    """The key `clip_grad_norm`: arguments of torch's function of that name."""

    role: ClassVar[Role] = Role.TRAINING
    max_norm: Number = key(..., "the largest norm of the gradient", gt=0)
    norm_type: Number = key(2.0, "which norm", gt=0)
    error_if_nonfinite: Flag = key(False, "a norm that is not finite ends the run")
    foreach: Flag | None = key(None, "torch's faster way")


class Training(Settings):
    """All keys of it. Those of OF_SESSIONS are for sequential models on our rows (docs/speed.md)."""

    role: ClassVar[Role] = Role.TRAINING

    seed: Whole = key(2020, "of all that is drawn", ge=0, le=LARGEST_SEED)
    epochs: Whole = key(300, "passes over the training rows; 0: the untrained model is ranked", ge=0)
    stopping_step: Whole = key(
        10,
        "evaluations without a better valid_metric before training stops, at the next such one; an equal one is no "
        "better",
        ge=0,
    )
    eval_step: Whole = key(1, "epochs from one evaluation to the next; 0: none", ge=0)
    train_batch_size: Annotated[int, Field(strict=True, ge=1)] | Literal["auto"] = key(
        2048,
        f"rows, or targets, in a batch; auto: {SMALL_BATCH} where a log of sessions has up to {SMALL_LOG:,} training "
        f"targets, else {LARGE_BATCH:,}",
        says="a whole number of 1 or more, or auto",
    )
    learner: Annotated[Literal[LEARNERS], _Lower] = key("adam", "optimizer")  # type: ignore[valid-type]
    learning_rate: Number = key(0.001, "of the optimizer", gt=0)
    weight_decay: Number = key(0.0, "of the optimizer", ge=0, le=10)
    clip_grad_norm: ClipGradNorm | None = key(None, "clips the gradient, {max_norm: 1}")
    train_neg_sample_args: Annotated[NegativeSampling | None, _NoWord] = key(
        NegativeSampling(), "RecBole's negatives; ~: none"
    )
    shuffle: Flag = key(True, "the order of batches is drawn anew in every epoch")
    require_pow: Flag = key(False, "RecBole's EmbLoss squares its norms")
    enable_amp: Flag = key(False, "RecBole's autocast; precision: bf16 is the one for our trainers")
    enable_scaler: Flag = key(False, "scales the gradients of enable_amp")
    transform: (
        Literal["mask_itemseq", "inverse_itemseq", "crop_itemseq", "reorder_itemseq", "user_defined"] | None
    ) = key(None, "what RecBole's loaders make of a batch, as BERT4Rec asks for")

    # --- sequential models on our rows
    train_targets: Literal["prefixes", "all_positions"] | None = key(
        "prefixes",
        "prefixes: one row a (prefix, target); all_positions: one row a session, for models whose states know no "
        "later event",
    )
    length_buckets: Flag = key(True, "batches of sessions or prefixes of like length, in random order")
    train_loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] | None = key(
        None, "~: the model's own; the others for models that score by a product of vectors"
    )
    negatives: Whole = key(2048, "items that a batch shares as negatives, for a sampled train_loss", ge=1)
    negative_power: Number = key(
        0.5, "sampled_softmax draws them by count ** power: 0 uniform, 1 by popularity", ge=0, le=1
    )
    target_log_q: Flag = key(
        True,
        "sampled_softmax: log Q is subtracted from the target's score as from the negatives'; False: from theirs "
        "alone, so that the target counts once, as in the softmax",
    )
    batch_negatives: Flag = key(
        False, "sampled_softmax: the targets of a batch are each other's negatives too"
    )
    negative_pool: Whole | None = key(
        None,
        "sampled_softmax: so many are drawn first, of which negatives are kept, those more often that the batch scores "
        "high; ~: no pool",
        ge=2,
    )
    row_updates: Flag | Literal["auto"] = key(
        "auto",
        "of a sampled train_loss: only item vectors that a step read are updated; auto: where that is faster, on a CPU "
        f"from {ROWS_PAY_FROM:,} items on",
        says="True, False or auto",
    )
    gbce_t: Number = key(0.75, "gbce: 0 is plain BCE, 1 undoes the sampling", ge=0, le=1)
    score: Literal["cosine", "dot"] | None = key(
        None, "~: the model's own; cosine: cosine over temperature, dot: the plain product"
    )
    temperature: Number | None = key(None, "divides cosine scores; ~: 0.07", ge=1e-6)
    precision: Literal["fp32", "bf16"] = key(
        "fp32",
        "bf16: the products of the softmax; on a GPU what else is multiplied has operands of TF32 or float16",
    )

    recency: Number | None = key(
        None,
        "a target weighs exp(-age / recency), age from 0, the newest training session, to 1, the oldest; the mean "
        "weight is 1; ~: all weigh alike",
        ge=1e-6,
        le=1e6,
    )
    weight_average: Number | None = key(
        None,
        "decay of a moving average of the weights over the steps, which is validated, tested and saved; ~: none",
        gt=0,
        lt=1,
    )

    replay_share: Number | None = key(
        None,
        "of an update, which share of the sessions that the parent trained on train again, beside all new ones; "
        "~: all of them",
        ge=0,
        le=1,
    )

    def check(self) -> None:
        """Raise UsageError where two keys cannot go together."""
        if self.enable_scaler and self.weight_average is not None:
            raise UsageError(
                "weight_average is of our trainer's steps, and enable_scaler takes RecBole's: leave one of them out"
            )
        if self.negative_pool is not None and self.negative_pool <= self.negatives:
            raise UsageError(
                f"negative_pool is {self.negative_pool}, of which {self.negatives} negatives are kept: it has to be "
                "larger"
            )
        if self.enable_scaler and not self.enable_amp:
            raise UsageError("enable_scaler scales the gradients of enable_amp, which is off: leave it out")
        sampling = self.train_neg_sample_args
        if sampling is None or sampling.distribution in (None, "none"):
            return
        if isinstance(sampling.sample_num, int) and sampling.sample_num < 1:
            raise UsageError(
                f"train_neg_sample_args.sample_num is {sampling.sample_num}: it has to be a whole number of 1 or more"
            )


def idle(values: Any, given: Iterable[str]) -> dict[str, str]:
    """Keys of `given` that another key switches off, and the sentence's end that says which; values: name to value."""
    loss, score = values["train_loss"], values["score"]
    only_softmax = (loss == "sampled_softmax", f"train_loss is {loss or 'none'}: set sampled_softmax")
    needs = {
        "negatives": (loss in SAMPLED, f"train_loss is {loss or 'none'}: set {', '.join(SAMPLED)}"),
        **dict.fromkeys(("negative_power", "target_log_q", "batch_negatives", "negative_pool"), only_softmax),
        "row_updates": (loss in SAMPLED, f"train_loss is {loss or 'none'}: set {', '.join(SAMPLED)}"),
        "gbce_t": (loss == "gbce", f"train_loss is {loss or 'none'}: set gbce"),
        "temperature": (score == "cosine", f"score is {score or 'none'}: set score: cosine"),
    }
    return {name: words for name, (read, words) in needs.items() if name in given and not read}
