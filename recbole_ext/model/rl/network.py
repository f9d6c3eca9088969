"""The network of an actor-critic: an encoder, its scoring and the Q head beside it, and the kinds of events it hears.

`ActorCritic` (actor_critic.py) holds two of them and their losses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from recbole_ext.config import UsageError, one_of
from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.transitions import EventColumns
from recbole_ext.data.user_sequences import UserBatch
from recbole_ext.model.factored import DotProductModel, Factored, Scoring
from recbole_ext.model.rl.item_head import ItemHead

if TYPE_CHECKING:
    from recbole_ext.model.rl.actor_critic import ActorCritic


@dataclass
class Encoded:
    """States (M, d) of a batch for the supervised and for the Q head, and the item vectors they go with."""

    actor: Tensor
    critic: Tensor
    vectors: Tensor
    critic_vectors: Tensor


@dataclass
class Steps:
    """N transitions: place of s_t among the states of a batch, and of s_{t+1} (positions only); place of the target
    event in the flat column; action; share of each in the mean, 0 where nothing is to be learnt."""

    now: Tensor
    following: Tensor
    event: Tensor
    action: Tensor
    share: Tensor


class KindInput(nn.Module):
    """Adds a vector of each event's kind to what an encoder reads of its item (`history_events`)."""

    def __init__(self, kinds: int, dim: int, generator: torch.Generator):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(kinds, dim, generator=generator) * 0.02)
        self.kinds: Tensor | None = None  # of the batch under way, in the shape of its items
        self.columns: EventColumns | None = None  # which know the kind of every event of the flat column
        self.expected: Tensor | None = (
            None  # items of a trial batch: what is looked up has to be these, in their order
        )
        self.turned = False  # whether the encoder looks up (L, B) where the batch is (B, L)

    def listen(self, encoder: Any) -> None:
        """Be heard wherever `encoder` looks its input up."""
        lookup = getattr(encoder, "lookup", None)
        self.turned = lookup is not None
        (encoder.item_embedding if lookup is None else lookup).register_forward_hook(self._heard)

    def _heard(self, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        items = given[0]
        places = given[2] if len(given) > 2 else None
        if places is not None and self.columns is not None:
            # a place below 0: an event that is not of the log, whose kind nobody knows
            kinds = torch.where(places < 0, 0, self.columns.kinds[places.clamp_min(0)])
        elif self.kinds is None:
            return None
        else:
            kinds = self.kinds.T if self.turned else self.kinds
            self._check(items)
        return output + self.vectors[kinds] * (kinds > 0).unsqueeze(-1)

    def _check(self, items: Tensor) -> None:
        if self.expected is None:
            return
        expected = self.expected.T if self.turned else self.expected
        if not torch.equal(items, expected):
            raise UsageError(
                "history_events needs an encoder that looks its history up event by event, which this one does not: "
                "set history_events: False, or choose SASRec, GRU4Rec, Caser, NextItNet or HRNNFeat"
            )


class Network(nn.Module):
    """Encoder, supervised head and Q head; `separate_encoder` gives the Q head an encoder of its own."""

    def __init__(
        self, config: Any, encoder: Any, critic: Any, generator: torch.Generator, items: int, kinds: int
    ):
        super().__init__()
        self.encoder = encoder
        self.critic_encoder = critic
        self._scoring = Scoring(config)
        training = encoder.training
        with torch.no_grad():
            dim = self.factored(encoder.eval()).item_vectors().shape[1]
        encoder.train(training)
        tied = {key: one_of(config, key, ("tied", "free")) == "tied" for key in ("q_head", "supervised_head")}
        self.q = ItemHead(dim, items, dim, generator, tied["q_head"])
        self.supervised = (
            None if tied["supervised_head"] else ItemHead(dim, items, dim, generator, tied=False)
        )
        self.kind_input: KindInput | None = None
        if config["history_events"]:
            self.kind_input = KindInput(kinds, dim, generator)
            for part in self._encoders():
                self.kind_input.listen(part)

    def _encoders(self) -> list[Any]:
        return [self.encoder] if self.critic_encoder is None else [self.encoder, self.critic_encoder]

    def factored(self, encoder: Any) -> Factored:
        """The encoder as what makes states and item vectors."""
        return encoder if isinstance(encoder, Factored) else DotProductModel(encoder, self._scoring)

    @property
    def scoring(self) -> Scoring:
        """How the encoder scores items where the supervised head is tied to them."""
        return self.factored(self.encoder).scoring

    def item_vectors(self) -> tuple[Tensor, Tensor]:
        """(n_items, d) vectors of the encoder, and of the Q head's."""
        vectors = [self.factored(encoder).item_vectors() for encoder in self._encoders()]
        return vectors[0], vectors[-1]

    def encode(
        self, batch: Any, kinds: Tensor | None, vectors: tuple[Tensor, Tensor] | None = None
    ) -> Encoded:
        """States of every position, event or row of a batch; kinds: of its items where they are read."""
        vectors = vectors or self.item_vectors()
        if self.kind_input is not None:
            self.kind_input.kinds = kinds
        states = [self._states(encoder, batch, v) for encoder, v in zip(self._encoders(), vectors)]
        if self.kind_input is not None:
            self.kind_input.kinds = None
        return Encoded(states[0], states[-1].float(), vectors[0], vectors[1].float())

    def _states(self, encoder: Any, batch: Any, vectors: Tensor) -> Tensor:
        factored = self.factored(encoder)
        if isinstance(batch, PositionBatch):
            return factored.position_states(batch.items, vectors).flatten(0, 1)
        if isinstance(batch, UserBatch):
            states: Tensor = encoder.encode(batch, vectors)
            return states
        return factored.row_states(batch, vectors)


class HeadScoring:
    """What SessionTrainer ranks with: supervised head, Q head, or (1 - w) of the one plus w of the other."""

    def __init__(self, model: ActorCritic):
        self.model = model

    def states(self, states: Tensor) -> Tensor:
        """(B, d') queries of raw states (B, d), or (B, 2 d) with the Q encoder's behind."""
        network, weight = self.model.networks[0], self.model.blend
        actor, critic = self._halves(states)
        parts = []
        if weight < 1:
            head = network.supervised
            query = (
                network.scoring.states(actor)
                if head is None
                else torch.nn.functional.pad(actor, (0, 1), value=1.0)
            )
            parts.append(query if weight == 0 else query * (1 - weight))
        if weight > 0:
            query = torch.nn.functional.pad(network.q.query(critic.float()), (0, 1), value=1.0)
            parts.append(query if weight == 1 else query * weight)
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def vectors(self, vectors: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """(n_items, d') rows of raw item vectors (n_items, d), or (n_items, 2 d)."""
        network, weight = self.model.networks[0], self.model.blend
        actor, critic = self._halves(vectors)
        parts = []
        if weight < 1:
            head = network.supervised
            parts.append(
                network.scoring.vectors(actor, dtype)
                if head is None
                else torch.cat((head.weight, head.bias.unsqueeze(1)), 1)
            )
        if weight > 0:
            parts.append(torch.cat((network.q.rows(critic.float()), network.q.bias.unsqueeze(1)), 1))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _halves(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        if self.model.networks[0].critic_encoder is None:
            return raw, raw
        actor, critic = raw.chunk(2, dim=1)
        return actor, critic
