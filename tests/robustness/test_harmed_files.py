"""Files of ours that were cut or had a bit flipped: refused in one sentence, made anew, or read as they were.

Wrong are other numbers without a word, and a traceback. 200 cuts and 200 flips each of checkpoints, records,
an experiment's files, and model folders.
"""

import contextlib
import hashlib
import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from harness import toy

from recbole_ext.errors import UsageError

TRIES = 20  # a tenth


def flipped(content, random):
    place, bit = int(random.integers(len(content))), int(random.integers(8))
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def cut(content, random):
    return content[: int(random.integers(len(content)))]


HARMS = {"flipped": flipped, "cut": cut}
WHOLE = {}  # what was read of a place before any harm: tests of one fixture share theirs


@pytest.fixture(params=HARMS)
def harm(request):
    return request.param


def tried(count, harm, tenth, place, files, read, tries=TRIES):
    """Harm one file after the other, `read` each time, and count how that ends.

    place: a folder that is put back each time. files: those in it that are harmed. read: returns what was read, alike
    for alike.
    """
    saved = place.with_name(f"{place.name}-as-it-was")
    if place not in WHOLE:
        shutil.copytree(place, saved, symlinks=True)
        WHOLE[place] = read()
    for number in range(tenth * tries, (tenth + 1) * tries)[:: count.step]:
        random = np.random.default_rng([number, len(harm)])
        file = files[number % len(files)]
        content = file.read_bytes()
        file.write_bytes(HARMS[harm](content, random))
        said = f"{harm} {file.name} ({number}): "
        try:
            found = read()
        except UsageError as error:
            one = str(error)
            count.right("refused") if one and "\n" not in one else count.fail(
                f"{said}not one sentence: {one!r}"
            )
        except Exception as error:
            count.fail(f"{said}{type(error).__name__}: {error}")
        else:
            count.right("the same") if found == WHOLE[place] else count.fail(
                f"{said}other values without a word"
            )
        shutil.rmtree(place)
        shutil.copytree(saved, place, symlinks=True)


def digest(value, into=None):
    """SHA-256 of values of any nesting, whose order counts."""
    into = into or hashlib.sha256()
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            into.update(str(key).encode())
            digest(value[key], into)
    elif isinstance(value, list | tuple):
        for item in value:
            digest(item, into)
    elif isinstance(value, torch.Tensor):
        into.update(f"{value.dtype}{tuple(value.shape)}".encode() + value.numpy().tobytes())
    elif isinstance(value, pd.DataFrame):
        digest({name: value[name].to_numpy() for name in value.columns}, into)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        digest(value.tolist(), into)
    elif isinstance(value, np.ndarray):
        into.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    elif hasattr(value, "interaction"):
        digest(value.interaction, into)
    else:
        into.update(repr(value).encode())
    return into.hexdigest()


# --- checkpoints --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoints(toy_runs):
    """The folder of the toy, and in it one with a checkpoint of each kind of model, each in a folder of its name."""
    folder, records = toy_runs
    place = folder / "checkpoints"
    place.mkdir()
    for model, record in records.items():
        (place / model).mkdir()
        shutil.copy(folder / record["files"]["checkpoint"], place / model / f"{model}.pth")
    return folder, place


def test_a_harmed_checkpoint_is_refused(harm, tenth, tally, checkpoints):
    from recbole.quick_start import load_data_and_model

    folder, place = checkpoints
    with tally("3 harmed files", f"checkpoint {harm}") as count:
        for model in toy.SMALL:
            _of_one(count, harm, tenth, folder, place / model / f"{model}.pth", load_data_and_model)


