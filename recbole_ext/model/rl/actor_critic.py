"""Reinforcement learning on any sequential encoder: SQN, SAC, SNQN, SA2C as `<encoder><method>`, such as SASRecSQN.

A model is an encoder, which may be any sequential model whose score is a product of vectors, a supervised head over its
states and a Q head beside it. Here is what all methods share: the two networks and which of them learns, the look
ahead, the schedule, what is logged. A method (methods/*.py) is its settings and the term that differs. docs/rl.md.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from recbole_ext.data.positions import PositionBatch
from recbole_ext.data.transitions import EventColumns, Transitions, next_rows, transitions_of
from recbole_ext.data.user_sequences import UserBatch
from recbole_ext.errors import UsageError
from recbole_ext.model.factored import weight_terms
from recbole_ext.model.objective import Objective
from recbole_ext.model.rl.figures import Figures
from recbole_ext.model.rl.negatives import UnlikeSampler
from recbole_ext.model.rl.network import Network, still
from recbole_ext.model.rl.pair import NetworkPair
from recbole_ext.model.rl.step import Step
from recbole_ext.settings.base import ModelSettings, Number, Whole, key

SUMS = ("actor_loss", "actor_weight", "q_taken", "q_greedy", "open", "overestimation")  # noted of every step
CANDIDATES = 2048  # drawn actions of which `q_actions: sampled` takes the best


class ActorCriticSettings(ModelSettings):
    """What every method reads."""

    gamma: Number = key(0.5, "discount of what the next state is worth; 0: no look ahead", ge=0, le=1)
    reward_signal: Literal["event", "shuffled", "history"] = key(
        "event",
        "event: the reward of the event's kind; shuffled: the same rewards in random order; history: the length of "
        "the history (HIST)",
    )
    next_action: Literal["greedy", "logged"] = key(
        "greedy", "greedy: double Q-learning; logged: the action that came next (EVAL)"
    )
    supervised_head: Literal["tied", "free"] = key(
        "tied", "tied: the encoder's own scores; free: a vector and a bias an item"
    )
    q_weight: Number = key(1.0, "weight of the Q loss beside the cross-entropy", ge=0, le=1e6)
    target_network: Literal["coin", "lagged"] = key(
        "coin",
        "coin: two networks, a coin flip a step says which learns and which is the target, the first is evaluated; "
        "lagged: a copy that follows",
    )
    target_tau: Number = key(
        0.005, "lagged: share of the way that the copy goes at a time; 1: all of it", ge=0, le=1
    )
    target_every: Whole = key(1, "lagged: the copy moves every so many steps", ge=1, le=10**9)
    q_actions: Literal["all", "sampled"] = key(
        "all",
        f"the best action is that of all training items, or of {CANDIDATES:,} drawn ones and the logged one",
    )
    q_limit: Number | None = key(
        None,
        "a Q value beyond it ends the run as diverged; ~: 100 times the largest possible return",
        gt=0,
        le=1e12,
        says="a number above 0, at most 1e12, or ~",
    )

    def check(self) -> None:
        """Raise UsageError where two of its keys cannot go together."""
        super().check()
        if self.next_action == "logged" and (self.gamma == 0 or self.reward_signal == "history"):
            raise UsageError(
                "next_action is logged, but gamma 0 and reward_signal: history look at no next action, so leave it out"
            )
        for name in ("target_tau", "target_every"):
            value = getattr(self, name)
            if self.target_network == "coin" and value != type(self).model_fields[name].default:
                raise UsageError(f"{name} is {value}: it needs target_network: lagged")


class ActorCritic(NetworkPair):
    """A sequential encoder with a supervised and a Q head; subclasses say the method, theirs the encoder (`compose`).

    A method says its `settings_class`, overrides `critic_loss` or `actor_weight`, and names in `logged` what its term
    puts into `step.noted`: a reader gets the mean over an epoch.
    """

    learns_transitions = True
    settings_class: ClassVar[type[ActorCriticSettings]] = ActorCriticSettings
    logged: tuple[str, ...] = ()
    knobs: tuple[str, ...] = ("learning_rate", "gamma")  # to be lowered where a run diverges

    def __init__(self, config: Any, dataset: Any):
        super().__init__(config, dataset)
        self.columns = EventColumns(config, dataset, self.settings.gamma, self.settings.reward_signal)
        self.bootstraps = self.settings.gamma > 0 and self.settings.reward_signal != "history"
        counts = dataset.training_counts()
        encoder = self.networks[0].encoder
        own = getattr(encoder, "objective", None)
        self.objective = own if own is not None else Objective(self.training_settings, counts)
        self.register_buffer(
            "actions", torch.as_tensor(dataset.train_items, dtype=torch.bool).clone(), persistent=False
        )
        self.negatives = UnlikeSampler(counts)
        bound = max(self.columns.largest, 1e-6) / max(1 - self.settings.gamma, 1e-3)
        self.epoch_figures = Figures((*SUMS, *self.logged), self.settings.q_limit or 100 * bound)
        self.notes = [*self.columns.notes, *getattr(encoder, "notes", [])]
        self.select = True  # False where a CUDA graph wants shapes that do not depend on the data

    # --- schedule ------------------------------------------------------------------------------------------

    @property
    def warm(self) -> bool:
        """Whether a method that waits for something has it; steps before and after are graphs of their own."""
        return True

    def begin_training(self, epoch_steps: int) -> None:
        """Before the first step; epoch_steps: how many an epoch has."""

    def end_training(self, best_epoch: int | None, epoch_steps: int) -> None:
        """After the last step; best_epoch: from 0, None: not known."""

    def set_extra_state(self, state: Tensor) -> None:
        """Go on after `state` steps."""
        super().set_extra_state(state)
        self.epoch_figures.clock.fill_(self.steps)

    # --- loss ----------------------------------------------------------------------------------------------

    def critic_loss(self, step: Step) -> Tensor:
        """Scalar, weighted: what the Q head learns. A method's own."""
        raise NotImplementedError(f"{type(self).__name__} has no critic")

    def actor_weight(self, step: Step) -> Tensor:
        """(N,) what multiplies the cross-entropy of each transition, without gradient."""
        return torch.ones_like(step.taken)

    def calculate_loss(self, batch: Any) -> Tensor:
        """Loss of the network whose turn it is, over the transitions of a PositionBatch, UserBatch or Interaction."""
        main, other = self.networks[self.trained], self.networks[1 - self.trained]
        encoded = main.encode(batch)
        at = self.transitions(batch)
        with torch.autocast(at.share.device.type, enabled=False):
            state = encoded.critic[at.now]  # (N, d)
            reward, done = self.columns.reward[at.event], self.columns.closes[at.event]
            taken = main.q.at(state, at.action)
            step = Step(main, other, batch, encoded, at, reward, done, state, taken)
            return self._loss(step)

    def _loss(self, step: Step) -> Tensor:
        loss = self.critic_loss(step)
        weight = step.at.share * self.actor_weight(step)  # (N,)
        read = step.encoded.read.only(step.at.now)
        actor = self.objective(
            step.main.scoring,
            read.states,
            step.encoded.vectors,
            step.at.action,
            weight,
            read.mixture(step.at.action),
        )
        loss = loss + actor
        if self.extra_terms:
            loss = loss + weight_terms(step.main.encoder, step.batch).sum()
        step.noted |= {"actor_loss": actor, "actor_weight": weight.sum(), "q_taken": step.mean(step.taken)}
        self._note(step, loss)
        return loss

    def transitions(self, batch: Any) -> Transitions:
        """Those of a batch."""
        return transitions_of(batch, self.columns, self.POS_ITEM_ID, self.select)

    def next_value(self, step: Step) -> Tensor:
        """(N,) the target network's value of the action looked ahead to at s'; notes what the trained one's is."""
        if not self.bootstraps:
            return torch.zeros_like(step.taken)
        with torch.no_grad(), still(step.other), still(step.main):
            if isinstance(step.batch, PositionBatch | UserBatch):
                mine, theirs = step.encoded.critic[step.at.following], step.seen[step.at.following]
            else:
                mine, theirs = self._rows_ahead(step)
            action = self.columns.after(self.columns.items, step.at.event)
            if self.settings.next_action == "greedy":
                action = self.best_action(step.main, mine, action)
            step.greedy = step.main.q.at(mine, action)
            value: Tensor = step.other.q.at(theirs, action)
        return value

    def _rows_ahead(self, step: Step) -> tuple[Tensor, Tensor]:
        """(N, d) states at s' by the trained and the target network, zeros where the session ends."""
        ongoing = torch.nonzero(~step.done).squeeze(1)
        mine, theirs = torch.zeros_like(step.encoded.critic), torch.zeros_like(step.encoded.critic)
        if len(ongoing):
            later = next_rows(step.batch[ongoing], self.config)
            mine[ongoing] = step.main.encode(later).critic
            theirs[ongoing] = step.other.encode(later).critic
        return mine, theirs

    def best_action(self, main: Network, states: Tensor, logged: Tensor) -> Tensor:
        """(N,) the trained network's best action at states (N, d): of all training items, or of some drawn ones and the
        logged one (N,)."""
        low = self.objective.precision == "bf16"
        if self.settings.q_actions == "all":
            return main.q.best(states, self.actions, torch.bfloat16 if low else torch.float32)
        with torch.no_grad():
            drawn = self.negatives.some(CANDIDATES)
            highest, place = (states @ main.q.weight[drawn].T + main.q.bias[drawn]).max(1)
            own = main.q.at(states, logged).masked_fill(~self.actions[logged], -torch.inf)
            return torch.where(own > highest, logged, drawn[place])

    # --- what is logged ------------------------------------------------------------------------------------

    @torch.no_grad()
    def _note(self, step: Step, loss: Tensor) -> None:
        """Add to the epoch's figures, all on the device."""
        learnt = step.at.share > 0
        ongoing = ~step.done & learnt
        if step.greedy is not None:
            share = ongoing.float() / ongoing.float().sum().clamp_min(1)
            realised = self.columns.after(self.columns.returns, step.at.event)
            step.noted["q_greedy"] = (share * step.greedy).sum()
            step.noted["overestimation"] = (share * (step.greedy - realised)).sum()
            step.noted["open"] = (ongoing.sum() > 0).float()
        self.epoch_figures.add(step.noted, step.taken, learnt, step.greedy, ongoing, loss)

    def figures(self, means: dict[str, float]) -> dict[str, float]:
        """What a reader gets of an epoch, from the means of what was noted; a figure that was not there is left out."""
        weight = means["actor_weight"]
        found = {
            "ce": means["actor_loss"] / weight if weight else 0.0,
            **{name: means[name] for name in self.logged},
            "q_taken": means["q_taken"],
            "q_taken_max": means["q_taken_max"],
        }
        if means["open"]:
            found["q_greedy"] = means["q_greedy"] / means["open"]
            found["q_greedy_max"] = means["q_greedy_max"]
            found["overestimation"] = means["overestimation"] / means["open"]
        return found

    def diagnostics(self, steps: int) -> dict[str, float]:
        """Figures of the last `steps` steps, which then start anew."""
        return self.figures(self.epoch_figures.means(steps))
