"""What the log knew about each test target at its time, kept beside its rank so that slices need no log.

A fact of a target looks at events before it only, but for `session_events`, the length of its whole session. Facts of
items are as of the training part. A fact whose column the log does not have is left out, and so are all of them where
RecBole's own data sets are in charge, which do not say which event a target is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbole_ext.errors import UsageError
from recbole_ext.segments import earlier_of_group, holder_of, owner_of, spans

# those of configs/overall.yaml: a name given in their place has to be in the log
DEFAULTS: dict[str, Any] = {
    "category_field": "category",
    "cart_events": ["addtocart", "cart"],
    "purchase_events": ["transaction", "purchase"],
}
KIND_KEYS = ("cart_events", "purchase_events")
OF_ITEMS = (
    "item_token",
    "item_count",
    "item_category",
    "held_out",
)  # arrays of a record by item, not by target
VIEW_ONLY, WITH_CART, WITH_PURCHASE = 0, 1, 2


def target_facts(dataset: Any, targets: Mapping[str, np.ndarray], config: Any) -> dict[str, np.ndarray]:
    """Facts of T test targets, and of n_items items; int32 but for `repeat`.

    Args:
        dataset: the test part, a SessionDataset; of any other no fact is known.
        targets: RankCollector's arrays, of which `event_index` (T,) names the targets.

    Returns:
        item_count: (n_items,) training events of each item.
        position: (T,) events of the session before the target, all of them, not MAX_ITEM_LIST_LENGTH at most.
        session_events: (T,) events of the whole session.
        repeat: (T,) bool, the target's item occurred before in its session, however long ago.
        earlier_sessions: (T,) sessions of the target's user that start before the target's own, in whatever part of the
            log: the history that a model of users could read. Sessions that start at one instant count in the order of
            the log, as HRNNFeat chains them. -1: the user is not known.
        session_type: (T,) 0 only views before the target, 1 a cart, 2 a purchase; where the log has such events at all.
        visit: (T,) which visit a target is of, where test sessions are published (prefix, target) pairs, see `visits`.
        item_category: (n_items,) category, 0 = unknown; the first one where an item has several.
    """
    place = targets.get("event_index")
    if place is None or getattr(dataset, "session_start", None) is None:
        return {}
    place = place.astype(np.int64)
    session = holder_of(place, dataset.session_start)
    found = {
        "item_count": dataset.training_counts().numpy(),
        "position": place - dataset.session_start[session],
        "session_events": dataset.session_length[session],
        "repeat": _repeats(dataset, place, session),
        "earlier_sessions": _earlier_sessions(dataset, session, config["LINK_USER_FIELD"]),
        "session_type": _session_types(dataset, place, session, config),
        "visit": visits(dataset, session) if dataset.of_pairs else None,
        "item_category": _item_categories(dataset, config["category_field"]),
    }
    return {
        name: fact if fact.dtype == bool else fact.astype(np.int32)
        for name, fact in found.items()
        if fact is not None
    }


def visits(dataset: Any, session: np.ndarray) -> np.ndarray:
    """(T,) number of the visit that each target's session (T,) was cut from, in the order of the log.

    Published pairs of a visit stand together, longest or shortest first, each a session of its own here: one of two
    neighbours then begins with all of the other. What drops some of the pairs (COTREC those of one item) leaves that.
    """
    asked, place = np.unique(session, return_inverse=True)
    start, length = dataset.session_start[asked], dataset.session_length[asked]
    item = dataset.events[dataset.iid_field].numpy()
    shorter = np.minimum(length[1:], length[:-1])
    differ = item[spans(start[1:], shorter)] != item[spans(start[:-1], shorter)]
    other = np.bincount(owner_of(shorter)[differ], minlength=len(shorter)) > 0
    opens = np.append(True, other | (length[1:] == length[:-1]))[: len(asked)]
    return (np.cumsum(opens) - 1)[place.reshape(-1)]


def _repeats(dataset: Any, place: np.ndarray, session: np.ndarray) -> np.ndarray:
    asked = np.unique(session)
    events = spans(dataset.session_start[asked], dataset.session_length[asked])
    item = dataset.events[dataset.iid_field].numpy()[events]
    of_session = owner_of(dataset.session_length[asked])
    order = np.lexsort((item, of_session))  # stable: equal items of a session stay in the order of events
    item, of_session = item[order], of_session[order]
    seen = np.zeros(len(dataset.events), dtype=bool)
    seen[events[order[1:]]] = (item[1:] == item[:-1]) & (of_session[1:] == of_session[:-1])
    return seen[place]


def _earlier_sessions(dataset: Any, session: np.ndarray, field: str | None) -> np.ndarray | None:
    if field not in dataset.events or field not in dataset.field2id_token:
        return None
    user = dataset.events[field].numpy()[dataset.session_start]  # (S,), sessions being in order of start
    return np.where(user > 0, earlier_of_group(user), -1)[session]


def _session_types(dataset: Any, place: np.ndarray, session: np.ndarray, config: Any) -> np.ndarray | None:
    field = config["EVENT_FIELD"]
    if field not in dataset.events or field not in dataset.field2id_token:
        return None
    kinds = np.asarray(dataset.field2id_token[field], dtype=str)
    carts, purchases = (np.isin(kinds, _names(config[key])) for key in KIND_KEYS)
    if not (carts | purchases).any():
        return None
    event, start = dataset.events[field].numpy(), dataset.session_start[session]

    def happened(wanted: np.ndarray) -> np.ndarray:
        before = np.concatenate(([0], np.cumsum(wanted[event])))  # of the whole log, before each event
        return before[place] > before[start]

    return np.where(happened(purchases), WITH_PURCHASE, np.where(happened(carts), WITH_CART, VIEW_ONLY))


def _item_categories(dataset: Any, field: str | None) -> np.ndarray | None:
    if dataset.item_feat is None or field not in dataset.item_feat or field not in dataset.field2id_token:
        return None
    category = dataset.item_feat[field].numpy()
    return category if category.ndim == 1 else category[:, 0]


# --- settings -----------------------------------------------------------------------------------------------


def check_log(dataset: Any, config: Any) -> None:
    """Raise UsageError for a name that someone has given in place of a default one, and that the log does not have.

    dataset: a SessionDataset; of any other no fact is known, so nothing is checked.
    """
    if getattr(dataset, "session_start", None) is None:
        return
    _check_category(dataset, config["category_field"])
    field = config["EVENT_FIELD"]
    known = [] if field not in dataset.events else list(dataset.field2id_token.get(field, ["[PAD]"]))[1:]
    for key in KIND_KEYS:
        for name in _names(config[key]):
            if name not in DEFAULTS[key] and name not in known:
                raise UsageError(
                    f"{key} names {name}, which no event is: column {field} of the .inter file "
                    f"{'holds ' + ', '.join(map(str, known)) if known else 'holds no kinds of events'}"
                )


def _check_category(dataset: Any, field: str | None) -> None:
    if field in (None, DEFAULTS["category_field"]):
        return
    columns = [] if dataset.item_feat is None else [c for c in dataset.item_feat if c != dataset.iid_field]
    tokens = [column for column in columns if column in dataset.field2id_token]
    if field not in tokens:
        raise UsageError(
            f"category_field is {field}, which is no token column of the .item file: "
            f"it has {', '.join(tokens) or 'none'}"
        )


def _names(kinds: Any) -> list[Any]:
    if kinds is None:
        return []
    return list(kinds) if isinstance(kinds, list | tuple) else [kinds]
