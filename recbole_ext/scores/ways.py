"""By which way the parts of a model's steps are computed: noted where it is chosen, told once in a run's log."""

from __future__ import annotations

from torch import nn

KERNELS, ONEDNN, OWN = "GPU kernels", "oneDNN", "torch's own operations"
SOFTMAX, GRU, LAYERS = "softmax", "GRU", "linear layers"
NORMS, ROWS = "layer norms", "looked-up rows"
_KINDS: dict[str, type[nn.Module]] = {GRU: nn.GRU, LAYERS: nn.Linear, NORMS: nn.LayerNorm, ROWS: nn.Embedding}

_taken: dict[str, dict[str, None]] = {}  # part to its ways, in the order they were first taken


def took(part: str, way: str) -> None:
    """Note that a part went that way."""
    _taken.setdefault(part, {})[way] = None


def forget() -> None:
    """Begin anew: what was noted is of another model."""
    _taken.clear()


def told(model: nn.Module) -> str:
    """`softmax by oneDNN; GRU and linear layers by torch's own operations`: what was noted, and torch's own for what
    the model has beside that."""
    found = {part: " and ".join(ways) for part, ways in _taken.items()}
    for part, kind in _KINDS.items():
        if part not in found and any(isinstance(layer, kind) for layer in model.modules()):
            found[part] = OWN
    parts: dict[str, list[str]] = {}
    for part in (SOFTMAX, *_KINDS):
        if part in found:
            parts.setdefault(found[part], []).append(part)
    return "; ".join(f"{_together(own)} by {way}" for way, own in parts.items())


def _together(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
