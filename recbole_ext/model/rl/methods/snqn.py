"""SNQN: SQN with sampled negative actions."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_ext.model.rl import losses
from recbole_ext.model.rl.actor_critic import ActorCriticSettings
from recbole_ext.model.rl.methods.sqn import SQN
from recbole_ext.model.rl.step import Step
from recbole_ext.settings.base import Whole, key


class SNQNSettings(ActorCriticSettings):
    """SQN's, and how many negatives."""

    rl_negatives: Whole = key(
        10,
        "negative actions of a state, of reward 0 and with no change of state, drawn uniformly",
        ge=1,
        le=10_000,
    )


class SNQN(SQN):
    """Supervised negative Q-learning (Xin et al., WSDM 2022): SQN, and for each of `rl_negatives` actions a⁻ ≠ a

        q_weight · ½ (γ Q_target(s, argmax_a Q(s, a)) − Q(s, a⁻))²

    as a⁻ earns nothing and leaves the state as it is; also where the session ends, as released.
    """

    settings_class = SNQNSettings
    logged: tuple[str, ...] = (*SQN.logged, "negative_td_loss", "advantage", "advantage_square")

    def critic_loss(self, step: Step) -> Tensor:
        """SQN's and that of the negatives."""
        loss = super().critic_loss(step)
        negatives = self.negatives.draw(step.at.action, self.settings.rl_negatives)  # (N, K)
        step.others = step.main.q.at(step.state, negatives)
        negative = step.mean(losses.td_loss(self._stay(step).unsqueeze(1), step.others).sum(1))
        lead = losses.advantage(step.taken, step.others).detach()
        step.noted |= {
            "negative_td_loss": negative,
            "advantage": step.mean(lead),
            "advantage_square": step.mean(lead.square()),
        }
        return loss + self.settings.q_weight * negative

    def _stay(self, step: Step) -> Tensor:
        """(N,) γ times what the target network makes of the best action at s."""
        if not self.bootstraps:
            return torch.zeros_like(step.taken)
        best = self.best_action(step.main, step.state, step.at.action)
        with torch.no_grad():
            stay: Tensor = self.settings.gamma * step.other.q.at(step.seen[step.at.now], best)
        return stay

    def figures(self, means: dict[str, float]) -> dict[str, float]:
        """With the standard deviation of the advantage in place of its square."""
        found = super().figures(means)
        variance = found.pop("advantage_square") - found["advantage"] ** 2
        return {**found, "advantage_spread": max(variance, 0.0) ** 0.5}
