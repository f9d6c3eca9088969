"""Parts of the losses of SQN, SAC, SNQN and SA2C over logged transitions, as functions of numbers.

SQN and SAC: Xin et al., "Self-Supervised Reinforcement Learning for Recommender Systems", SIGIR 2020. SNQN and SA2C:
Xin et al., "Supervised Advantage Actor-Critic for Recommender Systems", WSDM 2022. Double Q-learning: van Hasselt et
al., AAAI 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor


def td_target(reward: Tensor, next_value: Tensor, done: Tensor, gamma: float) -> Tensor:
    """(N,) `r + gamma * Q_target(s', a')`, and `r` alone where the session is over; no gradient."""
    return (reward + gamma * torch.where(done, 0.0, next_value)).detach()


def td_loss(target: Tensor, value: Tensor) -> Tensor:
    """Elementwise `½ (target - value)²`; the gradient reaches `value` only."""
    return 0.5 * (target.detach() - value).square()


def advantage(taken: Tensor, others: Tensor) -> Tensor:
    """(N,) `Q(s, a+) - mean(Q over a+ and the negatives)`; taken: (N,), others: (N, K)."""
    return taken - (taken + others.sum(1)) / (others.shape[1] + 1)


def actor_factor(value: Tensor, low: float, high: float) -> tuple[Tensor, Tensor]:
    """What multiplies the cross-entropy of each sample, (N,) `value` clipped to [low, high], and where it was clipped.

    Without gradient: the actor learns from the critic, never the critic from the actor.
    """
    value = value.detach()
    return value.clamp(low, high), (value < low) | (value > high)
