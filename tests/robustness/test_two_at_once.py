"""Two processes at once on one output, one experiment, one runs_dir: both end right, or one is refused.

The second starts at moments spread over the length of the first; what is there afterwards is what one process leaves.
"""

import json
import time

import pytest
from harness import toy
from harness.outcomes import OPTIONS, conversions, found, left_over, moments, outcome, written


def both(forks, first, second, folder, share, length):
    """Two commands, ended; the second one begun after a share of the length of the first."""
    one = forks.start(first, folder)
    time.sleep(share * length)
    two = forks.start(second, folder)
    one.wait()
    two.wait()
    return one, two


def refused(command):
    """Whether a command ended in one sentence."""
    last = command.said.strip().splitlines()[-1:] or [""]
    return command.code == 2 and "Traceback" not in command.said and last[0].startswith(("error: ", "/"))


@pytest.mark.parametrize("source", OPTIONS)
def test_one_output(source, tenth, tally, forks, tmp_path):
    """Two logs to one folder: it holds one of them, whole."""
    words, expected = conversions(source, tmp_path), {}
    for name in words:
        began = time.monotonic()
        assert forks.run([*words[name], f"whole/{name}/log"], tmp_path).code == 0
        length = time.monotonic() - began
        expected[name] = written(tmp_path / "whole" / name / "log")
    with tally("5 two at once", f"one output of convert {source}") as count:
        for share in moments(tenth, 2, 3):
            commands = [[*words[name], "out/log"] for name in ("one", "other")]
            one, two = both(forks, *commands, tmp_path, share / 2, length)
            if not all(command.code == 0 or refused(command) for command in (one, two)):
                count.fail(f"after {share:.2f}: {one.code} {one.said} {two.code} {two.said}")
            elif written(tmp_path / "out" / "log") not in expected.values():
                count.fail(f"after {share:.2f}: a mixture")
            elif left_over(tmp_path / "out"):
                count.fail(f"after {share:.2f}: left {left_over(tmp_path / 'out')}")
            else:
                count.right("both" if one.code == two.code == 0 else "one refused")


@pytest.mark.parametrize("model", ["GRU4Rec", "AR"])
def test_one_runs_dir(model, tenth, tally, forks, tmp_path):
    """Two runs of one model, in one second or a little later, each with a folder, a checkpoint and a log of its own."""
    toy.write_toy(tmp_path / "alone")
    toy.write_toy(tmp_path / "both")
    words = toy.words(model)
    began = time.monotonic()
    whole = forks.run(words, tmp_path / "alone")
    assert whole.code == 0, whole.said
    length = time.monotonic() - began
    expected = outcome(json.loads(next((tmp_path / "alone").glob("runs/toy/*/record.json")).read_text()))
    share = moments(tenth, 1, 5)[0] if tenth else 0.0
    with tally("5 two at once", f"one runs_dir, {model}") as count:
        one, two = both(forks, words, words, tmp_path / "both", share, length)
        records = [
            json.loads(file.read_text()) for file in (tmp_path / "both").glob("runs/toy/*/record.json")
        ]
        files = {record["files"][name] for record in records for name in ("checkpoint", "ranks", "model")}
        if not one.code == two.code == 0:
            count.fail(f"after {share:.2f}: {one.code} {one.said[-1500:]} {two.code} {two.said[-1500:]}")
        elif len(records) != 2 or len(files) != 6 or len(list((tmp_path / "both").glob("log/*/*.log"))) != 2:
            count.fail(f"after {share:.2f}: two runs share {files}")
        elif any(outcome(record) != expected for record in records):
            count.fail(f"after {share:.2f}: other metrics")
        elif left_over(tmp_path / "both"):
            count.fail(f"after {share:.2f}: left {left_over(tmp_path / 'both')}")
        else:
            count.right("both")


def test_one_experiment(tenth, tally, forks, tmp_path):
    for name in ("alone", "both"):
        toy.write_toy(tmp_path / name)
        toy.write_experiment(tmp_path / name)
    words = ["--experiment=try.yaml"]
    began = time.monotonic()
    assert forks.run(words, tmp_path / "alone").code == 0
    length = time.monotonic() - began
    expected = found(tmp_path / "alone")
    (share,) = moments(tenth, 1, 5)
    with tally("5 two at once", "one experiment") as count:
        one, two = both(forks, words, words, tmp_path / "both", share, length)
        codes = sorted([one.code, two.code])
        if codes not in ([0, 0], [0, 2]) or not all(c.code == 0 or refused(c) for c in (one, two)):
            count.fail(f"after {share:.2f}: {one.code} {one.said[-1500:]} {two.code} {two.said[-1500:]}")
        elif found(tmp_path / "both") != expected:
            count.fail(f"after {share:.2f}: other results")
        elif left_over(tmp_path / "both"):
            count.fail(f"after {share:.2f}: left {left_over(tmp_path / 'both')}")
        else:
            count.right("both" if one.code == two.code == 0 else "one refused")
