"""SA2C: SNQN whose cross-entropy is weighted by the advantage, after a warm-up."""

from __future__ import annotations

from torch import Tensor

from recbole_ext.model.rl import losses
from recbole_ext.model.rl.methods.sac import SAC, SACSettings
from recbole_ext.model.rl.methods.snqn import SNQN, SNQNSettings
from recbole_ext.model.rl.step import Step


class SA2CSettings(SACSettings, SNQNSettings):
    """SAC's and SNQN's."""


class SA2C(SAC, SNQN):
    """Supervised advantage actor-critic (Xin et al., WSDM 2022): SNQN, and after the warm-up the weight is

        clip(A, actor_clip) · CE,  A = Q(s, a) − mean of Q over a and its negatives

    What differs from the released code: one optimizer from first to last (docs/rl.md).
    """

    settings_class = SA2CSettings
    logged: tuple[str, ...] = (*SNQN.logged, "actor_weight", "clipped")

    def actor_value(self, step: Step) -> Tensor:
        """(N,) the advantage of the action taken."""
        assert step.others is not None  # SNQN's critic comes first
        return losses.advantage(step.taken, step.others)