def _of_one(count, harm, tenth, folder, file, load_data_and_model):
    def read():
        with contextlib.chdir(folder):
            config, model, *_ = load_data_and_model(str(file))
        parts = {"state": dict(model.state_dict()), "other": model.other_parameter()}
        return digest(_plain({**parts, "config": config.final_config_dict}))

    tried(count, harm, tenth, file.parent, [file], read, TRIES // len(toy.SMALL))


def _plain(value):
    """With what a module holds, and sparse matrices as their parts."""
    if isinstance(value, torch.nn.Module):
        return dict(value.state_dict())
    if hasattr(value, "tocsr"):
        csr = value.tocsr()
        return [csr.data, csr.indices, csr.indptr, csr.shape]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


# --- records ------------------------------------------------------------------------------------------------


def test_a_harmed_record_is_not_compared(harm, tenth, tally, toy_runs, tmp_path):
    import recbole_ext

    folder, records = toy_runs
    place = tmp_path / "runs"
    for model in ("GRU4Rec", "AR"):
        shutil.copytree((folder / records[model]["files"]["record"]).parent, place / model)

    def read():
        with contextlib.redirect_stdout(io.StringIO()):
            found = recbole_ext.compare(place / "GRU4Rec", place / "AR")
        return json.dumps(found, sort_keys=True, default=str)

    files = [place / model / name for model in ("GRU4Rec", "AR") for name in ("record.json", "ranks.npz")]
    with tally("3 harmed files", f"record {harm}") as count:
        tried(count, harm, tenth, place, files, read)


# --- model folders ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["GRU4Rec", "AR"])
def test_a_harmed_model_folder_is_refused(model, harm, tenth, tally, toy_runs, tmp_path):
    import recbole_ext

    folder, records = toy_runs
    place = tmp_path / "model"
    shutil.copytree(folder / records[model]["files"]["model"], place)

    def read():
        return recbole_ext.load(place).recommend([["i1", "i2"]], k=5).to_csv()

    with tally("3 harmed files", f"model folder {harm}") as count:
        tried(count, harm, tenth, place, sorted(place.iterdir()), read)


# --- experiments --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A folder with a finished experiment."""
    from recbole_ext.cli import main

    folder = tmp_path_factory.mktemp("experiment")
    toy.write_toy(folder)
    toy.write_experiment(folder)
    with contextlib.chdir(folder), toy.without_curves(), contextlib.redirect_stdout(io.StringIO()):
        assert main(["--experiment=try.yaml"]) == 0
    return folder


LEFT_OUT = "cut or changed: left out"  # what is said of a line
FILES = ("results/try/test_readings.csv", "runs/experiments/try/calls.jsonl", "results/try/cells.csv")


@pytest.mark.parametrize("name", [*FILES, "record.json", "cell.json", "ranks.npz"])
def test_a_harmed_file_of_an_experiment(name, harm, tenth, tally, experiment, monkeypatch, capfd):
    """The next call finds what it found before, makes anew what is damaged, or says which lines it leaves out."""
    from recbole_ext.cli import main
    from recbole_ext.report import experiment_report

    pages = []

    def write_report(folder, about, comparisons, records, searches, kept):
        """What the page would say, but for what another call adds."""
        calls = [(call["runs"], call["command"]) for call in about["calls"]]
        readings = [{key: value for key, value in row.items() if key != "time"} for row in about["readings"]]
        pages.append((calls, readings, [record["test"] for record in records], comparisons))
        return []

    monkeypatch.setattr(experiment_report, "write_report", write_report)
    files = sorted(experiment.glob(f"runs/experiments/try/toy/*/seed-*/{name}")) or [experiment / name]

    def read():
        pages.clear()
        capfd.readouterr()
        with contextlib.chdir(experiment), toy.without_curves():
            code = main(["--experiment=try.yaml"])
        said = capfd.readouterr()
        if code:
            assert said.err.startswith("error: ") and "Traceback" not in said.err, said.err
            raise UsageError(said.err.strip())
        calls, readings, tests, comparisons = pages[0]
        found = json.dumps([tests, _without_costs(comparisons)], sort_keys=True, default=str)
        kept = [sorted(map(str, part)) for part in (calls, readings)]
        return Found(found, kept, LEFT_OUT in said.err)

    with tally("3 harmed files", f"experiment's {name.rpartition('/')[2]} {harm}") as count:
        tried(count, harm, tenth, experiment, files, read, 4)


class Found:
    """What a call found: `results`, which are the same or wrong, and the lines of its lists, which only grow."""

    def __init__(self, results, lists, told):
        self.results, self.lists, self.told = results, lists, told

    def __eq__(self, whole):
        """A line that is not there any more is told; one that is new is of a cell that was made anew."""
        for mine, theirs in zip(self.lists, whole.lists):
            if not self.told and any(line not in mine for line in theirs):
                return False
        return self.results == whole.results


def _without_costs(value):
    if isinstance(value, dict):
        return {key: _without_costs(item) for key, item in value.items() if key not in ("seconds", "notes")}
    return [_without_costs(item) for item in value] if isinstance(value, list) else value
