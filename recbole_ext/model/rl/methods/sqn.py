"""SQN: cross-entropy and double Q-learning on one encoder."""

from __future__ import annotations

from torch import Tensor

from recbole_ext.model.rl import losses
from recbole_ext.model.rl.actor_critic import ActorCritic
from recbole_ext.model.rl.step import Step


class SQN(ActorCritic):
    """Self-supervised Q-learning (Xin et al., SIGIR 2020):

        L = CE + q_weight · ½ (r + γ Q_target(s', argmax_a Q(s', a)) − Q(s, a))²

    and r alone in place of the sum where the session ends. `next_action: logged` has the logged action for the argmax:
    EVAL (Labarca et al., ICML 2024); `reward_signal: history` looks no step ahead and has the length of the history for
    r: HIST (same). What differs from the released code: docs/rl.md.
    """

    logged: tuple[str, ...] = ("td_loss",)

    def critic_loss(self, step: Step) -> Tensor:
        """The Q term, over the logged actions."""
        target = losses.td_target(step.reward, self.next_value(step), step.done, self.settings.gamma)
        td = step.mean(losses.td_loss(target, step.taken))
        step.noted["td_loss"] = td
        weighted: Tensor = self.settings.q_weight * td
        return weighted
