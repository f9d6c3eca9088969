"""SQN, SAC, SNQN and SA2C on paper: 3 items, 2 transitions, every number written out.

One session of items 1, 2, 3: s0 = (1), then a = 2 with reward .2 leads to s1 = (1, 2), where a = 3 with reward 1 ends
the session. A state is a unit vector, so that a head's weights are its table of Q values.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from recbole_ext.data.positions import PositionBatch
from recbole_ext.model.factored import Scoring
from recbole_ext.model.pointer import Looks, Read
from recbole_ext.model.rl import losses
from recbole_ext.model.rl.actor_critic import SUMS
from recbole_ext.model.rl.figures import Figures
from recbole_ext.model.rl.item_head import ItemHead
from recbole_ext.model.rl.methods.cql import CQL
from recbole_ext.model.rl.methods.rce import RCE
from recbole_ext.model.rl.methods.sa2c import SA2C
from recbole_ext.model.rl.methods.sac import SAC
from recbole_ext.model.rl.methods.snqn import SNQN
from recbole_ext.model.rl.methods.sqn import SQN
from recbole_ext.model.rl.network import Encoded
from recbole_ext.settings.base import Number, key
from recbole_ext.settings.training import Training

# Q values; rows: padding, items 1, 2, 3; columns: s0, s1. The best of the padding is no action.
MAIN = [[9.0, 9.0], [1.0, 0.3], [0.8, 2.0], [0.5, 1.5]]
TARGET = [[9.0, 9.0], [0.6, 8.5], [7.0, 3.0], [7.0, 8.0]]
# logits of the supervised head; softmax of s0: 1, 2, 3, 4 tenths, of s1: 1, 1, 5, 4 elevenths
ODDS = [[1, 1], [2, 1], [3, 5], [4, 4]]
CE = [-math.log(3 / 10), -math.log(4 / 11)]
# double Q: at s1 the trained network likes item 2 best (2.0), the target network values that at 3
TD = [0.5 * (0.2 + 0.5 * 3 - 0.8) ** 2, 0.5 * (1.0 - 1.5) ** 2]
# negatives: items 1, 3 at s0 and 1, 1 at s1. The state stays: at s0 item 1 is liked best and is worth .6, at s1 it is
# item 2, worth 3, although the session is over there
NEGATIVES = torch.tensor([[1, 3], [1, 1]])
NEGATIVE_TD = [
    0.5 * (0.5 * 0.6 - 1.0) ** 2 + 0.5 * (0.5 * 0.6 - 0.5) ** 2,
    2 * 0.5 * (0.5 * 3 - 0.3) ** 2,
]
ADVANTAGE = [0.8 - (0.8 + 1.0 + 0.5) / 3, 1.5 - (1.5 + 0.3 + 0.3) / 3]


class PaperNetwork(nn.Module):
    """A network whose states and vectors are given, and where it points."""

    looks = None

    def __init__(self, values):
        super().__init__()
        self.q = ItemHead(2, 4, torch.Generator())
        self.q.weight = nn.Parameter(torch.tensor(values))
        self.vectors = nn.Parameter(torch.tensor(ODDS).log())
        self.scoring = Scoring(Training())

    def encode(self, batch):
        return Encoded(Read(torch.eye(2), self.looks), torch.eye(2), self.vectors)


class PaperObjective:
    precision = "fp32"

    def __call__(self, scoring, states, vectors, target, weight, mixture=None):
        chance = torch.softmax(states @ vectors.T, 1).gather(1, target.unsqueeze(1)).squeeze(1)
        if mixture is not None:
            chance = mixture[0].exp() * chance + mixture[1].exp()
        return -(weight * chance.log()).sum()


def paper_model(method=SQN, **settings):
    """A model of two paper networks, its warm-up over."""
    model = method.__new__(method)
    nn.Module.__init__(model)
    model.POS_ITEM_ID = "item_id"
    model.settings = method.settings_class.read(settings)
    model.networks = nn.ModuleList((PaperNetwork(MAIN), PaperNetwork(TARGET)))
    model.columns = SimpleNamespace(
        reward=torch.tensor([0.0, 0.2, 1.0]),
        closes=torch.tensor([False, False, True]),
        items=torch.tensor([1, 2, 3]),
        returns=torch.tensor([0.0, 0.2 + 0.5 * 1.0, 1.0]),
        after=lambda column, event: column[(event + 1).clamp_max(2)],
    )
    model.bootstraps = model.settings.gamma > 0 and model.settings.reward_signal != "history"
    model.objective = PaperObjective()
    model.negatives = SimpleNamespace(draw=lambda unlike, number: NEGATIVES)
    model.actions = torch.tensor([False, True, True, True])
    model.epoch_figures = Figures((*SUMS, *method.logged), limit=100.0)
    model.steps, model.trained, model.select, model.extra_terms = 0, 0, True, False
    return model


def paper_batch():
    return PositionBatch(
        torch.tensor([1, 2, 3]), torch.tensor([0]), torch.tensor([2]), torch.tensor([0]), 2, 2
    )


def loss_of(method=SQN, **settings):
    return paper_model(method, **settings).calculate_loss(paper_batch()).item()


def mean(values):
    return sum(values) / len(values)


# --- whole losses -----------------------------------------------------------------------------------------


def test_the_numbers_on_paper():
    worked_out = {(0.405, 0.125): TD, (0.265, 1.44): NEGATIVE_TD, (1 / 30, 0.8): ADVANTAGE}
    for numbers, formula in worked_out.items():
        assert formula == pytest.approx(numbers)


def test_sqn():
    assert loss_of() == pytest.approx(mean(CE) + mean(TD), abs=1e-6)
    assert loss_of(q_weight=3.0) == pytest.approx(mean(CE) + 3 * mean(TD), abs=1e-6)


# s0 points at item 2 by .1 and at item 1 by .4, s1 at nothing and at item 3, twice, by .25 in all
LOOKS = Looks(
    torch.tensor([[2, 1, 0], [3, 0, 3]]),
    torch.tensor([[0.1, 0.4, 0.0], [0.05, 0.0, 0.2]]).log().clamp_min(-1e30),
    torch.tensor([0.5, 0.75]).log(),
)
MIXED_CE = [-math.log(0.5 * 3 / 10 + 0.1), -math.log(0.75 * 4 / 11 + 0.25)]


def test_the_supervised_term_is_that_of_the_mixture(monkeypatch):
    monkeypatch.setattr(PaperNetwork, "looks", LOOKS)
    assert loss_of() == pytest.approx(mean(MIXED_CE) + mean(TD), abs=1e-6)
    weighted = mean([0.8 * MIXED_CE[0], 1.0 * MIXED_CE[1]])  # the weight is of the whole term
    assert loss_of(SAC, actor_clip=[0, 1]) == pytest.approx(weighted + mean(TD), abs=1e-6)


def test_the_other_network_may_be_the_trained_one():
    model = paper_model()
    model.trained = 1
    # now item 1 is liked best at s1, worth .3 to the other network
    td = [0.5 * (0.2 + 0.5 * 0.3 - 7.0) ** 2, 0.5 * (1.0 - 8.0) ** 2]
    assert model.calculate_loss(paper_batch()).item() == pytest.approx(mean(CE) + mean(td), rel=1e-6)


def test_snqn_negatives_stay_in_the_state_and_go_on_where_the_session_ends():
    expected = mean(CE) + mean(TD) + mean(NEGATIVE_TD)
    assert loss_of(SNQN) == pytest.approx(expected, abs=1e-6)
    twice = mean(CE) + 2 * (mean(TD) + mean(NEGATIVE_TD))
    assert loss_of(SNQN, q_weight=2.0) == pytest.approx(twice, abs=1e-6)


def test_sac_weighs_by_q_and_counts_what_it_clips():
    model = paper_model(SAC, actor_clip=[0, 1])
    loss = model.calculate_loss(paper_batch()).item()
    assert loss == pytest.approx(mean(TD) + mean([0.8 * CE[0], 1.0 * CE[1]]), abs=1e-6)
    noted = model.diagnostics(1)
    assert noted["clipped"] == 0.5 and noted["actor_weight"] == pytest.approx(0.9)
    assert noted["q_taken"] == pytest.approx((0.8 + 1.5) / 2) and noted["q_taken_max"] == 1.5
    assert noted["q_greedy"] == noted["q_greedy_max"] == 2.0, "of the transition that goes on"
    assert noted["overestimation"] == pytest.approx(2.0 - 1.0), "it ends in a reward of 1"
    assert noted["td_loss"] == pytest.approx(mean(TD))
    assert noted["ce"] == pytest.approx(mean([0.8 * CE[0], 1.0 * CE[1]]) / 0.9)


def test_before_the_warm_up_is_over_nothing_is_weighted():
    model = paper_model(SAC)
    model.warm_up_steps = 1
    assert model.calculate_loss(paper_batch()).item() == pytest.approx(mean(CE) + mean(TD), abs=1e-6)
    model.steps = 1
    weighted = mean([0.8 * CE[0], 1.5 * CE[1]])
    assert model.calculate_loss(paper_batch()).item() == pytest.approx(weighted + mean(TD), abs=1e-6)


@pytest.mark.parametrize(
    "clip, weight, clipped",
    [([0, 10], ADVANTAGE, 0.0), ([0.05, 0.5], [0.05, 0.5], 1.0), ([0, 0.5], [1 / 30, 0.5], 0.5)],
)
def test_sa2c_weighs_by_the_advantage(clip, weight, clipped):
    model = paper_model(SA2C, actor_clip=clip)
    expected = mean([w * c for w, c in zip(weight, CE)]) + mean(TD) + mean(NEGATIVE_TD)
    assert model.calculate_loss(paper_batch()).item() == pytest.approx(expected, abs=1e-6)
    noted = model.diagnostics(1)
    assert noted["clipped"] == clipped
    assert noted["negative_td_loss"] == pytest.approx(mean(NEGATIVE_TD))
    assert noted["advantage"] == pytest.approx(mean(ADVANTAGE))
    assert noted["advantage_spread"] == pytest.approx((0.8 - 1 / 30) / 2, abs=1e-5)


def test_rce_weighs_by_the_reward_alone():
    assert loss_of(RCE) == pytest.approx(mean([0.2 * CE[0], 1.0 * CE[1]]), abs=1e-6)


def test_eval_takes_the_logged_action():
    # at s1 item 3 came next, which the target network values at 8
    td = [0.5 * (0.2 + 0.5 * 8 - 0.8) ** 2, TD[1]]
    assert loss_of(next_action="logged") == pytest.approx(mean(CE) + mean(td), abs=1e-6)


@pytest.mark.parametrize("settings", [{"gamma": 0}, {"reward_signal": "history"}])
def test_without_a_look_ahead_the_target_is_the_reward(settings):
    td = [0.5 * (0.2 - 0.8) ** 2, 0.5 * (1.0 - 1.5) ** 2]
    negative = [0.5 * 1.0**2 + 0.5 * 0.5**2, 2 * 0.5 * 0.3**2]
    model = paper_model(SNQN, **settings)
    loss = model.calculate_loss(paper_batch()).item()
    assert loss == pytest.approx(mean(CE) + mean(td) + mean(negative), abs=1e-6)
    assert "q_greedy" not in model.diagnostics(1)


def test_cql_holds_down_what_was_not_logged():
    gap = [
        math.log(sum(math.exp(row[state]) for row in MAIN)) - taken for state, taken in enumerate((0.8, 1.5))
    ]
    model = paper_model(CQL, cql_weight=0.3)
    loss = model.calculate_loss(paper_batch()).item()
    assert loss == pytest.approx(mean(CE) + mean(TD) + 0.3 * mean(gap), abs=1e-5)
    assert model.diagnostics(1)["cql_loss"] == pytest.approx(mean(gap), abs=1e-5)


def test_a_method_is_its_settings_and_a_term():
    """A stranger's: one class, with what it logs."""

    class SharpSettings(SQN.settings_class):
        sharpness: Number = key(2.0, "exponent", gt=0)

    class SHARP(SQN):
        settings_class = SharpSettings
        logged = (*SQN.logged, "sharp")

        def actor_weight(self, step):
            weight = step.reward**self.settings.sharpness
            step.noted["sharp"] = step.mean(weight)
            return weight

    model = paper_model(SHARP, sharpness=3.0)
    loss = model.calculate_loss(paper_batch()).item()
    assert loss == pytest.approx(mean(TD) + mean([0.2**3 * CE[0], CE[1]]), abs=1e-6)
    assert model.diagnostics(1)["sharp"] == pytest.approx((0.2**3 + 1) / 2)
    SHARP.logged = SQN.logged
    with pytest.raises(AssertionError, match="sharp"):
        paper_model(SHARP).calculate_loss(paper_batch())


