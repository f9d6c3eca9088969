"""The encoder of a model as a graph of ONNX, traced by torch's exporter from the model's own code.

In : items (B, L) int64, 0 = padding on the right; length (B,) int64, from 1; vectors (B, L, e) of the items; of a model
     that reads visitors' pasts past (B, P) int64, newest first, 0 = none, and past_vectors (B, P, e).
Out: states (B, e), and of a model with a pointer copied (B, K) int64, log_share (B, K), log_rest (B,), see
     model/pointer.py.

The table of item vectors stays outside, as it is what items are ranked by too, and a graph would hold it twice.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_ext.errors import UsageError
from recbole_ext.model.factored import DotProductModel, Scoring, states_everywhere
from recbole_ext.model.item_encoder import ItemsRanked
from recbole_ext.model.pointer import Earlier
from recbole_ext.recommend.folder import Part
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training

OPSET = 17
NETWORKS = ("HRNNFeat", "SASRecFeat", "GRU4RecFeat", "SASRec", "GRU4Rec", "NARM", "CORE")


@dataclass(frozen=True)
class Encoder:
    """What is exported of a network: score = (state · vector) * scale + bias.

    graph: items, length, vectors (, past, past_vectors) to states and looks. vectors: (n_items, e). scale, bias:
    (n_items,). rankable: (n_items,) bool. unseen: (n_items,) bool, items that `repeat_bias` is added for where a row
    names them; repeat_bias 0: nothing is. past: whether it reads visitors' pasts.
    """

    graph: nn.Module
    vectors: Tensor
    scale: Tensor
    bias: Tensor
    rankable: Tensor
    unseen: Tensor
    repeat_bias: float
    past: bool
    points: bool


@torch.no_grad()
def encoder_of(part: Part) -> Encoder:
    """What is exported of a network of NETWORKS. Raises UsageError where a setting of it stands against it."""
    model = part.model
    if part.reads.chain:
        raise UsageError(
            f"{part.name} with user_state {model.user_state} cannot be exported, as it reads a visitor's sessions one "
            "by one: train it with user_state none, where the pointer reads the past"
        )
    if part.config["transform"] not in (None, "mask_itemseq"):
        raise UsageError(
            f"{part.name} with transform {part.config['transform']} cannot be exported: train without it"
        )
    if part.name == "CORE":
        return _core(model)
    if isinstance(model, ItemsRanked):
        return _of_ours(model)
    scoring = Scoring(settings_of(part.config, Training)) if part.factored else Scoring(Training())
    product = DotProductModel(model, scoring)
    vectors = product.item_vectors().detach()
    return _plain(_OfRecBole(model, scoring), vectors, _scale(scoring, vectors))


def _plain(graph: nn.Module, vectors: Tensor, scale: Tensor) -> Encoder:
    count = len(vectors)
    rankable = torch.ones(count, dtype=torch.bool)
    rankable[0] = False
    none = torch.zeros(count, dtype=torch.bool)
    return Encoder(graph, vectors, scale, torch.zeros(count), rankable, none, 0.0, False, False)


def _core(model: Any) -> Encoder:
    vectors = model.item_embedding.weight.detach()
    length = vectors.norm(dim=1).clamp_min(1e-12)  # as F.normalize has it
    return _plain(_OfRecBole(model, None), vectors, 1 / (length * model.temperature))


def _of_ours(model: Any) -> Encoder:
    scoring, vectors = model.scoring, model.item_vectors().detach()
    unseen = ~model.items.seen
    unseen[0] = False
    points = model.look_back is not None and model.look_back.points
    return Encoder(
        graph=_OfOurs(model),
        vectors=vectors,
        scale=_scale(scoring, vectors),
        bias=unseen.float() * scoring.bias,
        rankable=model.rankable(),
        unseen=unseen,
        repeat_bias=0.0 if points or not bool(unseen.any()) else scoring.repeat_bias,
        past=model.past_limit > 0,
        points=points,
    )


def _scale(scoring: Scoring, vectors: Tensor) -> Tensor:
    """(n_items,) what `Scoring.vectors` multiplies each vector with."""
    if scoring.kind != "cosine":
        return torch.ones(len(vectors))
    return 1 / vectors.norm(dim=1).clamp_min(1e-30)  # a vector of zeros stays one


def _scored(scoring: Scoring | None, states: Tensor) -> Tensor:
    if scoring is None or scoring.kind != "cosine":
        return states
    return states / states.norm(dim=-1, keepdim=True).clamp_min(1e-30) / scoring.temperature


class _Given(nn.Module):
    """Stands in for a table of items: their vectors are given, within `of`."""

    def __init__(self) -> None:
        super().__init__()
        self._vectors: Tensor | None = None

    def forward(self, items: Tensor) -> Tensor:
        assert self._vectors is not None
        return self._vectors

    @contextmanager
    def of(self, vectors: Tensor) -> Iterator[None]:
        self._vectors = vectors
        try:
            yield
        finally:
            self._vectors = None


class _OfRecBole(nn.Module):
    """A model of RecBole's that reads items and lengths; scoring None: its states are as they are scored."""

    def __init__(self, model: Any, scoring: Scoring | None):
        super().__init__()
        self.model, self.scoring = model, scoring
        self.given = model.item_embedding = _Given()
        self.one_input = scoring is None  # CORE reads no lengths

    def forward(self, items: Tensor, length: Tensor, vectors: Tensor) -> Tensor:
        with self.given.of(vectors):
            states = self.model(items) if self.one_input else self.model(items, length)
        return _scored(self.scoring, states)


