"""Looking back: a read-out over the prefix, and pointers that copy items of the session or of the visitor's past.

Sources: pointing as a mixture, See, Liu and Manning, "Get To The Point", ACL 2017, and for sessions RepeatNet, Ren et
al., AAAI 2019; a state kept in the space of the scored items, CORE, Hou et al., SIGIR 2022; the read-out, NARM, Li et
al., CIKM 2017. Bias by distance after T5, Raffel et al., JMLR 2020.

`x_i` is the vector that item i is scored by, `h_t` the encoder's state after event t, as wide (e). Of each prefix only
the last `look_back` events are looked at, of the past only the last `look_back_past`.

    read-out   a_{t,i} = softmax over i <= t of (W_q h_t) · (W_k h_i) / sqrt(e) + w · h_i + r[t - i]
               v_t = sum_i a_{t,i} x_i,   s_t = M [h_t ; v_t], M = [I I] / 2 at first (under `score: cosine` of h_t
               and v_t at length 1); s_t is scored in the place of h_t
    pointer    b_{t,i}: a second such attention over the session; c_{t,i}: a third over the user's earlier events, whose
               keys are their x_i, and whose distance is how many events ago
    gate       (g_0, g_1, g_2) = softmax(0, w_1 · h_t + c_1, w_2 · h_t + c_2), c = -1 at first; what has nothing to
               point at gets nothing
    p(j) = g_0 softmax(score)_j + g_1 sum_{i: item i is j} b_{t,i} + g_2 sum_{i: item i is j} c_{t,i}

The loss is -log p(target), in log space throughout. A pointer ranks items that training never saw.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_ext.errors import UsageError
from recbole_ext.model.looking import NEVER, Learnt, Sight, look
from recbole_ext.model.rows import unit_rows
from recbole_ext.scores.products import linear
from recbole_ext.scores.terms import Copied
from recbole_ext.settings.base import Flag, ModelSettings, NoneWord, Number, Whole, key

GATE_AT_FIRST = -1.0


class LookBackSettings(ModelSettings):
    """Keys of models that look back."""

    readout: Flag = key(False, "an attention over the prefix's item vectors is mixed into the state")
    pointer: Annotated[Literal["none", "session", "user"], NoneWord] = key(
        "none", "session: items may be copied from the session; user: from the visitor's earlier sessions too"
    )
    dropout_readout: Number = key(0.4, "on what the read-out finds", ge=0, lt=1)
    look_back: Whole = key(50, "how many of a session's last events the two look at", ge=1, le=10_000)
    look_back_past: Whole = key(
        100, "pointer user: how many of the visitor's last events before the session", ge=1, le=10_000
    )

    def check_beside(self, training: Any) -> None:
        """Raise UsageError where the loss knows no probabilities, which a pointer mixes."""
        super().check_beside(training)
        if self.pointer != "none" and training.train_loss in ("bce", "gbce"):
            raise UsageError(
                f"train_loss {training.train_loss} knows no probabilities, which pointer: {self.pointer} mixes: set "
                "pointer: none, or train_loss: softmax or sampled_softmax"
            )


class Looks(NamedTuple):
    """Where N prefixes point, in logs of probabilities.

    items: (N, K) int64 what may be copied, 0 = nothing. log_share: (N, K) the share of each place in p. log_rest: (N,)
    that of the softmax.
    """

    items: Tensor
    log_share: Tensor
    log_rest: Tensor

    def log_copied(self, target: Tensor) -> Tensor:
        """(N,) log of what is copied of items `target` (N,)."""
        own = self.items == target.unsqueeze(1)
        return self.log_share.masked_fill(~own, NEVER).logsumexp(1)

    def copied(self) -> Copied:
        """As ranking adds it."""
        return Copied(self.items, self.log_share, self.log_rest)


class Earlier(NamedTuple):
    """What a user's earlier events were: items (N, P), newest first, 0 = none, and their vectors (N, P, e).

    rows: (R,) those of the N that have any, whose vectors (R, P, e) alone are there; None: all.
    """

    items: Tensor
    vectors: Tensor
    rows: Tensor | None = None

    def repeated(self, times: int) -> Earlier:
        """With each of the N so many times, one after another."""
        rows = self.rows
        if rows is not None:
            rows = (rows.unsqueeze(1) * times + torch.arange(times, device=rows.device)).flatten()
        items, vectors = (part.repeat_interleave(times, dim=0) for part in (self.items, self.vectors))
        return Earlier(items, vectors, rows)


def known_alone(items: Tensor) -> tuple[Tensor, Tensor]:
    """Of items (N, P), 0 = none at the end, the columns (N, P') with any, one at least, and the rows (R,) with any."""
    known = items != 0
    width = max(1, int(known.any(0).sum()))
    return items[:, :width], torch.nonzero(known.any(1)).squeeze(1)


class Read(NamedTuple):
    """What a model makes of N prefixes: states (N, d), and where they point; None: nowhere."""

    states: Tensor
    looks: Looks | None = None

    def only(self, rows: Tensor) -> Read:
        """That of some prefixes."""
        looks = None if self.looks is None else Looks(*(part[rows] for part in self.looks))
        return Read(self.states[rows], looks)

    def mixture(self, target: Tensor) -> tuple[Tensor, Tensor] | None:
        """log_rest and log_copied (N,) of the loss; None: the softmax is all."""
        return None if self.looks is None else (self.looks.log_rest, self.looks.log_copied(target))


class Attention(nn.Module):
    """Softmax over keys (N, K, e) of `(W_k^T W_q h / sqrt(e) + w) · key + r[distance]`, for states h (N, Q, e).

    Both maps are applied to the query, which is the same product and leaves the keys as they are.
    """

    def __init__(self, width: int, farthest: int):
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.liked = nn.Parameter(torch.zeros(width))
        self.by_distance = nn.Parameter(torch.zeros(farthest))

    def weights(self) -> list[Tensor]:
        """As looking.py takes them."""
        return [self.query.weight, self.key.weight, self.liked, self.by_distance]

    def forward(self, states: Tensor, keys: Tensor, distance: Tensor, valid: Tensor) -> Tensor:
        """(N, Q, K) log of the weights; distance (Q, K), valid (N, Q, K)."""
        if self.training:
            wanted = linear(linear(states, self.query.weight), self.key.weight.T)
        else:
            wanted = self.query(states) @ self.key.weight
        wanted = wanted * self.liked.shape[0] ** -0.5 + self.liked
        logits = wanted @ keys.transpose(1, 2) + self.by_distance[distance]
        return logits.masked_fill(~valid, NEVER).log_softmax(-1)


class LookBack(nn.Module):
    """The read-out and the pointers of an encoder with states (…, e) in the space of item vectors.

    unit: the scores are cosines, so the read-out mixes directions.
    """

    def __init__(self, settings: LookBackSettings, width: int, unit: bool):
        super().__init__()
        self.window, self.unit = settings.look_back, unit
        self.past_limit = settings.look_back_past if settings.pointer == "user" else 0
        self.points = settings.pointer != "none"
        if settings.readout:
            self.readout = Attention(width, self.window)
            self.mix = nn.Linear(2 * width, width, bias=False)
            self.dropout = nn.Dropout(settings.dropout_readout)
            eye = torch.eye(width) / 2
            with torch.no_grad():
                self.mix.weight.copy_(torch.cat((eye, eye), dim=1))
        if self.points:
            self.session = Attention(width, self.window)
            self.gates = nn.Linear(width, 1 + bool(self.past_limit))
            nn.init.zeros_(self.gates.weight)
            nn.init.constant_(self.gates.bias, GATE_AT_FIRST)
        if self.past_limit:
            self.user = Attention(width, self.past_limit)
        self.reads = settings.readout

    def positions(self, states: Tensor, items: Tensor, found: Tensor, past: Earlier | None = None) -> Read:
        """Of the n * L prefixes of sessions (n, L), 0 = padding.

        states: (n, L, e). found: (n, L, e) the vectors of the items. Memory is linear in L: a session longer than the
        window is cut into blocks, each of which sees the one before it too.
        """
        n, length, width = states.shape
        window = self.window
        if length <= window:
            if self._by_hand(states, found):
                return self._flat(self._look_by_hand(states, items, found, past), n, length)
            return self._flat(self._look(states, states, items, found, past), n, length)
        blocks = -(-length // window)
        room = blocks * window - length

        def with_the_one_before(x: Tensor) -> Tensor:
            padded = F.pad(x, (0, 0, window, room)).unfold(1, 2 * window, window)  # (n, blocks, e, 2 W)
            return padded.transpose(2, 3).reshape(n * blocks, 2 * window, width)

        of_query = F.pad(states, (0, 0, 0, room)).reshape(n * blocks, window, width)
        of_keys = F.pad(items, (window, room)).unfold(1, 2 * window, window).reshape(n * blocks, -1)
        if past is not None:
            past = past.repeated(blocks)
        keys, values = with_the_one_before(states), with_the_one_before(found)
        return self._flat(self._look(of_query, keys, of_keys, values, past), n, length)

    def rows(
        self, states: Tensor, items: Tensor, at: Tensor, found: Tensor, past: Earlier | None = None
    ) -> Read:
        """Of B prefixes, whose last W events are `at` (B, W), oldest first, -1 = none: places among the states (E, e),
        items (E,) and vectors (E, e) of all events."""
        known, at = at >= 0, at.clamp_min(0)
        look = self._look(states[at[:, -1:]], states[at], items[at] * known, found[at], past)
        return self._flat(look, at.shape[0], 1)  # no `len`, which a tracer takes for a constant

    def _by_hand(self, states: Tensor, found: Tensor) -> bool:
        """Whether `_look_by_hand` does the same, and is the faster way."""
        exact = states.dtype == found.dtype in (torch.float32, torch.float64)
        learns = self.training and states.requires_grad and torch.is_grad_enabled()
        return exact and learns and states.is_cpu and not torch.is_autocast_enabled("cpu")

    def _look_by_hand(
        self, states: Tensor, items: Tensor, values: Tensor, past: Earlier | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """As `_looked`, of L states that are the keys (n, L, e), in training on a CPU."""
        step = torch.arange(states.shape[1])
        distance = step.unsqueeze(1) - step
        hidden = (distance < 0) | (items == 0).unsqueeze(1)
        learnt, dropped, named, vectors, unknown, rows = Learnt(), None, [items], None, None, None
        if self.reads:
            learnt = learnt._replace(readout=self.readout.weights(), mix=self.mix.weight)
            dropped = self.dropout(states.new_ones(states.shape)) if self.dropout.p else None
        if self.points:
            learnt = learnt._replace(
                gates=(self.gates.weight, self.gates.bias), session=self.session.weights()
            )
        if self.past_limit:
            past = past or Earlier(items[:, :1] * 0, values[:, :1])  # nothing is known of anybody
            learnt = learnt._replace(user=self.user.weights())
            vectors, unknown, rows = past.vectors, past.items == 0, past.rows
            named.append(past.items)
        sight = Sight(hidden, distance.clamp_min(0), unknown, rows)
        read, log_share, log_rest = look(states, values, vectors, dropped, sight, learnt, self.unit)
        return read, torch.cat(named, dim=1).unsqueeze(1), log_share, log_rest

    def _look(
        self, states: Tensor, keys: Tensor, items: Tensor, values: Tensor, past: Earlier | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """As `_looked`, all in float32: these products are small, and casts would cost more than they save."""
        with torch.autocast(states.device.type, enabled=False):
            exact = torch.promote_types(states.dtype, torch.float32)
            states, keys, values = states.to(exact), keys.to(exact), values.to(exact)
            past = None if past is None else past._replace(vectors=past.vectors.to(exact))
            return self._looked(states, keys, items, values, past)

    def _looked(
        self, states: Tensor, keys: Tensor, items: Tensor, values: Tensor, past: Earlier | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """States (N, Q, e), and items (N, 1, K), log_share (N, Q, K) and log_rest (N, Q) where there is a pointer; the
        last of Q states is at the last of K keys."""
        queries, count = states.shape[1], keys.shape[1]
        step = torch.arange(count, device=states.device)
        distance = step[count - queries :].unsqueeze(1) - step  # (Q, K)
        near = (distance >= 0) & (distance < self.window)
        valid = near & (items != 0).unsqueeze(1)  # (N, Q, K)
        distance = distance.clamp(0, self.window - 1)
        read = states
        if self.reads:
            weight = self.readout(states, keys, distance, valid).exp() * valid
            found = self.dropout(weight @ values)
            both = (unit_rows(states), unit_rows(found)) if self.unit else (states, found)
            joined = torch.cat(both, dim=-1)
            read = linear(joined, self.mix.weight) if self.training else self.mix(joined)
        if not self.points:
            return read, None, None, None
        shares = [self.session(states, keys, distance, valid)]
        named, anything = [items], [valid.any(-1)]
        if self.past_limit:
            if past is None:  # nothing is known of anybody
                past = Earlier(items[:, :1] * 0, values[:, :1])
            ago = torch.arange(past.items.shape[1], device=items.device).unsqueeze(0)
            known = (past.items != 0).unsqueeze(1)
            shares.append(self._of_past(states, past, ago, known))
            named.append(past.items)
            anything.append(known.any(-1).expand(-1, queries))
        gates = self.gates(states).masked_fill(~torch.stack(anything, dim=-1), NEVER)
        log_rest, *log_gates = F.pad(gates, (1, 0)).log_softmax(-1).unbind(-1)
        log_share = torch.cat([s + g.unsqueeze(-1) for s, g in zip(shares, log_gates)], dim=-1)
        return read, torch.cat(named, dim=1).unsqueeze(1), log_share, log_rest

    def _of_past(self, states: Tensor, past: Earlier, ago: Tensor, known: Tensor) -> Tensor:
        """(N, Q, P) log of the weights of a user's earlier events; 0 in rows that have none, which nothing reads."""
        rows = past.rows
        if rows is None:
            return self.user(states, past.vectors, ago, known)
        share = self.user(states.index_select(0, rows), past.vectors, ago, known[rows])
        return share.new_zeros(*states.shape[:2], share.shape[2]).index_copy(0, rows, share)

    @staticmethod
    def _flat(
        look: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None], sessions: int, length: int
    ) -> Read:
        """Of (sessions, length) prefixes in one row, padding of blocks cut off."""
        states, items, log_share, log_rest = look

        def flat(x: Tensor) -> Tensor:
            return x.reshape(sessions, -1, *x.shape[2:])[:, :length].flatten(0, 1)

        if items is None or log_share is None or log_rest is None:
            return Read(flat(states))
        return Read(flat(states), Looks(flat(items.expand_as(log_share)), flat(log_share), flat(log_rest)))
