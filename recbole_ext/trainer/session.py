"""RecBole's Trainer for sequential models: the same fit and evaluate, with faster steps and a ranking without matrices.

A step waits for the device nowhere (RecBole reads the loss and looks for NaN after each); optimizers are fused; on a
GPU steps of whole sessions are CUDA graphs. What a model allows (trimming, other losses, counting ranks) is found out
once, by `model.factored.examine`, when the first loader is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import get_gpu_usage, set_color
from torch import Tensor
from tqdm import tqdm

from recbole_ext.data.positions import PositionBatch, PositionTrainLoader
from recbole_ext.data.session_dataset import SessionDataset
from recbole_ext.errors import UsageError
from recbole_ext.model.beside import beside
from recbole_ext.model.factored import Examined, Factored, examine, factored_of
from recbole_ext.model.objective import Objective, position_loss, row_loss
from recbole_ext.processes import current, draw_apart
from recbole_ext.scores import ways
from recbole_ext.scores.candidates import CandidateScores
from recbole_ext.scores.factored import FactoredScores, worth_a_copy
from recbole_ext.scores.table import ItemTable
from recbole_ext.scores.terms import RowTerms
from recbole_ext.settings.place import Place
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training
from recbole_ext.trainer import heap
from recbole_ext.trainer.averaging import WeightAverage
from recbole_ext.trainer.collector import RankCollector
from recbole_ext.trainer.cuda_graphs import GraphedSteps
from recbole_ext.trainer.eager import eager, without_compiler
from recbole_ext.trainer.fast_layers import speed_up
from recbole_ext.trainer.gradients import SharedGradients, as_given, clip, targets_in
from recbole_ext.trainer.row_updates import RowUpdates, note_of, row_updates_of

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


class SessionTrainer(Trainer):
    """Trains and evaluates any of RecBole's sequential models, and ours."""

    def __init__(self, config: Any, model: Any):
        super().__init__(config, model)
        self.eval_collector = RankCollector(config)
        self.settings, self.place = settings_of(config, Training), settings_of(config, Place)
        low = self.settings.precision == "bf16"
        speed_up(model, self.device.type == "cuda", low)
        self.examined: Examined | None = None  # what the model allows, known once a loader is
        self.factored: Factored | None = None
        self.objective: Objective | None = None
        # of the evaluation under way: item vectors, and what states are multiplied with
        self._items: tuple[Tensor, ItemTable] | None = None
        self._graphs: GraphedSteps | None = None
        self.shared: SharedGradients | None = None  # with other processes, where there are any
        self.average: WeightAverage | None = None  # made in the first epoch
        self._learnt: list[Tensor] = []  # of an epoch: listing them takes a hundredth of a small step
        self._rows_chosen = False
        self.rows: RowUpdates | None = None  # known once a training loader is
        self._told = True  # by which ways steps go, in the log
        self.notes: list[str] = []  # what a reader of the result has to know

    # --- what the model allows -------------------------------------------------------------------------

    def _meet(self, loader: Any) -> None:
        """Find out what the model allows, and have the loader's batches made accordingly."""
        dataset = getattr(loader, "_dataset", None)
        if not isinstance(dataset, SessionDataset):
            for name in ("train_loss", "recency"):
                own = name == "train_loss" and isinstance(self.model, Factored)
                if getattr(self.settings, name) is not None and not own:
                    raise UsageError(
                        f"{name} needs our data path: set data_layout: pointers, or leave {name} out"
                    )
            return
        if self.examined is None:
            self.examined = examine(self.model, dataset)
            self.factored = factored_of(self.model, self.examined, self.settings)
            self.logger.info(f"{self.config['model']}: {self.examined}")
        # a transform (BERT4Rec masks items) may count on the full width
        dataset.trimmed = self.examined.trims and self.settings.transform is None

    def _meet_training(self, loader: Any) -> None:
        self._meet(loader)
        positions = isinstance(loader, PositionTrainLoader)
        if positions and not (self.examined and self.examined.causal):
            raise UsageError(
                "train_targets all_positions needs a model whose states know no later event, and "
                f"{self.config['model']} is none: set train_targets: prefixes"
            )
        if self.device.type == "cuda" and positions:
            loader.to(self.device)
        past_limit = int(getattr(self.model, "past_limit", 0))
        if positions and past_limit > 0:
            loader.read_past(past_limit)
        self._choose_objective(loader, positions)
        self._choose_rows()
        self._weigh(loader)

    def _choose_objective(self, loader: Any, positions: bool) -> None:
        if isinstance(self.model, Factored) or self.examined is None or self.objective is not None:
            return
        if self.settings.train_loss is None and not positions and not self.examined.softmax:
            if self.settings.score == "cosine" and self.factored is not None:
                raise UsageError(
                    f"{self.config['model']} has a loss of its own here, which knows no cosine: set train_loss: "
                    "softmax or leave score out"
                )
            return  # a loss of the model's own
        if self.factored is None:
            raise UsageError(
                f"train_loss {self.settings.train_loss} needs a model that scores by a product of vectors, which "
                f"{self.config['model']} does not: leave train_loss out"
            )
        if self.settings.train_loss is None and not self.examined.softmax:
            raise UsageError(
                f"{self.config['model']} has a loss of its own here, which knows no positions: set train_loss: softmax "
                "or train_targets: prefixes"
            )
        self.objective = Objective(self.settings, loader._dataset.training_counts()).to(self.device)

    def _choose_rows(self) -> None:
        if self._rows_chosen:
            return
        self._rows_chosen = True
        self.rows = row_updates_of(self)
        if self.rows is not None and self.factored is not None:
            self.factored.by_rows = True
            self.notes.append(note_of(self.rows, self.settings.row_updates is True))
            self.logger.info(self.notes[-1])

    def _weigh(self, loader: Any) -> None:
        """Have the loader say what targets weigh, where that is asked for."""
        recency = self.settings.recency
        if recency is None:
            return
        if self.objective is None and not getattr(self.model, "reads_weights", False):
            softmax = "set train_loss: softmax or " if self.factored is not None else ""
            raise UsageError(
                f"recency is {recency}, but {self.config['model']} has a loss of its own here, which knows no weights: "
                f"{softmax}leave recency out"
            )
        loader.weigh(recency)

    def fit(self, train_data: Any, *args: Any, **kwargs: Any) -> Any:
        """As RecBole's."""
        self._meet_training(train_data)
        ways.forget()
        self._told = False
        with self._memory_kept():
            return super().fit(train_data, *args, **kwargs)

    def _memory_kept(self) -> Any:
        return heap.kept() if self.device.type == "cpu" else nullcontext()

    # --- training --------------------------------------------------------------------------------------

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        """RecBole's, in one kernel for all parameters where torch has that."""
        with without_compiler():
            return eager(self._fused(super()._build_optimizer(**kwargs)))

    def _fused(self, plain: torch.optim.Optimizer) -> torch.optim.Optimizer:
        group = plain.param_groups[0]
        if type(plain) not in FUSED or not all(p.is_floating_point() for p in group["params"]):
            return plain
        settings = {"lr": group["lr"], "weight_decay": group["weight_decay"], "fused": True}
        if type(plain) is not torch.optim.SGD and self.device.type == "cuda":
            settings["capturable"] = True
        return type(plain)(group["params"], **settings)

    def _loss_of(self, batch: Any, select: bool = True) -> Any:
        """The loss of a batch, or the tuple of parts that some of RecBole's models return."""
        if self.objective is None or self.factored is None:
            if isinstance(self.model, Factored) and hasattr(self.model, "select"):
                self.model.select = select
            return self.model.calculate_loss(batch)
        if isinstance(batch, PositionBatch):
            return position_loss(self.factored, self.objective, batch, select)
        return row_loss(self.factored, self.objective, batch, batch[self.model.POS_ITEM_ID])

    @contextmanager
    def _products(self) -> Iterator[None]:
        """What a step under bf16 multiplies beside the softmax has operands of TF32: casts to bfloat16 would be as many
        kernels again, for products that are small."""
        before = torch.get_float32_matmul_precision()
        if self.settings.precision == "bf16" and self.device.type == "cuda":
            torch.set_float32_matmul_precision("high")
        try:
            with torch.autocast(self.device.type, enabled=bool(self.enable_amp), cache_enabled=False):
                yield
        finally:
            torch.set_float32_matmul_precision(before)

    def _backward(self, batch: Any, loss_func: Callable[[Any], Any], select: bool = True) -> Any:
        """Gradients of one batch; returns its loss, detached, or the parts of it."""
        with self._products():
            losses = loss_func(batch) if loss_func != self._loss_of else self._loss_of(batch, select)
            loss: Tensor = torch.stack(losses).sum() if isinstance(losses, tuple) else losses
            loss.backward()
        return tuple(part.detach() for part in losses) if isinstance(losses, tuple) else losses.detach()

    def update(self) -> None:
        """Take the optimizer's step; on the device only, as it may be part of a graph."""
        parameters: Iterable[Tensor] = self._learnt or list(self.model.parameters())
        if self.rows is not None:
            self.rows.take()
            parameters = self.rows.learnt(parameters)
        if self.clip_grad_norm:
            clip(parameters, **self.clip_grad_norm)
        if self.rows is None:
            self.optimizer.step()
        else:
            self.rows.step(self.optimizer, self.average)
        if self.average is not None:
            self.average.add()

    def _step(self, batch: Any, loss_func: Callable[[Any], Any]) -> Any:
        graphs = self._graphs
        loss = None
        if graphs is not None and isinstance(batch, PositionBatch):
            loss = graphs.step(batch)
        if loss is None:
            self.optimizer.zero_grad()
            loss = self._backward(batch, loss_func)
            if self.shared is not None:
                every = self.shared.of_all(as_given(loss), targets_in(batch))
                loss = every if isinstance(loss, tuple) else every[0]
            self.update()
        if self.average is not None:
            self.average.count()
        return loss

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Callable[[Any], Any] | None = None,
        show_progress: bool = False,
    ) -> Any:
        """RecBole's, but the loss is read once an epoch on a GPU, where reading it means waiting."""
        if self.enable_scaler:  # float16 on a GPU: RecBole's own loop scales the loss
            return super()._train_epoch(train_data, epoch_idx, loss_func or self._loss_of, show_progress)
        self._meet_training(train_data)
        self._begin_average()
        self.model.train()
        self._learnt = list(self.model.parameters())
        draw_apart(int(self.config["seed"]), epoch_idx)
        loss_func = loss_func or self._loss_of
        if self.shared is None and current().count > 1:
            self.shared = SharedGradients(self.model)
        if self._graphs is None and self._may_graph(train_data, loss_func):
            self._graphs = GraphedSteps(self, train_data)
        batches = train_data
        if show_progress:
            batches = tqdm(
                train_data, total=len(train_data), ncols=100, desc=set_color(f"Train {epoch_idx:>5}", "pink")
            )
        summed: Any = None
        with beside(self.device.type == "cpu"):
            for batch in batches:
                loss = self._step(batch.to(self.device), loss_func)
                summed = _added(summed, loss)
                if self.device.type == "cpu":
                    self._check_nan(sum(loss) if isinstance(loss, tuple) else loss)
                elif show_progress:
                    batches.set_postfix_str(set_color("GPU RAM: " + get_gpu_usage(self.device), "yellow"))
        self._tell_ways()
        if summed is None:
            return 0.0
        self._check_nan(sum(summed) if isinstance(summed, tuple) else summed)
        return tuple(part.item() for part in summed) if isinstance(summed, tuple) else summed.item()

    def _tell_ways(self) -> None:
        """Say once a fit by which ways its steps go."""
        if self._told:
            return
        self._told = True
        graphs = ", steps as CUDA graphs" if self._graphs is not None and not self._graphs.failed else ""
        self.logger.info(
            f"training in {self.settings.precision} on {self.device.type}: {ways.told(self.model)}{graphs}"
        )

    def _begin_average(self) -> None:
        if self.average is None and self.settings.weight_average is not None:
            self.average = WeightAverage(self.model, self.settings.weight_average)
        if self.average is not None and self.rows is not None:
            self.average.go_by_rows(self.rows.table.weight)

    def resume_average(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's average, where one is asked for."""
        self._begin_average()
        if self.average is not None:
            self.average.load_state_dict(state)

    def _drop_average(self) -> None:
        if self.average is not None:
            self.average = self._graphs = None  # graphs add to the average that they were made with

    def take_average(self) -> None:
        """Give the model the averaged weights for good, where there are any, to be ranked outside of `evaluate`."""
        if self.average is not None:
            self.model.load_state_dict(self.average.averaged(), strict=False)
            self._drop_average()

    def graph_key(self) -> Any:
        """What tells steps apart beside the shape of their batch; a graph is made for each."""
        return None

    def running_sums(self) -> list[Tensor]:
        """Tensors that a step adds to."""
        return []

    def _may_graph(self, train_data: Any, loss_func: Callable[[Any], Any]) -> bool:
        return (
            self.device.type == "cuda"
            and self.place.cuda_graphs
            and self.rows is None
            and isinstance(train_data, PositionTrainLoader)
            and train_data.buckets
            and loss_func == self._loss_of
            and type(self.optimizer) in FUSED
            and not (isinstance(self.model, Factored) and getattr(self.model, "loss_type", "CE") != "CE")
        )

    # --- ranking ---------------------------------------------------------------------------------------

    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> Any:
        """As RecBole's, without a matrix of scores where the model allows it, by the averaged weights if there are."""
        if eval_data:
            self.start_ranking(eval_data)
            if load_best_model:
                self._drop_average()  # a checkpoint's weights are averaged ones already
        averaged = nullcontext() if self.average is None else self.average.applied()
        try:
            with averaged, self._memory_kept():
                return super().evaluate(eval_data, load_best_model, model_file, show_progress)
        finally:
            self._items = None

    def start_ranking(self, loader: Any) -> None:
        """Make ready to rank rows of the loader's data set with the weights as they are now, outside of `evaluate`."""
        self._meet(loader)
        self._items = None

    def _prefix_states(self, interaction: Any, many: bool) -> tuple[Tensor, ItemTable, RowTerms | None]:
        """(B, d) states and all items, ready for a plain product, and the rows' terms beside it. many: every row meets
        all items, so that these are laid out for it."""
        assert self.factored is not None
        scoring = self.factored.scoring
        if self._items is None:
            raw = self.factored.item_vectors()
            vectors = scoring.vectors(raw)
            lay_out = many and worth_a_copy(vectors)
            self._items = raw, ItemTable(vectors, self.factored.rankable(), lay_out=lay_out)
        raw, table = self._items
        read = self.factored.read_rows(interaction, raw)
        return scoring.states(read.states), table, self.factored.terms(interaction, read)

    def _full_sort_batch_eval(self, batched_data: Any) -> Any:
        if (
            self.factored is None
            or not isinstance(batched_data[0], Interaction)
            or batched_data[1] is not None
        ):
            return super()._full_sort_batch_eval(batched_data)
        interaction, _, positive_u, positive_i = batched_data
        rows = interaction.to(self.device)
        states, table, terms = self._prefix_states(rows, many=True)
        scores = FactoredScores(states, table, terms=terms)
        return interaction, scores, positive_u, positive_i

    def _neg_sample_batch_eval(self, batched_data: Any) -> Any:
        interaction, candidates, positive_u, positive_i = batched_data
        if candidates is None or candidates.dim() != 2:
            return super()._neg_sample_batch_eval(batched_data)
        candidates = candidates.to(self.device)  # (B, C), the target first
        if self.factored is not None:
            rows = interaction.to(self.device)
            states, table, terms = self._prefix_states(rows, many=False)
            # terms may depend on the scores of all items
            if terms is not None or self.factored.rankable() is not None:
                scores = FactoredScores(states, table, terms=terms).of(candidates)
            else:
                scores = (states.unsqueeze(1) @ table.vectors[candidates].transpose(1, 2)).squeeze(1)
        else:
            scores = self._predict_candidates(interaction, candidates)
        return interaction, CandidateScores(scores, candidates, self.tot_item_num), positive_u, positive_i

    def _predict_candidates(self, interaction: Any, candidates: Tensor) -> Tensor:
        """(B, C) scores of a model that is no product: of all items at once, or by its `predict`.

        The two differ for CORE, whose `predict` leaves out the cosine that it is trained with.
        """
        rows = interaction.to(self.device)
        try:
            scores: Tensor = self.model.full_sort_predict(rows)
            return scores.view(len(rows), -1).gather(1, candidates)
        except NotImplementedError:
            pass
        item = self.config["ITEM_ID_FIELD"]
        columns = []
        for column in candidates.T:
            rows.update(Interaction({item: column}))
            columns.append(self.model.predict(rows).view(-1))
        rows.update(Interaction({item: candidates[:, 0]}))
        return torch.stack(columns, dim=1)


def _added(summed: Any, loss: Any) -> Any:
    """Running sum of losses or of tuples of them, on the device."""
    if isinstance(loss, tuple):
        return loss if summed is None else tuple(a + b for a, b in zip(summed, loss))
    return loss.clone() if summed is None else summed + loss