class _OfOurs(nn.Module):
    """HRNNFeat, SASRecFeat and GRU4RecFeat, with what looks back."""

    def __init__(self, model: Any):
        super().__init__()
        self.model = model
        self.given = _Given()
        self.own = not hasattr(model, "session_grus")  # RecBole's encoder, which looks items up itself
        if self.own:
            model.item_embedding = self.given

    def _encoded(self, items: Tensor, vectors: Tensor) -> Tensor:
        if not self.own:
            states: Tensor = self.model._encoded(vectors)
            return states
        with self.given.of(vectors):
            return states_everywhere(self.model, items)

    def forward(
        self,
        items: Tensor,
        length: Tensor,
        vectors: Tensor,
        past: Tensor | None = None,
        past_vectors: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        states = self._encoded(items, vectors)
        longest = items.shape[1]
        row = torch.arange(items.shape[0]).unsqueeze(1) * longest
        look_back, scoring = self.model.look_back, self.model.scoring
        if look_back is None:
            last = states.flatten(0, 1)[row.squeeze(1) + length - 1]
            return (_scored(scoring, last),)
        back = torch.arange(longest).flip(0)[-look_back.window :]  # W - 1 … 0
        place = (length - 1).unsqueeze(1) - back
        at = torch.where(place >= 0, row + place, -1)
        earlier = None if past is None or past_vectors is None else Earlier(past, past_vectors)
        read = look_back.rows(states.flatten(0, 1), items.flatten(), at, vectors.flatten(0, 1), earlier)
        if read.looks is None:
            return (_scored(scoring, read.states),)
        return _scored(scoring, read.states), *read.looks


@torch.no_grad()
def write_encoder(encoder: Encoder, path: Path) -> None:
    """Trace the graph on a few made-up sessions and write it as ONNX."""
    width = encoder.vectors.shape[1]
    items = torch.tensor([[1, 1, 1], [1, 1, 0]])
    given: dict[str, Tensor] = {
        "items": items,
        "length": torch.tensor([3, 2]),
        "vectors": F.embedding(items, encoder.vectors[:2]),
    }
    if encoder.past:
        given |= {"past": items[:, :2], "past_vectors": given["vectors"][:, :2]}
    names = ["states", *(["copied", "log_share", "log_rest"] if encoder.points else [])]
    axes: dict[str, dict[int, str]] = {name: {0: "B", 1: "L"} for name in ("items", "vectors")}
    axes |= {name: {0: "B", 1: "P"} for name in ("past", "past_vectors") if encoder.past}
    axes |= {name: {0: "B", 1: "K"} for name in ("copied", "log_share") if encoder.points}
    axes |= {
        name: {0: "B"} for name in ("length", "states", "log_rest") if name != "log_rest" or encoder.points
    }
    assert width == given["vectors"].shape[2]
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # that it is the older exporter, and what a trace may take for constant
        torch.onnx.export(
            encoder.graph.eval(),
            tuple(given.values()),
            path,
            input_names=list(given),
            output_names=names,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
