"""RCE: cross-entropy weighted by the reward, no reinforcement learning; shows what rewards alone do."""

from __future__ import annotations

from torch import Tensor

from recbole_ext.model.rl.actor_critic import ActorCriticSettings
from recbole_ext.model.rl.methods.sqn import SQN
from recbole_ext.model.rl.step import Step
from recbole_ext.settings.base import Number, key


class RCESettings(ActorCriticSettings):
    """SQN's; without a Q loss unless one is asked for."""

    q_weight: Number = key(0.0, "weight of the Q loss beside the cross-entropy", ge=0, le=1e6)


class RCE(SQN):
    """Reward-weighted cross-entropy, after reward-weighted regression (Peters and Schaal, ICML 2007): r · CE."""

    settings_class = RCESettings
    logged: tuple[str, ...] = (*SQN.logged, "actor_weight")

    def actor_weight(self, step: Step) -> Tensor:
        """(N,) the reward."""
        return step.reward
