"""CQL: SQN with a conservative penalty on the Q head."""

from __future__ import annotations

from torch import Tensor

from recbole_ext.model.large_softmax import softmax_loss
from recbole_ext.model.rl.actor_critic import ActorCriticSettings
from recbole_ext.model.rl.methods.sqn import SQN
from recbole_ext.model.rl.step import Step
from recbole_ext.settings.base import Number, key


class CQLSettings(ActorCriticSettings):
    """SQN's, and the weight of the penalty."""

    cql_weight: Number = key(0.5, "weight of the conservative penalty", ge=0, le=1e6)


class CQL(SQN):
    """Conservative Q-learning (Kumar et al., NeurIPS 2020) on SQN:

        + cql_weight · (logsumexp_a Q(s, a) − Q(s, a⁺))

    over all items, which holds down what the log does not show.
    """

    settings_class = CQLSettings
    logged: tuple[str, ...] = (*SQN.logged, "cql_loss")

    def critic_loss(self, step: Step) -> Tensor:
        """SQN's and the penalty."""
        loss = super().critic_loss(step)
        head = step.main.q
        states, rows = head.states(step.state), head.vectors(step.encoded.vectors)
        penalty = softmax_loss(states, rows, step.at.action, step.at.share)
        step.noted["cql_loss"] = penalty
        return loss + self.settings.cql_weight * penalty