# --- gradients --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [SQN, SAC])
def test_the_gradient_of_q_is_that_of_the_action_taken_alone(method):
    """Not of what is liked best, nor through the actor's weight, and nothing of the target network."""
    model = paper_model(method)
    model.calculate_loss(paper_batch()).backward()
    expected = torch.zeros(4, 2)
    expected[2, 0] = -(0.2 + 0.5 * 3 - 0.8) / 2
    expected[3, 1] = -(1.0 - 1.5) / 2
    torch.testing.assert_close(model.networks[0].q.weight.grad, expected)
    assert all(parameter.grad is None for parameter in model.networks[1].parameters())


def test_the_gradient_of_the_negatives():
    model = paper_model(SA2C)
    model.calculate_loss(paper_batch()).backward()
    expected = torch.zeros(4, 2)
    expected[2, 0], expected[3, 1] = -0.9 / 2, 0.5 / 2
    expected[1, 0], expected[3, 0] = (1.0 - 0.3) / 2, (0.5 - 0.3) / 2
    expected[1, 1] = 2 * (0.3 - 1.5) / 2
    torch.testing.assert_close(model.networks[0].q.weight.grad, expected)
    assert all(parameter.grad is None for parameter in model.networks[1].parameters())


def test_the_actor_learns_by_its_weight():
    """Gradient of the logits: weight × (softmax - 1 of the target) / 2."""
    model = paper_model(SAC)
    model.calculate_loss(paper_batch()).backward()
    softmax = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1 / 11, 1 / 11, 5 / 11, 4 / 11]])
    softmax[0, 2] -= 1
    softmax[1, 3] -= 1
    expected = (softmax * torch.tensor([[0.8], [1.5]]) / 2).T
    torch.testing.assert_close(model.networks[0].vectors.grad, expected)


