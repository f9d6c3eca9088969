"""Trains the two models of a blend one after the other, each by its own trainer, then looks for the weight.

One pass over the validation part: both models score a batch once, and every weight of the grid ranks its targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import set_color
from torch import Tensor
from tqdm import tqdm

from recbole_ext.blend.scores import BlendScores, fitted_temperature
from recbole_ext.bridge.checkpoint import copy_checkpoint, read_checkpoint
from recbole_ext.errors import UsageError
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.settings.place import Place
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.trainer.collector import RankCollector
from recbole_ext.trainer.session import SessionTrainer

SAMPLED_ROWS = 512  # validation rows that the temperatures are fitted to
SAME_SCORE = 1e-3  # two devices may differ by so much in the validation score of one checkpoint


class BlendTrainer(SessionTrainer):
    """RecBole's Trainer for `Blend`.

    train_loss_dict and the record's epochs go through the first model's epochs, then the second's; epoch_values says
    which of the two an epoch is of. for_record: the blend's weight and what led to it.
    """

    own_progress = True  # each model has a checkpoint of its own, see run/checkpoints.py
    # the weight is looked for once the models are trained, and the components are what was trained
    resumes_with = frozenset(
        {"blend_scale", "blend_temperatures", "blend_weights", "blend_weight", "blend_components"}
    )

    def __init__(self, config: Any, model: Any):
        super().__init__(config, model)
        self.epoch_values: dict[int, dict[str, float]] = {}
        self.for_record: dict[str, Any] = {}
        self._resumed = False

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        """One that has nothing to do: the components have theirs, and a checkpoint of RecBole's holds one."""
        return torch.optim.SGD([torch.zeros(1, device=self.device, requires_grad=True)], lr=0.0)

    def resume_checkpoint(self, resume_file: str) -> None:
        """Go on from a blend's checkpoint: models that it holds trained are kept, the next one goes on from its own."""
        stored = read_checkpoint(
            str(resume_file), self.device, bool(settings_of(self.config, Place).trust_pickle)
        )["config"]
        given = (stored.get("model"), *(own["model"] for own in stored.get("blend_components") or ()))
        if given != (self.config["model"], *(part.config["model"] for part in self.model.parts)):
            raise UsageError(
                f"resume_from {resume_file} is no checkpoint of this blend: it holds "
                f"{' and '.join(given[1:]) or given[0]}"
            )
        super().resume_checkpoint(resume_file)
        for place, part in enumerate(self.model.parts):
            before = self._file_of(place, part, str(resume_file))
            if Path(before).is_file():
                copy_checkpoint(before, self._file_of(place, part, self.saved_model_file))
        self.model.weight = self.model.plan.weight  # looked for again, with the settings of this run
        self.model.temperatures = self.model.plan.temperatures
        self._resumed = True

    # --- training --------------------------------------------------------------------------------------

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], None] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train what is not trained yet and choose the weight; returns the blend's best valid score and result.

        Raises UsageError where the weight or the temperatures are to be found and there is no validation part.
        """
        model = self.model
        has_valid = valid_data is not None and len(valid_data._dataset) > 0
        if not has_valid:
            self._require_no_validation()
        else:
            for part in model.parts:
                part.check_same_rows(valid_data)
        model.own_notes = []
        self.eval_collector.data_collect(train_data)
        seconds = []
        for place, part in enumerate(model.parts):
            began = time.perf_counter()
            if place >= model.trained:
                if saved:
                    self._save_checkpoint(-1, verbose=False)
                self._train_part(place, part, saved, show_progress, callback_fn)
                model.trained = place + 1
            seconds.append(time.perf_counter() - began)
        curve: dict[float, dict[str, float]] = {}
        if has_valid:
            curve, self.best_valid_score = self._choose(train_data, valid_data, show_progress)
        self._report(seconds, curve)
        self.best_valid_result = curve.get(model.weight)
        if self.best_valid_result is not None:
            self._last_valid = (self.best_valid_score, self.best_valid_result)
        if saved:
            self._save_checkpoint(max(self.train_loss_dict, default=-1), verbose=verbose)
        return self.best_valid_score, self.best_valid_result

    def _require_no_validation(self) -> None:
        plan = self.model.plan
        if plan.weight is None:
            raise UsageError(
                "blend_weight is ~ and there is no validation part to choose it on: give a number from 0 to 1"
            )
        if plan.scale == "softmax" and plan.temperatures is None and plan.weight not in (0, 1):
            raise UsageError(
                "blend_temperatures are ~ and there is no validation part to find them on: give the two of the run "
                "that found blend_weight, or set blend_scale: zscore or rank"
            )

    def _train_part(
        self,
        place: int,
        part: Any,
        saved: bool,
        show_progress: bool,
        callback_fn: Callable[[int, float], None] | None,
    ) -> None:
        self.logger.info(f"Blend: training {part.label}, {place + 1} of {len(self.model.parts)}")
        before = len(self.train_loss_dict)
        file = self._file_of(place, part, self.saved_model_file)

        def note(epoch: int, score: float) -> None:
            self.train_loss_dict[before + epoch] = part.trainer.train_loss_dict[epoch]
            if callback_fn is not None:
                callback_fn(before + epoch, score)

        part.fit(file, saved, self._resumed, show_progress, note)
        values = getattr(part.trainer, "epoch_values", {})
        for epoch, loss in part.trainer.train_loss_dict.items():
            self.train_loss_dict[before + epoch] = loss
            self.epoch_values[before + epoch] = {"component": place + 1, **values.get(epoch, {})}

    @staticmethod
    def _file_of(place: int, part: Any, blend: str) -> str:
        """The checkpoint of a model of the blend that is saved in file `blend`."""
        stem = Path(blend)
        return str(stem.with_name(f"{stem.stem}-{place + 1}-{part.config['model']}.pth"))

    # --- the weight ------------------------------------------------------------------------------------

    @torch.no_grad()
    def _choose(
        self, train_data: Any, valid_data: Any, show_progress: bool
    ) -> tuple[dict[float, dict[str, float]], float]:
        """Set the model's temperatures and weight; the validation result of every weight, and the best's score."""
        model = self.model
        model.eval()
        model.start_ranking()
        if model.plan.scale == "softmax" and model.temperatures is None and model.plan.weight not in (0, 1):
            model.temperatures = self._temperatures(valid_data)
        weights = [model.plan.weight] if model.plan.weight is not None else list(model.plan.weights)
        results, exact = self._curve(train_data, valid_data, weights, show_progress)
        curve, scores = dict(zip(weights, results)), dict(zip(weights, exact))
        self._compare_with_checkpoints(scores)
        sign = 1 if self.valid_metric_bigger else -1
        model.weight = max(weights, key=lambda w: (sign * scores[w], -abs(w - 0.5), -w))
        for w, score in scores.items():
            mark = "  <- chosen" if w == model.weight else ""
            self.logger.info(
                f"Blend: weight {w:g} of {model.labels[1]}, {self.valid_metric} {score:.6f}{mark}"
            )
        return curve, scores[model.weight]

    def _compare_with_checkpoints(self, scores: dict[float, float]) -> None:
        """Note where a checkpoint of `blend_from` states another validation score than it has here."""
        for weight, part in enumerate(self.model.parts):
            stated = part.stored_result.get(self.valid_metric)
            if part.checkpoint is None or stated is None or weight not in scores:
                continue
            if abs(scores[weight] - stated) > SAME_SCORE:
                note = (
                    f"{part.label} has validation {self.valid_metric} {scores[weight]:.4f} here, and {part.checkpoint} "
                    f"states {stated:.4f}: it was trained on other data"
                )
                self.logger.warning(note)
                self.model.own_notes.append(note)

    def _temperatures(self, valid_data: Any) -> tuple[float, float]:
        """Both models' temperatures, fitted to evenly spaced validation rows (in order of the prefix' length)."""
        dataset = valid_data._dataset
        rows = np.unique(np.linspace(0, len(dataset) - 1, min(SAMPLED_ROWS, len(dataset))).astype(np.int64))
        by_length = np.argsort(dataset.inter_feat[dataset.item_list_length_field].numpy(), kind="stable")
        chosen = dataset.inter_feat[torch.from_numpy(by_length[rows])]
        items = chosen[dataset.iid_field].to(self.device)
        first, second = (
            fitted_temperature(part.scores(chosen[dataset.event_field].long()), items)
            for part in self.model.parts
        )
        self.logger.info(f"Blend: temperatures {first:.4g} and {second:.4g}")
        return first, second

    def _curve(
        self, train_data: Any, valid_data: Any, weights: Sequence[float], show_progress: bool
    ) -> tuple[list[dict[str, float]], list[float]]:
        """Validation results, one a weight, and their unrounded scores, in one pass."""
        self.tot_item_num = valid_data._dataset.item_num
        collectors = [RankCollector(self.config) for _ in weights]
        for collector in collectors:
            collector.data_collect(train_data)
        batches = valid_data
        if show_progress:
            batches = tqdm(
                valid_data, total=len(valid_data), ncols=100, desc=set_color("Weights    ", "pink")
            )
        for batch in batches:
            interaction, candidates, positive_u, positive_i = batch
            pair = self.model.pair(interaction["event_index"], weights[0])
            blends: list[Any]
            if candidates is None:
                blends = pair.at(weights, positive_i.to(self.device))
            else:
                blends = [self._of_candidates(pair.under(w), candidates) for w in weights]
            for collector, scores in zip(collectors, blends):
                collector.eval_batch_collect(scores, interaction, positive_u, positive_i)
        results, scores = [], []
        for collector in collectors:
            results.append(dict(self.evaluator.evaluate(collector.get_data_struct())))
            scores.append(float(self.evaluator.exact[self.valid_metric]))
        return results, scores

    def _report(self, seconds: Sequence[float], curve: dict[float, dict[str, float]]) -> None:
        model = self.model
        sides = [
            {
                "model": part.config["model"],
                "checkpoint": part.checkpoint or part.trainer.saved_model_file,
                "epochs": len(part.trainer.train_loss_dict),
                "best_valid_score": float(part.trainer.best_valid_score)
                if part.trainer.best_valid_result
                else None,
                "seconds": spent,
                "config": config,
            }
            for part, spent, config in zip(model.parts, seconds, model.stored_configs)
        ]
        self.for_record = {
            "blend": {
                "scale": model.plan.scale,
                "temperatures": None if model.temperatures is None else list(model.temperatures),
                "weight": model.weight,
                "weights": list(curve),
                "valid": [{k: float(v) for k, v in result.items()} for result in curve.values()],
                "components": sides,
            }
        }
        if curve:
            self.for_record["refit"] = self._refit_settings()
        how = "given" if model.plan.weight is not None else f"chosen on validation by {self.valid_metric}"
        model.own_notes.append(
            f"{1 - model.weight:g} {model.labels[0]} + {model.weight:g} {model.labels[1]} by {model.plan.scale}, {how}"
        )

    def _refit_settings(self) -> dict[str, Any]:
        """Settings of a refit on training + validation: the weight, the temperatures, each model's best epochs."""
        model = self.model
        settings = []
        for given, part in zip(model.plan.settings, model.parts):
            scores = getattr(part.trainer, "valid_scores", {})
            best = [epoch for epoch, score in scores.items() if score == part.trainer.best_valid_score]
            epochs = best[0] + 1 if best else len(part.trainer.train_loss_dict)
            settings.append({**given, "epochs": epochs})
        found: dict[str, Any] = {"blend_weight": model.weight}
        if not model.plan.files:  # finished runs say themselves how they were trained
            found["blend_settings"] = settings
        if model.temperatures is not None:
            found["blend_temperatures"] = list(model.temperatures)
        return found

    # --- ranking ---------------------------------------------------------------------------------------

    def _meet(self, loader: Any) -> None:
        """The components' trainers find out what their models allow."""
        for part in self.model.parts:
            part.check_same_rows(loader)
        self.model.start_ranking()

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        interaction, _, positive_u, positive_i = batched_data
        return interaction, self.model.blended(interaction["event_index"]), positive_u, positive_i

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        interaction, candidates, positive_u, positive_i = batched_data
        blend = self.model.blended(interaction["event_index"])
        return interaction, self._of_candidates(blend, candidates), positive_u, positive_i

    def _of_candidates(self, blend: BlendScores, candidates: Tensor) -> CandidateScores:
        """Scores of the sampled candidates (B, C), scaled over all items."""
        candidates = candidates.to(self.device)
        return CandidateScores(blend.of_candidates(candidates), candidates, blend.width)
