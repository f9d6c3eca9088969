"""SAC: SQN whose cross-entropy is weighted by the critic, after a warm-up."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import field_validator
from torch import Tensor

from recbole_ext.model.rl import losses
from recbole_ext.model.rl.actor_critic import ActorCriticSettings
from recbole_ext.model.rl.methods.sqn import SQN
from recbole_ext.model.rl.step import Step
from recbole_ext.settings.base import Number, Whole, key

PAIR = "the lowest and the highest weight, as in [0, 10]"


class SACSettings(ActorCriticSettings):
    """SQN's, and how the cross-entropy is weighted."""

    actor_clip: list[Number] = key([0, 10], "lowest and highest weight of the cross-entropy", says=PAIR)
    warm_up_epochs: Number = key(3, "epochs before the cross-entropy is weighted", ge=0, le=1e6)
    warm_up_steps: Whole | None = key(
        None,
        "the same in steps; wins over warm_up_epochs",
        ge=0,
        le=10**9,
        says="a whole number of 0 or more, or ~",
    )

    @field_validator("actor_clip", mode="before")
    @classmethod
    def _two_bounds(cls, value: Any) -> Any:
        numbers = isinstance(value, list) and all(type(bound) in (int, float) for bound in value)
        if not (numbers and len(value) == 2 and value[0] < value[1]):
            raise ValueError  # what is allowed says `PAIR`
        return value


class SAC(SQN):
    """Self-supervised actor-critic (Xin et al., SIGIR 2020): SQN, and after the warm-up, for each sample,

        clip(Q(s, a), actor_clip) · CE

    without gradient through Q. Released without a clip; on one encoder the loss then ran off to −10⁶.
    """

    settings_class = SACSettings
    logged: tuple[str, ...] = (*SQN.logged, "actor_weight", "clipped")
    knobs: tuple[str, ...] = ("learning_rate", "actor_clip", "gamma")
    warm_up_steps = 0

    def actor_value(self, step: Step) -> Tensor:
        """(N,) what the weight is, before it is clipped."""
        return step.taken

    def actor_weight(self, step: Step) -> Tensor:
        """(N,) clipped value; 1 before the warm-up is over."""
        if not self.warm:
            return torch.ones_like(step.taken)
        weight, clipped = losses.actor_factor(self.actor_value(step), *self.settings.actor_clip)
        step.noted["clipped"] = step.mean(clipped)
        return weight

    @property
    def warm(self) -> bool:
        """Whether the warm-up is over."""
        return bool(self.steps >= self.warm_up_steps)

    def begin_training(self, epoch_steps: int) -> None:
        """Count the warm-up in steps."""
        steps = self.settings.warm_up_steps
        self.warm_up_steps = round(self.settings.warm_up_epochs * epoch_steps) if steps is None else steps

    def end_training(self, best_epoch: int | None, epoch_steps: int) -> None:
        """Say it where the weights never came to hold."""
        if self.steps <= self.warm_up_steps:
            self.notes.append(
                f"training ended after {self.steps} steps, within the warm-up of {self.warm_up_steps}: the "
                "cross-entropy was never weighted (lower warm_up_epochs)"
            )
        elif best_epoch is not None and (best_epoch + 1) * epoch_steps <= self.warm_up_steps:
            self.notes.append(
                f"the best epoch, number {best_epoch + 1}, is of the warm-up of {self.warm_up_steps} steps: the "
                "cross-entropy of the tested weights was never weighted (lower warm_up_epochs)"
            )