# --- the functions ----------------------------------------------------------------------------------------


def test_a_finished_session_has_the_reward_as_target_whatever_comes_after():
    reward, done = torch.tensor([0.2, 1.0, -1.0]), torch.tensor([False, True, True])
    after = torch.tensor([4.0, torch.inf, torch.nan])
    assert losses.td_target(reward, after, done, 0.5).tolist() == pytest.approx([2.2, 1.0, -1.0])


def test_targets_and_factors_have_no_gradient():
    value = torch.tensor([1.0, 12.0, -1.0], requires_grad=True)
    none = torch.zeros(3, dtype=torch.bool)
    assert not losses.td_target(torch.zeros(3), value, none, 0.5).requires_grad
    factor, clipped = losses.actor_factor(value, 0.0, 10.0)
    assert not factor.requires_grad and factor.tolist() == [1.0, 10.0, 0.0]
    assert clipped.tolist() == [False, True, True]
    target = torch.zeros(3, requires_grad=True)
    losses.td_loss(target, value).sum().backward()
    assert target.grad is None and value.grad.tolist() == [1.0, 12.0, -1.0]


def test_what_lies_on_a_bound_is_not_clipped():
    factor, clipped = losses.actor_factor(torch.tensor([0.0, 10.0, 10.5, -0.5]), 0.0, 10.0)
    assert factor.tolist() == [0.0, 10.0, 10.0, 0.0] and clipped.tolist() == [False, False, True, True]


def test_advantage_counts_the_action_taken_into_the_mean():
    found = losses.advantage(torch.tensor([2.0, 1.0]), torch.tensor([[0.0], [5.0]]))
    assert found.tolist() == [1.0, -2.0]
