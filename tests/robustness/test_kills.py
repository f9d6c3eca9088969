"""Commands that are killed (SIGKILL) at times spread over their length: the next one ends as if nothing had been.

As an undisturbed one: the same bytes of atomic files, the same metrics, and no temporary file. A kill that comes too
late, when the command has ended, counts too: it had to end right.
"""

import json
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from harness import toy
from harness.forked import WAIT
from harness.outcomes import OPTIONS, conversions, found, left_over, moments, outcome, written

KILLS = 3  # of a converter, a tenth
WRITING = 0.02  # seconds, about, that a converter of a small log writes
# --- converters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", OPTIONS)
def test_a_killed_conversion(source, tenth, tally, forks, tmp_path):
    """Of another log than the one whose atomic files are there: neither a mixture nor a half counts as done."""
    from recbole_ext.convert.atomic import read_manifest

    words = conversions(source, tmp_path)
    expected = {}
    for name, command in words.items():
        ended = forks.run([*command, f"whole/{name}/log"], tmp_path)
        assert ended.code == 0, ended.said
        expected[name] = written(tmp_path / "whole" / name / "log")
    began = time.monotonic()
    forks.run([*words["other"], "whole/again/log"], tmp_path)
    length = time.monotonic() - began
    out = tmp_path / "out" / "log"
    with tally("1 kills", f"convert {source}") as count:
        for number, share in enumerate(moments(tenth, KILLS, len(source))):
            shutil.rmtree(out.parent, ignore_errors=True)
            shutil.copytree(tmp_path / "whole" / "one", out.parent)
            command = forks.start([*words["other"], "out/log"], tmp_path)
            if number:  # while it writes, which is a small part of its length
                killed = command.kill_when(lambda: any(out.parent.glob(".log.*.part")), share * WRITING)
            else:
                killed = command.kill_after(share * length)
            found = read_manifest(out)
            now = None if found is None else written(out)
            again = forks.run([*words["other"], "out/log"], tmp_path)
            said = f"killed at {share:.2f} of {WRITING if number else length:.2f} s: "
            if now is not None and now not in expected.values():
                count.fail(f"{said}a mixture counts as done")
            elif again.code or written(out) != expected["other"]:
                count.fail(f"{said}the next one wrote something else: {again.said}")
            elif left_over(tmp_path / "out"):
                count.fail(f"{said}left {left_over(tmp_path / 'out')}")
            else:
                count.right("killed" if killed else "had ended")


# --- training -----------------------------------------------------------------------------------------------


def newest(folder, pattern):
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime_ns)


@pytest.mark.parametrize("model", toy.SMALL)
def test_a_killed_run(model, tenth, tally, forks, tmp_path):
    """The same command again, and one that goes on from the checkpoint if the killed one has left any."""
    toy.write_toy(tmp_path)
    words = toy.words(model)
    whole = forks.run(words, tmp_path)
    assert whole.code == 0, whole.said
    began = time.monotonic()
    assert forks.run(words, tmp_path).code == 0
    length = time.monotonic() - began
    records = "runs/toy/*/record.json"
    expected = outcome(json.loads(newest(tmp_path, records).read_text()))
    with tally("1 kills", f"train {model}") as count:
        for share in moments(tenth, 1, len(model)):
            known = set(tmp_path.glob("saved/*.pth"))
            killed = forks.start(words, tmp_path).kill_after(share * length)
            said = f"killed at {share:.2f} of {length:.2f} s: "
            files = sorted(set(tmp_path.glob("saved/*.pth")) - known)
            more = [[f"--resume_from={file.relative_to(tmp_path)}"] for file in files] if killed else []
            for extra in ([], *more):
                before = set(tmp_path.glob(records))
                again = forks.run([*words, *extra], tmp_path)
                made = set(tmp_path.glob(records)) - before
                if again.code == 2 and extra and "Traceback" not in again.said:
                    count.right("refused to go on")
                elif again.code or len(made) != 1:
                    count.fail(f"{said}{extra} ended with {again.code}: {again.said[-2000:]}")
                elif outcome(json.loads(made.pop().read_text())) != expected:
                    count.fail(f"{said}{extra} found other metrics")
                elif left_over(tmp_path):
                    count.fail(f"{said}{extra} left {left_over(tmp_path)}")
                else:
                    count.right(("went on" if extra else "killed") if killed else "had ended")


