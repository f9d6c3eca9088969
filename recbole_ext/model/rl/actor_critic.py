"""Reinforcement learning on any sequential encoder: SQN, SAC, SNQN, SA2C as `<encoder><method>`, such as SASRecSQN.

A model is an encoder, which may be any sequential model whose score is a product of vectors, a supervised head over its
states and a Q head beside it. What tells the methods apart are settings (configs/method/*.yaml): how the cross-entropy
of a sample is weighted, and how many negative actions the Q head learns. Equations: losses.py and docs/rl.md.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import get_model
from torch import Tensor, nn

from recbole_ext.config import UsageError, flag, number, one_of
from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.transitions import EventColumns, next_rows
from recbole_ext.data.user_sequences import UserBatch
from recbole_ext.evaluate.ranks import add_and_hide
from recbole_ext.model.factored import (
    Examined,
    Factored,
    examine,
    probed_rows,
    weight_terms,
)
from recbole_ext.model.losses import UnlikeSampler, softmax_loss
from recbole_ext.model.objective import Objective
from recbole_ext.model.rl import losses as rl_losses
from recbole_ext.model.rl.network import Encoded, HeadScoring, Network, Steps

ACTOR_WEIGHTS = ("none", "q", "advantage", "reward")
TARGETS = ("coin", "lagged")
SUMS = (
    "actor_loss",
    "actor_weight",
    "td_loss",
    "negative_td_loss",
    "q_taken",
    "q_greedy",
    "open",
    "overestimation",
    "advantage",
    "advantage_square",
    "clipped",
)
TOPS = ("q_taken_max", "q_greedy_max")


class ActorCritic(SequentialRecommender, Factored):
    """A sequential encoder with a supervised and a Q head; subclasses name the encoder and the method.

    Raises UsageError where the encoder's score is no product of vectors, or its own loss is more than the softmax of
    these scores and terms of its weights.
    """

    encoder_name: str
    method: str
    learns_transitions = True
    scoring: Any

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        if not config["single_spec"]:
            raise UsageError(f"{config['model']} trains in one process: leave nproc at 1")
        if config["loss_type"] not in (None, "CE"):
            raise UsageError(
                f"loss_type {config['loss_type']} has no actor and critic: set loss_type: CE for {config['model']}"
            )
        if not hasattr(dataset, "flat_place"):
            raise UsageError(f"{config['model']} needs our data path: set data_layout: pointers")
        self.config = config
        self.columns = EventColumns(config, dataset)
        self.notes = list(self.columns.notes)
        self._read_settings(config)
        self.notes += idle_settings(config)

        kinds = len(self.columns.kind_names)
        generator = torch.Generator().manual_seed(config["seed"])
        make = get_model(self.encoder_name)
        first = self._network(make, dataset, generator, kinds)
        if self.target_network == "lagged":
            second = copy.deepcopy(first).requires_grad_(False)
        else:  # its own first weights; the global random state stays as the encoder alone would leave it
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
                second = self._network(make, dataset, generator, kinds)
        self.networks: Any = nn.ModuleList((first, second))
        for kind_input in (first.kind_input, second.kind_input):
            if kind_input is not None:
                kind_input.columns = self.columns
        self.scoring = HeadScoring(self)
        self.notes += [note for note in getattr(first.encoder, "notes", []) if note not in self.notes]

        counts = dataset.training_counts()
        own = getattr(first.encoder, "objective", None)
        self.objective = own if own is not None else Objective(config, counts)
        self.register_buffer(
            "actions", torch.as_tensor(dataset.train_items, dtype=torch.bool).clone(), persistent=False
        )
        self.negatives = UnlikeSampler(counts, number(config, "rl_negative_power", 0, 1))
        share = counts.double() / counts.sum()
        self.register_buffer("behaviour", share.float().clamp_min(1e-12), persistent=False)
        self.register_buffer("sums", torch.zeros(len(SUMS)), persistent=False)
        self.register_buffer("tops", torch.full((len(TOPS),), -torch.inf), persistent=False)
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64), persistent=False)
        self.register_buffer("first_bad", torch.full((), -1), persistent=False)
        self.steps = 0  # made so far
        self.trained = 0  # the network that the step under way trains
        self.extra_terms = False  # the encoder's own loss has terms of its weights, found by `examine`
        self.select = True  # False where a CUDA graph wants shapes that do not depend on the data

    def _network(self, make: Any, dataset: Any, generator: torch.Generator, kinds: int) -> Network:
        try:
            encoder, critic = make(self.config, dataset), None
        except NotImplementedError as error:  # RecBole's models say so of a loss_type that they do not have
            raise UsageError(
                f"{self.encoder_name} knows no loss_type CE, so it can carry no {self.method}"
            ) from error
        if not isinstance(encoder, Factored) and not isinstance(
            getattr(encoder, "item_embedding", None), nn.Embedding
        ):
            raise UsageError(
                f"{self.encoder_name} keeps no table of item vectors, so it can carry no {self.method}"
            )
        if self.config["separate_encoder"]:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
                critic = make(self.config, dataset)
        return Network(self.config, encoder, critic, generator, dataset.item_num, kinds)

    def _read_settings(self, config: Any) -> None:
        for key in ("separate_encoder", "history_events"):
            flag(config, key)
        self.gamma = number(config, "gamma", 0, 1)
        self.q_weight = number(config, "q_weight", 0)
        self.negative_weight = number(config, "negative_weight", 0)
        self.negative_number = int(number(config, "rl_negatives", 0, whole=True))
        self.cql_weight = number(config, "cql_weight", 0)
        self.actor_weight = one_of(config, "actor_weight", ACTOR_WEIGHTS)
        if self.actor_weight == "advantage" and not self.negative_number:
            raise UsageError(
                "actor_weight advantage compares with negative actions: set rl_negatives to 1 or more"
            )
        clip = config["actor_clip"]
        numbers = isinstance(clip, list | tuple) and all(type(bound) in (int, float) for bound in clip)
        if not (numbers and len(clip) == 2 and clip[0] < clip[1]):
            raise UsageError(
                f"actor_clip is {clip!r}: write the lowest and the highest weight, as in [0, 10]"
            )
        self.clip = (float(clip[0]), float(clip[1]))
        self.smooth = number(config, "smooth", 0)
        self.logged_next = one_of(config, "next_action", ("greedy", "logged")) == "logged"
        self.target_network = one_of(config, "target_network", TARGETS)
        self.target_tau = number(config, "target_tau", 0, 1)
        self.target_every = int(number(config, "target_every", 1, whole=True))
        self.candidates = 0
        if one_of(config, "q_actions", ("all", "sampled")) == "sampled":
            self.candidates = int(number(config, "q_candidates", 1, whole=True))
        ranked = one_of(config, "rank_by", ("supervised", "q", "blend"))
        self.blend = {"supervised": 0.0, "q": 1.0}.get(ranked, -1.0)
        if ranked == "blend":
            self.blend = number(config, "blend_weight", 0, 1)
        self.bootstraps = self.gamma > 0 and self.columns.signal != "history"
        limit = config["q_limit"]
        bound = max(self.columns.largest, 1e-6) / max(1 - self.gamma, 1e-3)
        self.q_limit = 100 * bound if limit is None else number(config, "q_limit", 1e-9)
        if self.blend > 0 and not self.q_weight and not self.cql_weight:
            raise UsageError(
                f"rank_by {ranked} ranks by a Q head that q_weight 0 never trains: set rank_by: supervised or raise "
                "q_weight"
            )

    # --- what the encoder allows ---------------------------------------------------------------------------

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
        self._hear_rows(dataset)
        return found

    @torch.no_grad()
    def _hear_rows(self, dataset: Any) -> None:
        """Raise UsageError where `history_events` would add an event's kind to another event's item."""
        rows = probed_rows(dataset)
        if rows is None or not self.config["history_events"]:
            return
        device = self.sums.device
        network = self.networks[0]
        batch = rows[0].to(device)
        network.kind_input.expected = batch[self.ITEM_SEQ]
        try:
            with _still(network):
                network.encode(batch, self._kinds(batch))
        finally:
            network.kind_input.expected = None

    # --- steps ---------------------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """Choose the network that the next step trains; a function of seed and step, so that a resumed run agrees."""
        self.trained = 0
        if self.target_network == "coin":
            coin = torch.Generator().manual_seed(self.config["seed"] * 1_000_003 + self.steps)
            self.trained = int(torch.randint(2, (), generator=coin))

    def end_step(self) -> None:
        """Count the step, and let a lagged target follow."""
        self.steps += 1
        if self.target_network == "lagged" and self.steps % self.target_every == 0:
            with torch.no_grad():
                main, target = (list(network.parameters()) for network in self.networks)
                torch._foreach_lerp_(target, main, self.target_tau)

    def get_extra_state(self) -> Tensor:
        """Steps made, for checkpoints."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after `state` steps."""
        self.steps = int(state)
        self.clock.fill_(self.steps)

    @property
    def warm(self) -> bool:
        """Whether the cross-entropy of the next step is weighted: warm-up is over, or there is none."""
        return self.steps >= self.warm_up_steps

    warm_up_steps = 0  # the trainer knows how many steps an epoch has

    # --- loss ----------------------------------------------------------------------------------------------

    def calculate_loss(self, batch: Any) -> Tensor:
        """Loss of the network whose turn it is, over the transitions of a PositionBatch, UserBatch or Interaction."""
        main, other = self.networks[self.trained], self.networks[1 - self.trained]
        encoded = main.encode(batch, self._kinds(batch))
        steps = self._steps(batch)
        with torch.autocast(self.sums.device.type, enabled=False):
            return self._loss(main, other, encoded, steps, batch)

    def _loss(self, main: Network, other: Network, encoded: Encoded, steps: Steps, batch: Any) -> Tensor:
        columns, share = self.columns, steps.share
        reward, done = columns.reward[steps.event], columns.closes[steps.event]
        query = main.q.query(encoded.critic[steps.now])  # (N, d)
        taken = main.q.at(query, encoded.critic_vectors, steps.action)
        next_value, greedy, target_now = self._next_values(main, other, encoded, steps, batch, done)
        td = rl_losses.td_loss(rl_losses.td_target(reward, next_value, done, self.gamma), taken)
        loss = self.q_weight * (share * td).sum()
        noted = {"td_loss": (share * td).sum(), "q_taken": (share * taken).sum()}

        others = None
        if self.negative_number:
            negatives = self.negatives.draw(steps.action, self.negative_number)  # (N, K)
            others = main.q.at(query, encoded.critic_vectors, negatives)
            if self.bootstraps:
                best = self._best(main, query, encoded.critic_vectors, steps.action)
                value = self._target_value(target_now, best)
                negative_target = self.gamma * value  # the state stays, so the episode goes on, done or not
            else:
                negative_target = torch.zeros_like(taken)
            negative = rl_losses.td_loss(negative_target.unsqueeze(1), others).sum(1)
            loss = loss + self.q_weight * self.negative_weight * (share * negative).sum()
            noted["negative_td_loss"] = (share * negative).sum()
        if self.cql_weight:
            loss = loss + self.cql_weight * self._conservative(main, query, encoded, steps, taken)

        factor = self._actor_factor(taken, others, reward, noted, share)
        if self.smooth:
            factor = factor * self._off_policy(main, encoded, steps)
        actor = self._supervised_loss(main, encoded, steps, share * factor)
        loss = loss + actor
        if self.extra_terms:
            loss = loss + weight_terms(main.encoder, batch).sum()
        noted["actor_loss"], noted["actor_weight"] = actor, (share * factor).sum()
        self._note(noted, taken, greedy, done, steps, loss)
        return loss

    def _supervised_loss(self, main: Network, encoded: Encoded, steps: Steps, weight: Tensor) -> Tensor:
        states = encoded.actor[steps.now]
        if main.supervised is None:
            scoring = main.scoring
            states = scoring.states(states)
            vectors = scoring.vectors(encoded.vectors, self.objective.vector_dtype(encoded.vectors))
        else:
            states, vectors = main.supervised.extended(states, encoded.vectors)
        loss: Tensor = self.objective(states, vectors, steps.action, weight)
        return loss

    def _actor_factor(
        self, taken: Tensor, others: Tensor | None, reward: Tensor, noted: dict[str, Tensor], share: Tensor
    ) -> Tensor:
        """(N,) what multiplies the cross-entropy of each transition; 1 before the warm-up is over."""
        plain = torch.ones_like(taken)
        if others is not None:
            lead = rl_losses.advantage(taken, others).detach()
            noted["advantage"] = (share * lead).sum()
            noted["advantage_square"] = (share * lead.square()).sum()
        if self.actor_weight == "reward":
            return reward
        if self.actor_weight == "none" or not self.warm:
            return plain
        value = taken if self.actor_weight == "q" else lead
        factor, clipped = rl_losses.actor_factor(value, *self.clip)
        noted["clipped"] = (share * clipped).sum()
        return factor

    def _next_values(
        self, main: Network, other: Network, encoded: Encoded, steps: Steps, batch: Any, done: Tensor
    ) -> tuple[Tensor, Tensor | None, tuple[Network, Tensor, Tensor] | None]:
        """(N,) the target network's value of the next action; (N,) the trained network's of it; the target network's
        states and vectors at s_t."""
        if not self.bootstraps:
            return torch.zeros_like(done, dtype=torch.float32), None, None
        with torch.no_grad(), _still(other), _still(main):
            if isinstance(batch, PositionBatch | UserBatch):
                seen = other.encode(batch, self._kinds(batch))
                mine = encoded.critic.detach()[steps.following]
                theirs, now = seen.critic[steps.following], seen.critic[steps.now]
                vectors = seen.critic_vectors
            else:
                mine, theirs, now, vectors = self._rows_ahead(main, other, encoded, batch, done)
            query = main.q.query(mine)
            action = self.columns.items[(steps.event + 1).clamp_max(len(self.columns.items) - 1)]
            if not self.logged_next:
                action = self._best(main, query, encoded.critic_vectors.detach(), action)
            greedy = main.q.at(query, encoded.critic_vectors.detach(), action)
            value = other.q.at(other.q.query(theirs), vectors, action)
        return value, greedy, (other, now, vectors)

    def _rows_ahead(
        self, main: Network, other: Network, encoded: Encoded, batch: Any, done: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Critic states at s_{t+1} by the trained and the target network, the latter's at s_t (zeros where not wanted),
        and its vectors."""
        ongoing = torch.nonzero(~done).squeeze(1)
        vectors = other.item_vectors()
        mine, theirs = torch.zeros_like(encoded.critic), torch.zeros_like(encoded.critic)
        if len(ongoing):
            later = next_rows(batch[ongoing], self.config)
            kinds = self._kinds(later)
            mine[ongoing] = main.encode(later, kinds).critic
            theirs[ongoing] = other.encode(later, kinds, vectors).critic
        now = torch.zeros_like(theirs)
        if self.negative_number:
            now = other.encode(batch, self._kinds(batch), vectors).critic
        return mine, theirs, now, vectors[1].float()

    def _target_value(self, target_now: Any, action: Tensor) -> Tensor:
        other, states, vectors = target_now
        with torch.no_grad():
            value: Tensor = other.q.at(other.q.query(states), vectors, action)
        return value

    def _best(self, main: Network, query: Tensor, vectors: Tensor, logged: Tensor) -> Tensor:
        """(N,) the trained network's best action, of all training items or of some drawn ones and the logged one."""
        low = self.objective.precision == "bf16"
        if not self.candidates:
            return main.q.best(query, vectors, self.actions, torch.bfloat16 if low else torch.float32)
        with torch.no_grad():
            drawn = self.negatives.some(self.candidates)
            scores = query @ main.q.rows(vectors)[drawn].T + main.q.bias[drawn]
            highest, place = scores.max(1)
            own = main.q.at(query, vectors, logged)
            own = own.masked_fill(~self.actions[logged], -torch.inf)
            return torch.where(own > highest, logged, drawn[place])

    def _conservative(
        self, main: Network, query: Tensor, encoded: Encoded, steps: Steps, taken: Tensor
    ) -> Tensor:
        """Mean of `logsumexp Q(s, ·) - Q(s, a+)`, over all items or the drawn candidates and a+."""
        if not self.candidates:
            states, rows = main.q.extended(query, encoded.critic_vectors)
            return softmax_loss(states, rows, steps.action, steps.share)
        drawn = self.negatives.some(self.candidates)
        scores = query @ main.q.rows(encoded.critic_vectors)[drawn].T + main.q.bias[drawn]
        scores = scores.masked_fill(drawn == steps.action.unsqueeze(1), -torch.inf)
        total = torch.logaddexp(scores.logsumexp(1), taken)
        return (steps.share * (total - taken)).sum()

    def _off_policy(self, main: Network, encoded: Encoded, steps: Steps) -> Tensor:
        """(N,) `clip(pi / beta, .1, 10) ** smooth`; pi: the supervised head's, beta: popularity in training."""
        with torch.no_grad():
            states = encoded.actor[steps.now]
            if main.supervised is None:
                states, vectors = main.scoring.states(states), main.scoring.vectors(encoded.vectors)
            else:
                states, vectors = main.supervised.extended(states, encoded.vectors)
            chunks = []
            for piece, action in zip(states.split(512), steps.action.split(512)):
                chunks.append(
                    torch.log_softmax(piece @ vectors.T, 1).gather(1, action.unsqueeze(1)).squeeze(1)
                )
            return rl_losses.off_policy_factor(
                torch.cat(chunks).exp(), self.behaviour[steps.action], self.smooth
            )

    # --- where the transitions of a batch are ----------------------------------------------------------------

    def _kinds(self, batch: Any) -> Tensor | None:
        if not self.config["history_events"] or isinstance(batch, UserBatch):
            return None
        if isinstance(batch, PositionBatch):
            return torch.where(batch.items != 0, self.columns.kinds[batch.places], 0)
        field = f"{self.config['EVENT_FIELD']}{self.config['LIST_SUFFIX']}"
        if field in batch:
            return batch[field]
        if "event_index" in batch and hasattr(self.networks[0].encoder, "lookup"):
            return None  # the encoder knows the place of each event
        return (batch[self.ITEM_SEQ] != 0).long()  # a log without kinds: everything is one

    def _steps(self, batch: Any) -> Steps:
        if isinstance(batch, PositionBatch):
            return self._position_steps(batch)
        if isinstance(batch, UserBatch):
            now = torch.nonzero(batch.targets).squeeze(1)
            event = batch.places[now] + 1
            return self._shared(now, batch.following[now], event, batch.targets[now])
        action = batch[self.POS_ITEM_ID]
        now = torch.arange(len(action), device=action.device)
        return self._shared(now, now, self.columns.place[batch["event_index"]], action)

    def _position_steps(self, batch: PositionBatch) -> Steps:
        targets, items = batch.targets, batch.items
        event = (batch.places + 1).clamp_max(len(self.columns.items) - 1)
        # at the end of a row that is no session's the next state is unknown; the next row learns this transition
        last = torch.arange(batch.steps, device=items.device) == (batch.length - 1).unsqueeze(1)
        targets = torch.where(last & ~self.columns.closes[event], 0, targets).flatten()
        now = torch.arange(len(targets), device=targets.device)
        if self.select:
            now = torch.nonzero(targets).squeeze(1)
        following = (now + 1).clamp_max(len(targets) - 1)
        return self._shared(now, following, event.flatten()[now], targets[now])

    def _shared(self, now: Tensor, following: Tensor, event: Tensor, action: Tensor) -> Steps:
        learnt = action != 0
        return Steps(now, following, event, action, learnt / learnt.sum().clamp_min(1))

    # --- what is logged ------------------------------------------------------------------------------------

    def _note(
        self,
        noted: dict[str, Tensor],
        taken: Tensor,
        greedy: Tensor | None,
        done: Tensor,
        steps: Steps,
        loss: Tensor,
    ) -> None:
        """Add to the epoch's sums, all on the device."""
        with torch.no_grad():
            learnt = steps.share > 0
            tops = [
                torch.where(learnt, taken, -torch.inf).max() if len(taken) else taken.new_tensor(-torch.inf)
            ]
            if greedy is not None and len(taken):
                ongoing = (~done & learnt).float()
                share = ongoing / ongoing.sum().clamp_min(1)
                realised = self.columns.returns[(steps.event + 1).clamp_max(len(self.columns.returns) - 1)]
                noted["q_greedy"] = (share * greedy).sum()
                noted["overestimation"] = (share * (greedy - realised)).sum()
                noted["open"] = (ongoing.sum() > 0).float()
                tops.append(torch.where(ongoing > 0, greedy, -torch.inf).max())
            else:
                tops.append(tops[0].new_tensor(-torch.inf))
            zero = self.sums.new_zeros(())
            self.sums.add_(torch.stack([noted.get(name, zero).detach().to(self.sums) for name in SUMS]))
            self.tops.copy_(torch.maximum(self.tops, torch.stack(tops).to(self.tops)))
            self.clock.add_(1)
            highest = torch.maximum((taken * learnt).abs().amax(), tops[1].clamp_min(0).to(taken))
            wild = ~loss.isfinite() | ~(highest.nan_to_num(torch.inf) <= self.q_limit)
            self.first_bad.copy_(torch.where((self.first_bad < 0) & wild, self.clock, self.first_bad))

    def running_sums(self) -> list[Tensor]:
        """What `_note` adds to."""
        return [self.sums, self.tops, self.clock, self.first_bad]

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Means over the last `steps` steps, which then start anew; a figure that was not there is left out."""
        sums = dict(zip(SUMS, (self.sums / max(steps, 1)).tolist()))
        found = {
            "ce": sums["actor_loss"] / sums["actor_weight"] if sums["actor_weight"] else 0.0,
            "td_loss": sums["td_loss"],
            "q_taken": sums["q_taken"],
            "q_taken_max": float(self.tops[0]),
        }
        if sums["open"]:
            found["q_greedy"] = sums["q_greedy"] / sums["open"]
            found["q_greedy_max"] = float(self.tops[1])
            found["overestimation"] = sums["overestimation"] / sums["open"]
        if self.negative_number:
            found["negative_td_loss"] = sums["negative_td_loss"]
            found["advantage"] = sums["advantage"]
            found["advantage_spread"] = max(sums["advantage_square"] - sums["advantage"] ** 2, 0.0) ** 0.5
        if self.actor_weight != "none":
            found["actor_weight"] = sums["actor_weight"]
            found["clipped"] = sums["clipped"]
        self.sums.zero_()
        self.tops.fill_(-torch.inf)
        return found

    # --- ranking -------------------------------------------------------------------------------------------

    def item_vectors(self) -> Tensor:
        """(n_items, d) vectors of the first network's encoder, with the Q encoder's behind where it has one."""
        vectors = self.networks[0].item_vectors()
        return vectors[0] if self.networks[0].critic_encoder is None else torch.cat(vectors, 1)

    def row_states(self, interaction: Any, vectors: Tensor) -> Tensor:
        """(B, d) or (B, 2 d) states of rows by the first network."""
        network = self.networks[0]
        single = network.critic_encoder is None
        halves = (vectors, vectors) if single else vectors.chunk(2, 1)
        encoded = network.encode(interaction, self._kinds(interaction), tuple(halves))
        return encoded.actor if single else torch.cat((encoded.actor, encoded.critic), 1)

    def position_states(self, items: Tensor, vectors: Tensor) -> Tensor:
        """Training goes by `calculate_loss`, which makes them itself."""
        raise NotImplementedError("an actor-critic trains by its own loss")

    def rankable(self) -> Tensor | None:
        """As the encoder's."""
        network = self.networks[0]
        return network.factored(network.encoder).rankable()

    def additions(self, interaction: Any) -> tuple[Tensor, Tensor] | None:
        """As the encoder's, in its share of the ranking; other heads score items on their own."""
        network = self.networks[0]
        found = network.factored(network.encoder).additions(interaction)
        if found is None or network.supervised is not None or self.blend == 1:
            return None
        return found[0], found[1] * (1 - self.blend)

    def full_sort_predict(self, interaction: Any) -> Tensor:
        """(B, n_items) scores."""
        vectors = self.item_vectors()
        scores = self.scoring.states(self.row_states(interaction, vectors)) @ self.scoring.vectors(vectors).T
        allowed = self.rankable()
        nothing = torch.zeros(0, dtype=torch.int64, device=scores.device)
        hidden = nothing if allowed is None else torch.nonzero(~allowed).squeeze(1)
        return add_and_hide(scores, hidden, self.additions(interaction))

    def predict(self, interaction: Any) -> Tensor:
        """(B,) scores of the rows' own items."""
        scores = self.full_sort_predict(interaction)
        return scores.gather(1, interaction[self.ITEM_ID].unsqueeze(1)).squeeze(1)


@contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """Within the block the network computes as in evaluation: no dropout, and no random number is drawn."""
    training = network.training
    network.train(False)
    try:
        yield
    finally:
        network.train(training)


def idle_settings(config: Any) -> list[str]:
    """A sentence for each setting that was given and that nothing reads, as another one switches it off.

    They are not refused, as several models of a grid may share them.
    """
    weighted = config["actor_weight"] in ("q", "advantage")
    history = config["reward_signal"] == "history"
    negatives = bool(config["rl_negatives"])
    needs = {
        "target_tau": (config["target_network"] == "lagged", "target_network: lagged"),
        "target_every": (config["target_network"] == "lagged", "target_network: lagged"),
        "q_candidates": (config["q_actions"] == "sampled", "q_actions: sampled"),
        "blend_weight": (config["rank_by"] == "blend", "rank_by: blend"),
        "rl_negative_power": (negatives, "rl_negatives of 1 or more"),
        "negative_weight": (negatives, "rl_negatives of 1 or more"),
        "actor_clip": (weighted, "actor_weight: q or advantage"),
        "warm_up_epochs": (weighted, "actor_weight: q or advantage"),
        "warm_up_steps": (weighted, "actor_weight: q or advantage"),
        "actor_learning_rate": (weighted, "actor_weight: q or advantage"),
        "next_action": (not history and config["gamma"] != 0, "gamma above 0 and no reward_signal: history"),
    }
    given, defaults = config.external_config_dict, config.internal_config_dict
    idle = [
        key for key, (read, _) in needs.items() if key in given and not read and given[key] != defaults[key]
    ]
    return [f"{key} is not used: it needs {needs[key][1]}" for key in idle]


def compose(encoder: str, method: str, encoder_class: Any) -> type[ActorCritic]:
    """The model class `<encoder><method>`."""
    described = f"{encoder} with {method}; settings: configs/method/{method}.yaml over those of {encoder}."
    members: dict[str, Any] = {"encoder_name": encoder, "method": method, "__doc__": described}
    for name in ("dataset_class", "input_type"):
        if hasattr(encoder_class, name):
            members[name] = getattr(encoder_class, name)
    return type(f"{encoder}{method}", (ActorCritic,), members)
