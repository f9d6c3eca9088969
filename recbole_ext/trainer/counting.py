"""RecBole's Trainer for models that have learnt when they are made: one validation, no steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.trainer.session import SessionTrainer


class CountingTrainer(SessionTrainer):
    """Evaluates a model that `learns_in_one_pass` as RecBole does after a first epoch; `epochs` is taken as 1.

    Validation, record and checkpoint are as for any model; the checkpoint holds what the model has learnt.
    """

    epochs: int
    eval_step: int

    def __init__(self, config: Any, model: Any):
        super().__init__(config, model)
        for setting in ("train_loss", "score", "recency", "weight_average"):
            value = getattr(self.settings, setting)
            if value is not None:
                raise UsageError(
                    f"{setting} is {value}, but {config['model']} counts and has no loss: leave {setting} out"
                )
        if self.settings.train_targets == "all_positions":
            raise UsageError(
                f"train_targets is all_positions, but {config['model']} counts and trains on no targets: set "
                "train_targets: prefixes"
            )
        self.epochs = min(self.epochs, 1)
        self.eval_step = min(self.eval_step, self.epochs)

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        """One of nothing, as RecBole's checkpoints hold an optimizer."""
        return torch.optim.SGD([torch.zeros(1, device=self.device)], lr=0.0)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Refused: there are no epochs to go on with."""
        raise UsageError(
            f"resume_from is {resume_file}, but {self.config['model']} learns at once and has nothing to go on with: "
            "leave resume_from out"
        )

    def _meet(self, loader: Any) -> None:
        dataset = getattr(loader, "_dataset", None)
        if isinstance(dataset, SessionDataset):
            dataset.trimmed = self.settings.transform is None

    def _meet_training(self, loader: Any) -> None:
        self._meet(loader)

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Callable[[Any], Any] | None = None,
        show_progress: bool = False,
    ) -> float:
        """0: the model has learnt when it was made."""
        return 0.0

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        interaction, history, positive_u, positive_i = batched_data
        if history is not None or not isinstance(interaction, Interaction):
            return super()._full_sort_batch_eval(batched_data)
        return interaction, self.model.sparse_scores(interaction), positive_u, positive_i

    def _predict_candidates(self, interaction: Any, candidates: Tensor) -> Tensor:
        scores: Tensor = self.model.sparse_scores(interaction).of(candidates)
        return scores

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        interaction, candidates, positive_u, positive_i = batched_data
        if candidates is None or candidates.dim() != 2:
            return super()._neg_sample_batch_eval(batched_data)
        scores = self._predict_candidates(interaction, candidates)
        candidates = candidates.to(self.device)
        return interaction, CandidateScores(scores, candidates, self.tot_item_num), positive_u, positive_i
