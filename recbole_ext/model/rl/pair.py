"""Two networks on one encoder: how they are made, whose turn it is to learn, and ranking by the first."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_ext.errors import UsageError
from recbole_ext.model.copies import copied
from recbole_ext.model.factored import Examined, Factored, Scoring, Vectors, examine
from recbole_ext.model.pointer import Read
from recbole_ext.model.rl.network import Network
from recbole_ext.scores.terms import RowTerms, hide_and_add
from recbole_ext.settings.base import ModelSettings
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training


class NetworkPair(SequentialRecommender, Factored):
    """The trained and the target network, which ranks as the first one's supervised head does.

    target_network: `coin` has two networks of their own first weights, a coin flip a step says which of them learns;
    `lagged` a copy that follows. Raises UsageError where the encoder's score is no product of vectors, or its own loss
    is more than the softmax of these scores and terms of its weights.
    """

    reads_weights = True
    encoder_name: str
    method: str
    settings_class: ClassVar[type[ModelSettings]]

    def __init__(self, config: Any, dataset: Any):
        self._set_up(config, dataset)
        self._refuse(config, dataset)
        self.networks: Any = nn.ModuleList(self._networks(dataset))

    def _set_up(self, config: Any, dataset: Any) -> None:
        SequentialRecommender.__init__(self, config, dataset)
        self.config = config
        self.settings: Any = settings_of(config, self.settings_class)
        self.training_settings = settings_of(config, Training)
        self.steps = 0  # made so far
        self.trained = 0  # the network that the step under way trains
        self.extra_terms = False  # the encoder's own loss has terms of its weights, found by `examine`

    @classmethod
    def restored(cls, config: Any, catalogue: Any, kept: dict[str, Any]) -> NetworkPair:
        """What ranks, without weights: the first network; catalogue: data.catalogue.Catalogue. It cannot be trained."""
        model = cls.__new__(cls)
        model._set_up(config, catalogue)
        model.networks = nn.ModuleList([model._network(catalogue, torch.Generator().manual_seed(0))])
        return model

    def ranking_state(self) -> dict[str, Tensor]:
        """The weights that ranking reads: the first network's encoder and free head."""
        own = ("networks.0.encoder.", "networks.0.supervised.")
        return {name: value for name, value in self.state_dict().items() if name.startswith(own)}

    def ranking_kept(self) -> dict[str, Any]:
        """Nothing beside the weights."""
        return {}

    def _refuse(self, config: Any, dataset: Any) -> None:
        if not config["single_spec"]:
            raise UsageError(f"{config['model']} trains in one process: leave nproc at 1")
        if not hasattr(dataset, "flat_place"):
            raise UsageError(f"{config['model']} needs our data path: set data_layout: pointers")

    def _networks(self, dataset: Any) -> tuple[Network, Network]:
        generator = torch.Generator().manual_seed(self.training_settings.seed)
        first = self._network(dataset, generator)
        if self.settings.target_network == "lagged":
            return first, copied(first).requires_grad_(False)
        # its own first weights; the global random state stays as the encoder alone would leave it
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            return first, self._network(dataset, generator)

    def _network(self, dataset: Any, generator: torch.Generator) -> Network:
        try:
            encoder = get_model(self.encoder_name)(self.config, dataset)
        except NotImplementedError as error:  # RecBole's models say so of a loss_type that they do not have
            raise UsageError(
                f"{self.encoder_name} knows no loss_type CE, so it can carry no {self.method}"
            ) from error
        table = getattr(encoder, "item_embedding", None)
        if not isinstance(encoder, Factored) and not isinstance(table, nn.Embedding):
            raise UsageError(
                f"{self.encoder_name} keeps no table of item vectors, so it can carry no {self.method}"
            )
        free = self.settings.supervised_head == "free"
        return Network(encoder, Scoring(self.training_settings), dataset.item_num, generator, free)

    def examine(self, dataset: Any) -> Examined:
        """As the encoder's own."""
        encoder = self.networks[0].encoder
        found = examine(encoder, dataset)
        if not found.factored:
            raise UsageError(
                f"{self.encoder_name} does not score by a product of vectors here, so it can carry no {self.method}: "
                "SASRec, GRU4Rec, Caser, NextItNet and HRNNFeat do"
            )
        if not isinstance(encoder, Factored):
            if not found.softmax and not found.weight_terms:
                raise UsageError(
                    f"{self.encoder_name} trains by more than the softmax of its scores, which {self.method} would "
                    "pass over: choose SASRec, GRU4Rec, Caser, NextItNet or HRNNFeat"
                )
            self.extra_terms = not found.softmax
        return found

    @property
    def past_limit(self) -> int:
        """As the encoder's."""
        return int(getattr(self.networks[0].encoder, "past_limit", 0))

    # --- whose turn it is ------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """Choose the network that the next step trains; a function of seed and step, so that a resumed run agrees."""
        self.trained = 0
        if self.settings.target_network == "coin":
            coin = torch.Generator().manual_seed(self.training_settings.seed * 1_000_003 + self.steps)
            self.trained = int(torch.randint(2, (), generator=coin))

    def end_step(self) -> None:
        """Count the step, and let a lagged target follow."""
        self.steps += 1
        if self.settings.target_network == "lagged" and self.steps % self.settings.target_every == 0:
            with torch.no_grad():
                main, target = (list(network.parameters()) for network in self.networks)
                torch._foreach_lerp_(target, main, self.settings.target_tau)

    def get_extra_state(self) -> Tensor:
        """Steps made, for checkpoints."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after `state` steps."""
        self.steps = int(state)

    # --- ranking: the supervised head of the first network ---------------------------------------------------

    @property
    def scoring(self) -> Any:  # type: ignore[override]  # others set theirs once
        """How the supervised head scores items."""
        return self.networks[0].scoring

    def item_vectors(self) -> Tensor:
        """(n_items, d) vectors of the encoder."""
        vectors: Tensor = self.networks[0].factored.item_vectors()
        return vectors

    def row_states(self, interaction: Any, vectors: Vectors) -> Tensor:
        """(B, d) states of rows."""
        return self.read_rows(interaction, vectors).states

    def read_rows(self, interaction: Any, vectors: Vectors) -> Read:
        """What the first network makes of rows."""
        read: Read = self.networks[0].read(interaction, vectors)
        return read

    def position_states(self, items: Tensor, vectors: Vectors) -> Tensor:
        """Training goes by `calculate_loss`, which makes them itself."""
        raise NotImplementedError("an actor-critic trains by its own loss")

    def rankable(self) -> Tensor | None:
        """As the encoder's."""
        rankable: Tensor | None = self.networks[0].factored.rankable()
        return rankable

    def terms(self, interaction: Any, read: Read) -> RowTerms | None:
        """As the encoder's; a free head scores items on its own."""
        network = self.networks[0]
        return None if network.supervised is not None else network.factored.terms(interaction, read)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B, n_items) scores."""
        vectors = self.item_vectors()
        read = self.read_rows(interaction, vectors)
        scores = self.scoring.states(read.states) @ self.scoring.vectors(vectors).T
        allowed = self.rankable()
        nothing = torch.zeros(0, dtype=torch.int64, device=scores.device)
        hidden = nothing if allowed is None else torch.nonzero(~allowed).squeeze(1)
        return hide_and_add(scores, hidden, self.terms(interaction, read))

    def predict(self, interaction: Any) -> Tensor:
        """(B,) scores of the rows' own items."""
        scores = self.full_sort_predict(interaction)
        return scores.gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)
