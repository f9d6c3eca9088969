"""Which sequential models carry the methods of reinforcement learning, as `<encoder><method>`, and why others do not.

An encoder has to score by a product of a state and an item's vector, and to train by the softmax of these scores
(terms of its weights may come on top); `recbole_ext.model.factored.examine` finds that out by comparing numbers. Of our
own models and a user's the class says it, in `carries_methods`: True, or the reason against it. RecBole's classes
say nothing, and names have to be known before a model is made, so what was found out of them is written down here;
tests/test_contract.py finds it out again.
"""

from __future__ import annotations

NO_PRODUCT = "does not score by a product of a state and an item's vector"
OWN_LOSS = "trains by more than the softmax of its scores"
OWN_DATA = "reads a data set of its own, which has no rows of transitions"
STAGES = "trains in two stages, each with a loss of its own"
UNSAID = "does not say `carries_methods = True`"

WITHOUT_METHODS: dict[str, str] = {
    "BERT4Rec": NO_PRODUCT,  # a bias an item
    "CORE": NO_PRODUCT,  # a cosine
    "DIEN": OWN_DATA,
    "DIN": NO_PRODUCT,  # a network over pairs of prefix and item
    "FEARec": OWN_LOSS,  # contrastive terms, once contrast is set
    "FOSSIL": NO_PRODUCT,
    "FPMC": NO_PRODUCT,
    "GRU4RecCPR": NO_PRODUCT,  # several softmaxes, chosen by item
    "GRU4RecKG": OWN_DATA,
    "HGN": NO_PRODUCT,
    "HRM": NO_PRODUCT,
    "KSR": OWN_DATA,
    "NPE": NO_PRODUCT,
    "RepeatNet": NO_PRODUCT,
    "S3Rec": STAGES,
    "SASRecCPR": NO_PRODUCT,
    "SHAN": OWN_LOSS,  # a norm of its own in the loss
    "TransRec": NO_PRODUCT,  # a distance
}

_pairs: dict[str, tuple[str, str]] = {}
_reasons: dict[str, str] = dict(WITHOUT_METHODS)


def actor_critics() -> dict[str, tuple[str, str]]:
    """Models of reinforcement learning that are registered: name to (encoder, method)."""
    return dict(_pairs)


def enter(encoder: str, method: str) -> str:
    """Make `<encoder><method>` known, and return it."""
    name = f"{encoder}{method}"
    _pairs[name] = (encoder, method)
    return name


def leave_out(encoder: str, reason: str) -> None:
    """Remember why an encoder carries no method; `reason` follows the encoder's name in a sentence."""
    _reasons[encoder] = reason


def said_of(model: object) -> str | None:
    """What a class's `carries_methods` has against the methods; None: nothing, it carries them."""
    said = getattr(model, "carries_methods", False)
    if said is True:
        return None
    return said if isinstance(said, str) else UNSAID


def refusal(name: str, methods: list[str]) -> str | None:
    """Why `<encoder><method>` is no model, where the encoder carries no methods; None for any other name."""
    for method in methods:
        encoder = name.removesuffix(method)
        if encoder != name and encoder in _reasons:
            return f"there is no {name}: {encoder} {_reasons[encoder]}, so it can carry no {method}"
    return None
