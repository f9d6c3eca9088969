"""HRNNFeat: a hierarchical recurrent network over a user's sessions with item features on input and output.

Reference: Quadrana et al., "Personalizing Session-based Recommendations with Hierarchical Recurrent Neural Networks",
RecSys 2017; features after Hidasi et al., "Parallel Recurrent Neural Network Architectures for Feature-rich
Session-based Recommendations", RecSys 2016.

What differs from the papers: the scored item table is the input table (id embedding + feature encoder), scores are
cosines over a temperature by default, the loss is the full softmax over all training items at every position, the
optimizer AdamW. `loss_type: TOP1`, `score: dot`, `learner: adagrad` give the released setting.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.recency import weight_of
from recbole_ext.data.user_dataset import UserSessionDataset
from recbole_ext.data.user_sequences import UserBatch, rows_batch
from recbole_ext.errors import UsageError
from recbole_ext.model.factored import Vectors, look_up
from recbole_ext.model.item_encoder import (
    ColdScoring,
    ItemEncoder,
    ItemEncoderSettings,
    ItemsRanked,
    item_feature_fields,
)
from recbole_ext.model.losses import in_batch
from recbole_ext.model.objective import Objective, loss_of, shares
from recbole_ext.model.pointer import Earlier, Read
from recbole_ext.model.recurrence import on_cpu, side_by_side
from recbole_ext.settings.base import Flag, NoneWord, Number, Whole, key
from recbole_ext.settings.protocol import Protocol
from recbole_ext.settings.run_settings import settings_of
from recbole_ext.settings.training import Training


class HRNNFeatSettings(ItemEncoderSettings):
    """Keys of HRNNFeat."""

    embedding_size: Whole = key(128, "size of an item vector", ge=1)
    hidden_size: Whole = key(128, "size of session and user states", ge=1)
    user_state: Annotated[Literal["init", "all", "none"], NoneWord] = key(
        "none", "init: c starts the next session; all: c also enters every step; none: no user GRU"
    )
    user_to_output: Flag = key(False, "add a map of the user state to the session state before scoring")
    max_user_sessions: Whole = key(
        50, "longest chain of sessions in training; a longer one is cut and starts from zero", ge=1
    )
    feature_fusion: Literal["sum", "gate", "parallel"] = key(
        "parallel", "sum, gate or parallel (p-RNN: two GRUs side by side; best on validation)"
    )
    dropout_input: Number = key(0.4, "on the item vectors that enter the session GRU", ge=0, lt=1)
    dropout_user: Number = key(0.0, "on the user state", ge=0, lt=1)
    dropout_session: Number = key(0.1, "on the session state, towards scores and user GRU", ge=0, lt=1)
    dropout_init: Number = key(0.0, "on the vector that starts a session", ge=0, lt=1)
    loss_type: Literal["CE", "BPR", "TOP1"] = key(
        "CE", "CE: full softmax over training items; BPR, TOP1: in-batch negatives"
    )
    readout: Flag = key(True, "an attention over the prefix's item vectors is mixed into the state")
    pointer: Annotated[Literal["none", "session", "user"], NoneWord] = key(
        "user",
        "session: items may be copied from the session; user: from the visitor's earlier sessions too",
    )
    other_defaults: ClassVar[dict[str, Any]] = {
        "score": "cosine",
        "temperature": 0.07,
        "train_neg_sample_args": None,
        "train_targets": "all_positions",
        "train_batch_size": "auto",
        "learner": "adamw",
        "learning_rate": 0.001,
        "weight_decay": 0.01,
        "clip_grad_norm": {
            "max_norm": 10.0
        },  # chains of user states blow up once in a while; else norms are below 3
        "epochs": 20,
        "stopping_step": 3,
    }

    def check(self) -> None:
        """Raise UsageError where two of its keys cannot go together."""
        super().check()
        if self.loss_type != "CE" and self.pointer != "none":
            raise UsageError(
                f"loss_type {self.loss_type} knows no probabilities, which pointer: {self.pointer} mixes: set "
                "pointer: none, or loss_type: CE"
            )


class HRNNFeat(ItemsRanked, SequentialRecommender):
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
    settings_class = HRNNFeatSettings
    scoring: ColdScoring

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        settings, training = settings_of(config, self.settings_class), settings_of(config, Training)
        self.loss_type = settings.loss_type
        if training.train_loss is not None and self.loss_type != "CE":
            raise UsageError(
                f"loss_type {self.loss_type} and train_loss {training.train_loss} are two losses: leave one out"
            )
        self.user_state = settings.user_state
        self.notes: list[str] = []  # what a reader of the result has to know
        self.sequences = getattr(dataset, "user_sequences", None)
        # whether each session starts with a step of padding
        self.start_step = bool(settings_of(config, Protocol).empty_history)
        if self.user_state != "none" and self.sequences is not None and not self.sequences.returning_users:
            self.notes.append("no user has a second session here, so this is a GRU with item features")
            self.user_state = "none"

        dim, hidden = settings.embedding_size, settings.hidden_size
        fields = item_feature_fields(dataset, settings.item_features, self.notes)
        self.items = ItemEncoder(settings, dataset, fields, dim)
        self.scoring = ColdScoring(settings, training, self.items)
        context = hidden if self.user_state == "all" else 0
        parts = self.items.parts
        self.session_grus = nn.ModuleList(nn.GRU(part + context, hidden) for part in parts)
        self.outputs = nn.ModuleList(
            nn.Identity() if part == hidden else nn.Linear(hidden, part) for part in parts
        )
        if self.user_state != "none":
            self.user_gru = nn.GRUCell(hidden * len(parts), hidden)
            self.init_maps = nn.ModuleList(nn.Linear(hidden, hidden) for _ in parts)
            if settings.user_to_output:
                self.user_outputs = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in parts)
        self.user_to_output = settings.user_to_output and self.user_state != "none"
        self.hidden = hidden
        self.dropout_input = nn.Dropout(settings.dropout_input)
        self.dropout_user = nn.Dropout(settings.dropout_user)
        self.dropout_session = nn.Dropout(settings.dropout_session)
        self.dropout_init = nn.Dropout(settings.dropout_init)
        self._reset_parameters()
        self.look_back = self.look_back_of(settings, dataset, self.notes)
        for note in self.notes:
            self.logger.info("HRNNFeat: %s", note)
        candidates = torch.nonzero(self.items.seen).squeeze(1)
        self.objective = Objective(training, dataset.training_counts(), candidates)
        self.select = True  # False where a CUDA graph wants shapes that do not depend on the data

    def _reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                size = parameter.shape[-1] if "ids" in name or "embeddings" in name else self.hidden
                nn.init.uniform_(parameter, -(size**-0.5), size**-0.5)
            else:
                nn.init.zeros_(parameter)
        self.items.clear_padding()

    def encode(self, batch: UserBatch, found: Tensor) -> Tensor:
        """(E, sum(parts)) the state after every event, mapped to the space of item vectors; found: (E, …) theirs."""
        inputs = self.dropout_input(found)
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

    def item_vectors(self) -> Tensor:
        """(n_items, sum(parts)) vectors of all items; in training `id_dropout` draws anew."""
        return self.items.table()

    def position_states(self, items: Tensor, vectors: Vectors) -> Tensor:
        """(n, L, sum(parts)) states of sessions (n, L) on their own, each an unknown user's."""
        return self._look(items, vectors).states.view(*items.shape, -1)

    def _look(self, items: Tensor, vectors: Vectors, past: Earlier | None = None) -> Read:
        found = look_up(items, vectors)  # one look-up for all, whose gradient is as large as the table
        states = self._encoded(found)
        if self.look_back is None:
            return Read(states.flatten(0, 1))
        return self.look_back.positions(states, items, found, past)

    def _encoded(self, found: Tensor) -> Tensor:
        """(n, L, sum(parts)) states of the session GRUs alone, mapped to the space of item vectors, found (n, L, …)."""
        if self.training and self.user_state != "all" and on_cpu(found):
            inputs = self.dropout_input(found).transpose(0, 1)  # (L, n, sum(parts))
            states = side_by_side(self.session_grus, inputs.split(self.items.parts, dim=2))
            mapped = [outputs(self.dropout_session(state)) for outputs, state in zip(self.outputs, states)]
            return torch.cat(mapped, dim=2).transpose(0, 1)
        inputs = self.dropout_input(found.transpose(0, 1))
        pieces = []
        for part, (gru, piece) in enumerate(zip(self.session_grus, inputs.split(self.items.parts, dim=2))):
            if self.user_state == "all":  # an unknown user's state is zero
                zeros = piece.new_zeros(*piece.shape[:2], self.hidden)
                piece = torch.cat((piece, zeros), dim=2)
            state, _ = gru(piece)
            pieces.append(self.outputs[part](self.dropout_session(state)))
        return torch.cat(pieces, dim=2).transpose(0, 1)

    def calculate_loss(self, interaction: Any) -> Tensor:
        """Mean loss over all targets of a PositionBatch or UserBatch, or over the rows of a RecBole Interaction."""
        vectors, weight = self.training_vectors(), weight_of(interaction)
        read, target = self._read_and_targets(interaction, vectors)
        learnt = target != 0
        if self.select or self.loss_type != "CE":
            place = torch.nonzero(learnt).squeeze(1)
            if len(place) < len(target):
                read, target, learnt = read.only(place), target[place], learnt[place]
                weight = None if weight is None else weight[place]
        if self.loss_type == "CE":
            return loss_of(self, self.objective, read, vectors, target, shares(learnt, weight))
        states = self.scoring.states(read.states)
        others = self.scoring.vectors(look_up(target, vectors))
        return in_batch(self.loss_type, states @ others.T, target, weight)

    def _read_and_targets(self, batch: Any, vectors: Vectors) -> tuple[Read, Tensor]:
        """What is read of E prefixes, and their (E,) next items, 0 where nothing is to be learnt."""
        if isinstance(batch, PositionBatch):
            return self.read_positions(batch, vectors), batch.targets.flatten()
        if isinstance(batch, UserBatch):
            read, target = self.read_users(batch, vectors), batch.targets
        else:
            read, target = self.read_rows(batch, vectors), batch[self.POS_ITEM_ID]
        return read, torch.where(self.items.seen[target], target, 0)

    def read_positions(self, batch: PositionBatch, vectors: Vectors) -> Read:
        """States and pointers after every position of sessions, each an unknown user's but for `pointer: user`."""
        items = batch.items
        if self.training and items.is_cpu:
            self._draw_masks(*items.shape)
            self.objective.begin(self.scoring, vectors)
        return self._look(items, vectors, self.earlier_with_vectors(batch.past_items, vectors))

    def _draw_masks(self, sessions: int, length: int) -> None:
        """Have dropout draw the masks of a step beside what it does before, in the order it takes them, where it can
        (trainer/fast_layers.py)."""
        found = sessions, length, sum(self.items.parts)
        states = length, sessions, self.hidden
        layers = [(self.dropout_input, [found]), (self.dropout_session, [states] * len(self.items.parts))]
        if self.look_back is not None and self.look_back.reads:
            layers.append((self.look_back.dropout, [found]))
        for layer, shapes in layers:
            draw = getattr(layer, "draw", None)
            if draw is not None:
                draw(*shapes)

    def read_users(self, batch: UserBatch, vectors: Vectors) -> Read:
        """States and pointers after every event of a UserBatch."""
        events = torch.arange(len(batch), device=batch.items.device)
        past = None
        if self.past is not None:
            past = self.past.of_sessions(batch.sessions[batch.event_session], self.past_limit, training=True)
        return self._ends(batch, events, vectors, self.earlier_with_vectors(past, vectors))

    def read_rows(self, interaction: Any, vectors: Vectors) -> Read:
        """State and pointers at the end of every row's prefix, its user's earlier sessions included."""
        whole = getattr(interaction, "whole", None)
        if whole is not None:
            items, length = whole
            return self._read_whole(items, length, vectors, self.past_of(interaction, vectors))
        batch = self._rows(interaction)
        return self._ends(batch, batch.rows, vectors, self.past_of(interaction, vectors))

    def row_states(self, interaction: Any, vectors: Vectors) -> Tensor:
        """(B, sum(parts)) state at the end of every row's prefix, its user's earlier sessions included."""
        return self.read_rows(interaction, vectors).states

    def _read_whole(self, items: Tensor, length: Tensor, vectors: Vectors, past: Earlier | None) -> Read:
        """What is read of sessions (B, M) of `length` (B,) steps, of visitors whose earlier sessions are not read."""
        found = look_up(items, vectors)
        states = self._encoded(found).flatten(0, 1)
        row = torch.arange(len(items), device=items.device)
        first = row * items.shape[1]
        if self.look_back is None:
            return Read(states[first + length - 1])
        width = min(self.look_back.window, items.shape[1])
        place = (length - 1).unsqueeze(1) - torch.arange(width - 1, -1, -1, device=items.device)
        at = torch.where(place >= 0, first.unsqueeze(1) + place, -1)
        return self.look_back.rows(states, items.flatten(), at, found.flatten(0, 1), past)

    def _ends(self, batch: UserBatch, events: Tensor, vectors: Vectors, past: Earlier | None) -> Read:
        """What is read of the prefixes that `events` (B,) of a UserBatch end."""
        found = look_up(batch.items, vectors)
        states = self.encode(batch, found)
        if self.look_back is None:
            return Read(states[events])
        at = batch.last_events(events, self.look_back.window)
        return self.look_back.rows(states, batch.items, at, found, past)

    def _rows(self, interaction: Any) -> UserBatch:
        # rows of our data set say which event they aim at, so the user's earlier sessions can be found
        live = getattr(interaction, "user_batch", None)
        if live is not None:
            batch: UserBatch = live
        elif not self.training and self.sequences is not None and "event_index" in interaction:
            index = interaction["event_index"].cpu().numpy()
            batch = self.sequences.eval_batch(index, with_history=self.user_state != "none")
        else:
            sequence, length = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
            batch = rows_batch(sequence, length, start_step=self.start_step)
        return batch.to(self.items.ids.weight.device)