# --- experiments --------------------------------------------------------------------------------------------


def test_a_killed_experiment(tenth, tally, forks, tmp_path):
    whole, killed_in = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed_in):
        toy.write_toy(folder)
        toy.write_experiment(folder)
    words = ["--experiment=try.yaml"]
    began = time.monotonic()
    ended = forks.run(words, whole)
    assert ended.code == 0, ended.said
    length = time.monotonic() - began
    expected = found(whole)
    with tally("1 kills", "experiment") as count:
        (share,) = moments(tenth, 1, 7)
        killed = forks.start(words, killed_in).kill_after(share * length)
        again = forks.run(words, killed_in)
        said = f"killed at {share:.2f} of {length:.2f} s: "
        if again.code:
            count.fail(f"{said}ended with {again.code}: {again.said[-2000:]}")
        elif found(killed_in) != expected:
            parts = zip(("cells", "readings", "cells.csv", "chosen"), found(killed_in), expected)
            different = [name for name, one, two in parts if one != two]
            count.fail(f"{said}other {different}")
        elif left_over(killed_in):
            count.fail(f"{said}left {left_over(killed_in)}")
        else:
            count.right("killed" if killed else "had ended")


# --- serving ------------------------------------------------------------------------------------------------


def address(command):
    """Where a server answers."""
    limit = time.monotonic() + WAIT
    while "http://127.0.0.1:" not in command.said:
        assert not command.ended() and time.monotonic() < limit, command.said
        time.sleep(0.01)
    time.sleep(0.05)  # the line may not be whole yet
    port = command.said.split("http://127.0.0.1:")[1].split()[0].strip("/")
    return f"http://127.0.0.1:{int(port)}/recommend"


def ask(url):
    body = json.dumps({"sessions": [["i1", "i2"], ["i3"]], "k": 5}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=WAIT) as answer:
        return json.load(answer)["lists"]


def same(one, two):
    """Whether two answers list the same; scores of requests that are answered together differ in their last digits."""
    lists = [[(part["session"], part["items"]) for part in answer] for answer in (one, two)]
    scores = [[score for part in answer for score in part["scores"]] for answer in (one, two)]
    return lists[0] == lists[1] and np.allclose(*scores, rtol=1e-5)


def test_a_killed_server(tenth, tally, forks, toy_runs):
    """Under load: whatever it has answered was right, and one that is started again answers the same."""
    pytest.importorskip("starlette", reason="no starlette: pip install 'recbole-ext[serve]'")
    folder, records = toy_runs
    model = list(toy.SMALL)[tenth % len(toy.SMALL)]
    run = Path(records[model]["files"]["record"]).parent
    words = ["serve", str(run), "--port", "0"]
    before = forks.start(words, folder)
    expected = ask(address(before))
    before.kill()
    before.wait()
    with tally("1 kills", "serve") as count:
        server = forks.start(words, folder)
        url, answers, stop = address(server), [], threading.Event()

        def load():
            while not stop.is_set():
                try:
                    answers.append(ask(url))
                except OSError:
                    return

        clients = [threading.Thread(target=load) for _ in range(3)]
        for client in clients:
            client.start()
        (share,) = moments(tenth, 1, 9)
        while len(answers) < 3:
            time.sleep(0.001)
        time.sleep(share / 2)
        server.kill()
        server.wait()
        stop.set()
        for client in clients:
            client.join(WAIT)
        again = forks.start(words, folder)
        answers.append(ask(address(again)))
        again.kill()
        again.wait()
        wrong = [answer for answer in answers if not same(answer, expected)]
        if answers[-1] != expected:
            count.fail(f"{model}: started again it answers {answers[-1]} and not {expected}")
        elif wrong:
            count.fail(f"{model}: under load it answered {wrong[0]} and not {expected}")
        else:
            count.right("killed")
