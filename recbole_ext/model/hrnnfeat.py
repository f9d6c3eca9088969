"""HRNNFeat: a hierarchical recurrent network over a user's sessions with item features on input and output.

Reference: Quadrana et al., "Personalizing Session-based Recommendations with Hierarchical Recurrent Neural Networks",
RecSys 2017; features after Hidasi et al., "Parallel Recurrent Neural Network Architectures for Feature-rich
Session-based Recommendations", RecSys 2016.

What differs from the papers: the scored item table is the input table (id embedding + feature encoder), scores are
cosines over a temperature by default, the loss is the full softmax over all training items at every position, the
optimizer AdamW. `loss_type: TOP1`, `score: dot`, `learner: adagrad` give the released setting.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recbole_ext.config import number, one_of
from recbole_ext.data.user_dataset import UserSessionDataset
from recbole_ext.data.user_sequences import UserBatch, rows_batch
from recbole_ext.model.item_encoder import ItemEncoder, item_feature_fields
from recbole_ext.model.losses import LOSSES, cross_entropy, in_batch

USER_STATES = ("init", "all", "none")
SCORES = ("cosine", "dot")


class HRNNFeat(SequentialRecommender):
    """Session GRU, user GRU, and item vectors of id and features.

    For a user's sessions `s_1 … s_M` with items `i_{m,1..N}` and item vectors `x`:

        h_{m,n} = GRU_ses(x_{m,n}, h_{m,n-1})        session level, one step an event
        c_m     = GRU_usr(h_{m,N}, c_{m-1}), c_0 = 0  user level, one step at each session's end
        h_{m,0} = tanh(W c_{m-1} + b) for m > 1, and 0 for a user's first session

    user_state: `init` as above; `all` also feeds c_{m-1} into every step of session m; `none` leaves the user level
    out.
    `user_to_output` adds a map of c_{m-1} to h before scoring. Gradients flow through the user GRU across sessions.
    A session is read from its first event on: MAX_ITEM_LIST_LENGTH cuts other models' prefixes, not this one's.
    Under `empty_history` it is read from a start step, x_{m,0} = 0, whose state scores the first event.
    With `feature_fusion: parallel` a second session GRU reads the features, and the two states are joined for scoring.
    """

    input_type = (
        InputType.POINTWISE
    )  # losses draw their negatives from the batch or the catalogue, not the loader
    dataset_class = UserSessionDataset

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.loss_type = one_of(config, "loss_type", LOSSES)
        self.score_kind = one_of(config, "score", SCORES)
        self.user_state = one_of(config, "user_state", USER_STATES)
        self.temperature = number(config, "temperature", 1e-6) if self.score_kind == "cosine" else 1.0
        self.notes: list[str] = []  # what a reader of the result has to know
        self.sequences = getattr(dataset, "user_sequences", None)
        self.start_step = bool(config["empty_history"])  # each session starts with a step of padding
        if self.user_state != "none" and self.sequences is not None and not self.sequences.returning_users:
            self.notes.append("no user has a second session here, so this is a GRU with item features")
            self.user_state = "none"

        dim, hidden = (int(number(config, key, 1, whole=True)) for key in ("embedding_size", "hidden_size"))
        fields = item_feature_fields(dataset, config["item_features"])
        self.notes.append(f"item features in use: {', '.join(fields) or 'none'}")
        self.items = ItemEncoder(config, dataset, fields, dim)
        context = hidden if self.user_state == "all" else 0
        parts = self.items.parts
        self.session_grus = nn.ModuleList(nn.GRU(part + context, hidden) for part in parts)
        self.outputs = nn.ModuleList(
            nn.Identity() if part == hidden else nn.Linear(hidden, part) for part in parts
        )
        if self.user_state != "none":
            self.user_gru = nn.GRUCell(hidden * len(parts), hidden)
            self.init_maps = nn.ModuleList(nn.Linear(hidden, hidden) for _ in parts)
            if config["user_to_output"]:
                self.user_outputs = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in parts)
        self.user_to_output = bool(config["user_to_output"]) and self.user_state != "none"
        self.hidden = hidden
        self.dropout_input = nn.Dropout(number(config, "dropout_input", 0, 1))
        self.dropout_user = nn.Dropout(number(config, "dropout_user", 0, 1))
        self.dropout_session = nn.Dropout(number(config, "dropout_session", 0, 1))
        self.dropout_init = nn.Dropout(number(config, "dropout_init", 0, 1))
        self._reset_parameters()
        for note in self.notes:
            self.logger.info("HRNNFeat: %s", note)
        self.register_buffer("candidates", torch.nonzero(self.items.seen).squeeze(1), persistent=False)
        column = torch.zeros(self.n_items, dtype=torch.int64)
        column[self.candidates] = torch.arange(len(self.candidates))
        self.register_buffer("candidate_column", column, persistent=False)

    def _reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                size = parameter.shape[-1] if "ids" in name or "embeddings" in name else self.hidden
                nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)
            else:
                nn.init.zeros_(parameter)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                with torch.no_grad():
                    module.weight[0].zero_()

    def encode(self, batch: UserBatch, table: Tensor) -> Tensor:
        """(E, sum(parts)) the state after every event, mapped to the space of item vectors; table: (n_items, …)."""
        inputs = self.dropout_input(table[batch.items])  # (E, sum(parts))
        user = inputs.new_zeros(batch.users, self.hidden)  # c of every user so far
        states, event, session = [], 0, 0
        for step, sizes in enumerate(batch.batch_sizes):
            events = slice(event, event + batch.step_events[step])
            sessions = slice(session, session + batch.step_sessions[step])
            owner = batch.session_user[sessions]
            of_event = batch.event_session[events] - session
            state = self._session_level(inputs[events], sizes, user[owner], of_event, step > 0)
            states.append(self._to_output(state, user[owner], of_event))
            if self.user_state != "none" and step + 1 < len(batch.batch_sizes):
                last = self.dropout_session(state[batch.state_event[sessions] - event])
                user = user.index_copy(0, owner, self.user_gru(last, user[owner]).to(user.dtype))
            event, session = events.stop, sessions.stop
        return torch.cat(states)

    def _session_level(
        self, x: Tensor, sizes: Tensor, user: Tensor, of_event: Tensor, returning: bool
    ) -> Tensor:
        """(E_m, hidden * parts) session states of one step; user: (S_m, hidden) user states at the step's start."""
        states = []
        for part, (gru, piece) in enumerate(zip(self.session_grus, x.split(self.items.parts, dim=1))):
            first = None
            if self.user_state != "none" and returning:
                first = torch.tanh(self.init_maps[part](self.dropout_user(user)))
                first = self.dropout_init(first).unsqueeze(0)  # (1, S_m, hidden)
            if self.user_state == "all":
                piece = torch.cat((piece, self.dropout_user(user)[of_event]), dim=1)
            packed, _ = gru(PackedSequence(piece, sizes), first)
            states.append(packed.data)
        return torch.cat(states, dim=1)

    def _to_output(self, state: Tensor, user: Tensor, of_event: Tensor) -> Tensor:
        pieces = []
        for part, piece in enumerate(state.split(self.hidden, dim=1)):
            if self.user_to_output:
                piece = piece + self.user_outputs[part](self.dropout_user(user))[of_event]
            pieces.append(self.outputs[part](self.dropout_session(piece)))
        return torch.cat(pieces, dim=1)

    def _scores(self, states: Tensor, vectors: Tensor) -> Tensor:
        """(N, C) scores of states (N, d) for item vectors (C, d)."""
        if self.score_kind == "cosine":
            states, vectors = F.normalize(states, dim=1), F.normalize(vectors, dim=1)
        return states @ vectors.T / self.temperature

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Mean loss over all targets of a UserBatch, or over the rows of a RecBole Interaction."""
        batch = interaction
        if not isinstance(batch, UserBatch):
            batch = self._rows(interaction, targets=interaction[self.POS_ITEM_ID])
        table = self.items.table()
        states = self.encode(batch, table)
        learnt = self.items.seen[batch.targets]  # not padding, and a candidate of training
        states, target = states[learnt], batch.targets[learnt]
        if self.loss_type == "CE":
            logits = self._scores(states, table[self.candidates])
            return cross_entropy(logits.float(), self.candidate_column[target])
        return in_batch(self.loss_type, self._scores(states, table[target]), target)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B, n_items) scores; items of which neither id nor feature is known come last."""
        table = self.items.table()
        scores = self._scores(self._row_states(interaction, table), table)
        return scores.masked_fill(~self.items.rankable(), -torch.inf)

    def predict(self, interaction: Any) -> Tensor:
        """(B,) scores of the rows' own items."""
        table = self.items.table()
        states = self._row_states(interaction, table)
        vectors = table[interaction[self.ITEM_ID]]
        if self.score_kind == "cosine":
            states, vectors = F.normalize(states, dim=1), F.normalize(vectors, dim=1)
        return (states * vectors).sum(1) / self.temperature

    def _row_states(self, interaction: Any, table: Tensor) -> Tensor:
        batch = self._rows(interaction)
        return self.encode(batch, table)[batch.rows]

    def _rows(self, interaction: Any, targets: Tensor | None = None) -> UserBatch:
        # rows of our data set say which event they aim at, so the user's earlier sessions can be found
        if targets is None and self.sequences is not None and "event_index" in interaction:
            index = interaction["event_index"].cpu().numpy()
            batch = self.sequences.eval_batch(index, with_history=self.user_state != "none")
        else:
            sequence, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
            batch = rows_batch(sequence, length, targets, start_step=self.start_step)
        return batch.to(self.items.ids.weight.device)
