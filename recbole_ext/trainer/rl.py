"""SessionTrainer for reinforcement learning: two networks, a warm-up, what Q does, and a stop when it runs off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from recbole_ext.config import UsageError, number
from recbole_ext.trainer.session_trainer import SessionTrainer


class ActorCriticTrainer(SessionTrainer):
    """Trains `<encoder><method>` models of model/rl/actor_critic.py.

    epoch_values: by epoch, the means that the model's `diagnostics` gives; they go to TensorBoard and the record too.
    """

    def __init__(self, config: Any, model: Any):
        super().__init__(config, model)
        self.epoch_values: dict[int, dict[str, float]] = {}
        self._steps_before = 0
        self._fresh = False  # whether the optimizer is that of after the warm-up
        if config["actor_learning_rate"] is not None:  # now, not when the warm-up is over
            number(config, "actor_learning_rate", 0)

    def _meet_training(self, loader: Any) -> None:
        super()._meet_training(loader)
        if self.config["warm_up_steps"] is not None:
            self.model.warm_up_steps = int(number(self.config, "warm_up_steps", 0, whole=True))
        else:
            self.model.warm_up_steps = round(number(self.config, "warm_up_epochs", 0) * len(loader))

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """As RecBole's; says when training ended before the weights of the actor held."""
        result = super().fit(train_data, *args, **kwargs)
        model = self.model
        if model.actor_weight not in ("q", "advantage"):
            return result
        scores = getattr(self, "valid_scores", {})
        best = max(scores, key=lambda epoch: self._worth(scores[epoch])) if scores else None
        if model.steps <= model.warm_up_steps:
            model.notes.append(
                f"training ended after {model.steps} steps, within the warm-up of {model.warm_up_steps}: the "
                "cross-entropy was never weighted (lower warm_up_epochs)"
            )
        elif best is not None and (best + 1) * len(train_data) <= model.warm_up_steps:
            model.notes.append(
                f"the best epoch, number {best + 1}, is of the warm-up of {model.warm_up_steps} steps: the "
                "cross-entropy of the tested weights was never weighted (lower warm_up_epochs)"
            )
        return result

    def _worth(self, score: float) -> float:
        return score if self.valid_metric_bigger else -score

    def graph_key(self) -> Any:
        """Which network learns, and whether the warm-up is over."""
        return self.model.trained, self.model.warm

    def running_sums(self) -> list[Tensor]:
        """What the model notes of its steps."""
        return list(self.model.running_sums())

    def _step(self, batch: Any, loss_func: Callable[[Any], Any]) -> Any:
        model = self.model
        self._change_optimizer()
        model.begin_step()
        loss = super()._step(batch, loss_func)
        model.end_step()
        if self.device.type == "cpu":
            self._stop_if_diverged()
        return loss

    def _change_optimizer(self) -> None:
        rate = self.config["actor_learning_rate"]
        if (
            self._fresh
            or rate is None
            or not self.model.warm
            or self.model.actor_weight in ("none", "reward")
        ):
            return
        if (
            self.model.steps == self.model.warm_up_steps
        ):  # later: a resumed run, which has loaded the fresh one's state
            rate = number(self.config, "actor_learning_rate", 0)
            trained = [p for p in self.model.parameters() if p.requires_grad]
            self.optimizer = self._build_optimizer(params=trained, learning_rate=rate)
            self._graphs = None
        self._fresh = True

    def _train_epoch(self, train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
        before = self.model.steps
        loss = super()._train_epoch(train_data, epoch_idx, *args, **kwargs)
        self._stop_if_diverged()
        values = self.model.diagnostics(self.model.steps - before)
        self.epoch_values[epoch_idx] = values
        self.logger.info(f"epoch {epoch_idx} " + ", ".join(f"{k} {v:.4f}" for k, v in values.items()))
        for name, value in values.items():
            self.tensorboard.add_scalar(f"RL/{name}", value, epoch_idx)
        return loss

    def _check_nan(self, loss: Tensor) -> None:
        self._stop_if_diverged()
        super()._check_nan(loss)

    def _stop_if_diverged(self) -> None:
        step = int(self.model.first_bad)
        if step < 0:
            return
        config = self.config
        key = (
            "actor_learning_rate"
            if self._fresh and config["actor_learning_rate"] is not None
            else "learning_rate"
        )
        rate = f"{key} ({config[key]})"
        raise UsageError(
            f"{config['model']} diverged at step {step} (|Q| beyond q_limit {self.model.q_limit:g}, or a loss that is "
            f"no number): lower {rate}, the upper bound of actor_clip "
            f"({config['actor_clip']}) or gamma ({config['gamma']})"
        )
