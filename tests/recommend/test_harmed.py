"""Folders that were cut or changed anywhere: never an answer, always one sentence."""

import shutil

import numpy as np
import pytest

from recbole_ext.errors import UsageError
from recbole_ext.recommend import load
from recbole_ext.recommend.export import export

TIMES = 200


@pytest.fixture(
    scope="module", params=["the model folder of a run", "an exported folder", "an exported network"]
)
def whole(request, vstan, hrnn, tmp_path_factory):
    """A folder that answers."""
    place = tmp_path_factory.mktemp("harmed") / "folder"
    if request.param == "the model folder of a run":
        shutil.copytree(hrnn.folder / "model", place)
    else:
        if request.param == "an exported network":
            pytest.importorskip("onnxruntime")
            pytest.importorskip("onnx")
        export((vstan if request.param == "an exported folder" else hrnn).folder, place)
    return place


def flipped(content, random):
    place, bit = int(random.integers(len(content))), int(random.integers(8))
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def cut(content, random):
    return content[: int(random.integers(len(content)))]


@pytest.mark.parametrize("harm", [flipped, cut])
def test_a_harmed_folder_is_refused_in_one_sentence(whole, harm):
    random = np.random.default_rng(11)
    files = sorted(whole.iterdir())
    answer = load(whole).recommend([["i1", "i2"]], 5)
    for turn in range(TIMES):
        file = files[turn % len(files)]
        content = file.read_bytes()
        file.write_bytes(harm(content, random))
        try:
            with pytest.raises(UsageError) as refused:
                load(whole)
        finally:
            file.write_bytes(content)
        said = str(refused.value)
        assert said and "\n" not in said and str(whole) in said
    assert load(whole).recommend([["i1", "i2"]], 5).equals(answer)
