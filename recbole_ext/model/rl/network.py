"""One of the two networks of an actor-critic: an encoder, a supervised head over its states, a Q head beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.user_sequences import UserBatch
from recbole_ext.model.factored import DotProductModel, Factored, Scoring
from recbole_ext.model.pointer import Read
from recbole_ext.model.rl.item_head import ItemHead


@dataclass
class Encoded:
    """A batch's M states as the encoder makes them, (M, d) in float32 for the Q head, and the item vectors."""

    read: Read
    critic: Tensor
    vectors: Tensor


class Network(nn.Module):
    """Encoder and heads; `supervised` is None where the encoder's own scores are that head."""

    def __init__(self, encoder: Any, scoring: Scoring, items: int, generator: torch.Generator, free: bool):
        super().__init__()
        self.encoder = encoder
        self._scoring = scoring  # of a RecBole model, which has none of its own
        with still(encoder), torch.no_grad():
            dim = self.factored.item_vectors().shape[1]
        self.q = ItemHead(dim, items, generator)
        self.supervised = ItemHead(dim, items, generator) if free else None

    @property
    def factored(self) -> Factored:
        """The encoder as what makes states and item vectors."""
        encoder = self.encoder
        return encoder if isinstance(encoder, Factored) else DotProductModel(encoder, self._scoring)

    @property
    def scoring(self) -> Scoring | ItemHead:
        """How the supervised head scores items."""
        return self.factored.scoring if self.supervised is None else self.supervised

    def encode(self, batch: Any) -> Encoded:
        """States of every position, event or row of a batch."""
        vectors = self.factored.item_vectors()
        read = self.read(batch, vectors)
        return Encoded(read, read.states.float(), vectors)

    def read(self, batch: Any, vectors: Tensor) -> Read:
        """What it makes of a PositionBatch's positions, of a UserBatch's events or of rows; a free head knows no
        pointer."""
        if isinstance(batch, PositionBatch):
            read = self.factored.read_positions(batch, vectors)
        elif isinstance(batch, UserBatch):
            read = self.encoder.read_users(batch, vectors)
        else:
            read = self.factored.read_rows(batch, vectors)
        return read if self.supervised is None else Read(read.states)


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Within the block the network computes as in evaluation: no dropout, and no random number is drawn."""
    training = network.training
    network.train(False)
    try:
        yield
    finally:
        network.train(training)
