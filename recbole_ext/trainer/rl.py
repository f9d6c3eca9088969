"""SessionTrainer for reinforcement learning: two networks, what Q does by epoch, and a stop when it runs off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from recbole_ext.errors import UsageError
from recbole_ext.trainer.session import SessionTrainer


class ActorCriticTrainer(SessionTrainer):
    """Trains `<encoder><method>` models of model/rl.

    epoch_values: by epoch, what the model's `diagnostics` gives; it goes to TensorBoard and the record too.
    """

    def __init__(self, config: Any, model: Any):
        super().__init__(config, model)
        self.epoch_values: dict[int, dict[str, float]] = {}

    def _meet_training(self, loader: Any) -> None:
        super()._meet_training(loader)
        self.model.begin_training(len(loader))

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """As RecBole's; the model hears which epoch was best."""
        result = super().fit(train_data, *args, **kwargs)
        scores = getattr(self, "valid_scores", {})
        best = max(scores, key=lambda epoch: self._worth(scores[epoch])) if scores else None
        self.model.end_training(best, len(train_data))
        return result

    def _worth(self, score: float) -> float:
        return score if self.valid_metric_bigger else -score

    def graph_key(self) -> Any:
        """Which network learns, and whether the warm-up is over."""
        return self.model.trained, self.model.warm

    def running_sums(self) -> list[Tensor]:
        """What the model notes of its steps."""
        tensors: list[Tensor] = self.model.epoch_figures.tensors()
        return tensors

    def _step(self, batch: Any, loss_func: Callable[[Any], Any]) -> Any:
        self.model.begin_step()
        loss = super()._step(batch, loss_func)
        self.model.end_step()
        if self.device.type == "cpu":
            self._stop_if_diverged()
        return loss

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
        found = self.model.epoch_figures
        step = int(found.first_bad)
        if step < 0:
            return
        own = self.model.settings
        values = {name: getattr(own, name, getattr(self.settings, name, None)) for name in self.model.knobs}
        knobs = ", ".join(f"{name} ({value})" for name, value in values.items())
        raise UsageError(
            f"{self.config['model']} diverged at step {step} (|Q| beyond q_limit {found.limit:g}, or a loss that is no "
            f"number): lower one of {knobs}"
        )
