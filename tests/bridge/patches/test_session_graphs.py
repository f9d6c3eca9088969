"""The graphs of SRGNN and GCSAN, made of whole batches: patches/session_graphs.py.

Scenarios are run by test_every_patch.py.
"""

import importlib.util
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch


def session_graphs(folder: Path) -> Any:
    """A session's graph as both models have it, and its shape on a device whose values cannot be read."""
    from recbole.model.sequential_recommender.gcsan import GCSAN
    from recbole.model.sequential_recommender.srgnn import SRGNN

    session = torch.tensor([[7, 9, 8, 9, 4, 0]])
    seen = []
    for model in (SRGNN, GCSAN):
        graph = model._get_slice(SimpleNamespace(device="cpu"), session)
        unread = model._get_slice(SimpleNamespace(device="meta"), session.to("meta"))
        seen.append([[part.tolist() for part in graph], [list(part.shape) for part in unread]])
    return seen


# worked out on paper: nodes 0, 4, 7, 8, 9; first the six nodes' links in, then those out
GRAPH_BY_HAND = [
    [[2, 4, 3, 4, 1, 0]],
    [
        [
            [0, 0, 0, 0, 0, 0, *[0, 0, 0, 0, 0, 0]],
            [0, 0, 0, 0, 1, 0, *[0, 0, 0, 0, 0, 0]],
            [0, 0, 0, 0, 0, 0, *[0, 0, 0, 0, 1, 0]],
            [0, 0, 0, 0, 1, 0, *[0, 0, 0, 0, 1, 0]],
            [0, 0, 0.5, 0.5, 0, 0, *[0, 0.5, 0, 0.5, 0, 0]],
            [0, 0, 0, 0, 0, 0, *[0, 0, 0, 0, 0, 0]],
        ]
    ],
    [[0, 4, 7, 8, 9, 0]],
]


GRAPH_SHAPES = [[1, 6], [1, 6, 12], [1, 6]]


NO_PADDING = [[True, True, True, True, True, False]]


EXPECTED: dict[str, Any] = {
    "session_graphs": [
        [[*GRAPH_BY_HAND, NO_PADDING], [*GRAPH_SHAPES, [1, 6]]],
        [GRAPH_BY_HAND, GRAPH_SHAPES],
    ],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "session_graphs": "Cannot copy out of meta tensor",
}


def padded_batch(draw: random.Random) -> torch.Tensor:
    """Sessions of few items, so that items, links and loops repeat; some are full, of one event, or hold a 0."""
    width, number = draw.randint(1, 9), draw.choice([2, 5, 40_000])
    rows = []
    for _ in range(draw.randint(1, 8)):
        length = draw.choice([1, width, draw.randint(1, width)])
        row = [draw.randint(1, number) for _ in range(length)] + [0] * (width - length)
        if draw.random() < 0.3:
            row[draw.randrange(width)] = 0
        rows.append(row)
    return torch.tensor(rows)


@pytest.mark.parametrize("name", ["SRGNN", "GCSAN"])
def test_session_graphs_are_recboles_own(name: str, patched: Path):
    module = importlib.import_module(f"recbole.model.sequential_recommender.{name.lower()}")
    spec = importlib.util.spec_from_file_location("unpatched", str(module.__file__))
    assert spec is not None and spec.loader is not None
    unpatched = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpatched)
    theirs, ours = getattr(unpatched, name)._get_slice, getattr(module, name)._get_slice
    assert theirs.__code__.co_filename != ours.__code__.co_filename
    draw, device = random.Random(5), SimpleNamespace(device=torch.device("cpu"))
    for _ in range(300):
        batch = padded_batch(draw)
        before = batch.clone()
        pairs = list(zip(theirs(device, batch), ours(device, batch), strict=True))
        assert len(pairs) == (4 if name == "SRGNN" else 3) and torch.equal(batch, before)
        for expected, found in pairs:
            assert (found.dtype, found.stride()) == (expected.dtype, expected.stride())
            assert torch.equal(found, expected), batch
