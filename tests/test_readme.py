"""Every command of the README and its first pages is run, on generated logs and for one epoch, but the test commands.

`make demo`, the Python block and the wheel are processes of their own. The others run in this one, through the same
doors: a process would take longer to import torch than most of them take.
"""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ext.cli import main
from recbole_ext.settings.files import configs_dir

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = (
    "start-shop.md",
    "start-research.md",
    "start-recbole.md",
    "api.md",
)  # which go on where the README ends
TEXT = "\n".join([README, *((ROOT / "docs" / page).read_text(encoding="utf-8") for page in PAGES)])
OURS = ("python ", "recbole-ext ")
TESTS = (
    "make test",
    "make test-all",
    "make test-base",
    "make test-pythons",
    "make lint",
)  # they run these tests, or .ci/run runs them beside
ELSEWHERE = {  # the test that runs the command, or does what its line says
    "recbole-ext study FOLDER/events.csv": "test_study.py",
    "recbole-ext new shop my-shop": "test_new.py",
    "recbole-ext run --model=HRNNFeat --dataset=shop": "test_new.py",
    "recbole-ext compare RUN RUN": "test_new.py",
    "recbole-ext serve RUN": "recommend/serve/test_process.py",
    "recbole-ext update RUN --events new_days": "recommend/test_update.py",
    "recbole-ext promote NEW NEW/parent && ln -sfn NEW current": "evaluate/test_promotion.py",
}


def blocks(language):
    """Fenced blocks of one language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    assert language in {name for name, _ in found}
    return [block for name, block in found if name == language]


def commands():
    lines = [re.sub(r"\s+#.*", "", line) for block in blocks("") for line in block.splitlines()]
    inline = re.findall(r"`(make [a-z-]+|recbole-ext (?:compare|export|settings) [^`]+)`", TEXT)
    return [line for line in dict.fromkeys([*lines, *inline]) if line.startswith(("make", *OURS))]


COMMANDS = [command for command in commands() if command not in (*TESTS, *ELSEWHERE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory with the checkout's front door and generated raw logs in FOLDER."""
    place = tmp_path_factory.mktemp("readme")
    for name in (
        "run.py",
        "recbole_ext",
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "README.md",
    ):
        (place / name).symlink_to(ROOT / name)
    (place / "configs").symlink_to(configs_dir())
    for schema, scale in (("diginetica", 0.002), ("retailrocket", 0.001)):
        for out in ("FOLDER", f"raw_data/{schema}-demo"):
            words = [sys.executable, "-m", "recbole_ext.convert", *synthetic(schema, scale, out)]
            subprocess.run(words, cwd=place, check=True)
    make_session_lists(place / "FOLDER")
    make_shop_log(place / "FOLDER")
    return place


def synthetic(schema, scale, out):
    return ["synthetic", schema, "--scale", str(scale), "--seed", "1", "--out", out]


def make_shop_log(folder):
    """Events whose columns are called as a shop calls them, and its items."""
    clicks = [(s, n) for s in range(60) for n in range(3)]
    rows = [
        f"v{s % 20},p{(s + n) % 9},2026-05-{1 + s % 28:02}T10:{s % 28:02}:{n:02}Z,view" for s, n in clicks
    ]
    (folder / "shoplog.csv").write_text("\n".join(["visitor,product,when,action", *rows]) + "\n")
    items = [f"p{i},{i % 3}" for i in range(9)]
    (folder / "items.csv").write_text("\n".join(["product,category", *items]) + "\n")


def make_session_lists(folder):
    import pickle

    sessions = [[1 + (s + n) % 9 for n in range(2 + s % 3)] for s in range(60)]
    train, test = sessions[:50], sessions[50:]
    pairs = [(s[:n], s[n]) for s in test for n in range(len(s) - 1, 0, -1)]
    (folder / "all_train_seq.txt").write_bytes(pickle.dumps(train))
    (folder / "test.txt").write_bytes(pickle.dumps(([p for p, _ in pairs], [t for _, t in pairs])))
    lines = ["item,category", *(f"{i},{i % 3}" for i in range(1, 10))]
    (folder / "item_category.csv").write_text("\n".join(lines) + "\n")


def run_here(words, capsys):
    """What the command prints, a run.py or a recbole-ext, in the folder that this process is in."""
    if words[0] == "python":
        sys.argv = words[1:]
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(words[1], run_name="__main__")
        code = ended.value.code
    else:
        code = main(words[1:])
    said = capsys.readouterr()
    assert code == 0, said.out[-3000:] + said.err[-3000:]
    return said.out


def run(command, cwd):
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_readme_has_commands_to_run():
    assert "make demo" in COMMANDS
    assert sum(c.startswith("python run.py ") for c in COMMANDS) >= 8
    for word in ("convert", "compare", "recommend", "export", "settings"):
        assert any(c.startswith(f"recbole-ext {word} ") for c in COMMANDS)


def test_the_readme_is_one_screen():
    lines = README.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 120
    # what a reader cannot know yet
    assert not re.search(r"straddle|natural cold|targets: all|\(prefix, target\)", README)


@pytest.mark.parametrize(("command", "file"), ELSEWHERE.items())
def test_commands_that_another_test_runs(command, file):
    assert command in commands()
    tests = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert f'"{command.split()[1]}"' in tests or f"recbole-ext {command.split()[1]} " in tests


def test_there_is_one_way_to_write_a_command():
    texts = [TEXT, *(file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md")))]
    assert len(texts) > 9 and not any("python -m recbole_ext" in text for text in texts)


def once(command):
    """On RecBole's own stack the kinds of command are run, not each model and log again."""
    words = ("--model=HRNNFeat --dataset=diginetica-demo", " compare", " recommend", " settings", " convert")
    return () if any(word in command for word in words) else pytest.mark.once


@pytest.mark.parametrize("command", [pytest.param(c, marks=once(c)) for c in COMMANDS if c.startswith(OURS)])
def test_command(folder, command, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)
    words = shlex.split(command)
    if words[1] == "run.py":
        words += ["--epochs=1", "--use_gpu=False"]
    if "--experiment=demo" in words:
        words += ["--seed=1", "--model=VSTAN,Pop"]  # one of its seeds, some of its models
    if "--seed=1,2" in words:
        words += ["--hidden_size=8", "--inner_size=16"]  # four runs
    if "compare" in words:  # of runs that are there
        run_here(["python", "run.py", "--model=AR,RepeatLast", "--dataset=diginetica-demo"], capsys)
        runs = folder.glob("runs/experiments/diginetica-demo/*/*/seed-*/record.json")
        words = words[:2] + [str(record.parent) for record in runs if "SASRec" not in str(record)]
    if "RUN" in words:
        made = "runs/diginetica-demo/SKNN-*/model/items.json"  # which is served, exported and asked alike
        if not list(folder.glob(made)):
            run_here(["python", "run.py", "--model=SKNN", "--dataset=diginetica-demo"], capsys)
        place = next(folder.glob(made)).parents[1]
        names = json.loads((place / "model" / "items.json").read_text())["item_id"]
        (folder / "sessions.csv").write_text(f"session,item\na,{names[1]}\na,{names[2]}\nb,{names[3]}\n")
        words = [str(place) if word == "RUN" else word for word in words]
    output = run_here(words, capsys)
    if "--session" in words:
        assert "after 17, 42" in output
    elif "recommend" in words:
        assert (
            "2 lists written to lists.parquet" in output and (folder / "lists.parquet").stat().st_size > 500
        )
    elif "compare" in words:
        assert "RepeatLast" in output and "95 %" in output
    elif "export" in words:
        assert "lists of made-up sessions are the run's" in output
    elif "settings" in words:
        assert "lambda_snh" in output and "eval_args" in output
    elif "--experiment=demo" in words:
        page = folder / "results" / "demo" / "index.html"
        assert str(page.relative_to(folder)) in output and page.stat().st_size > 50_000
    elif words[1] == "run.py":
        assert "NDCG" in output and "@20" in output and "record.json" in output
    else:
        assert "written to" in output


@pytest.mark.once
def test_make_demo(folder):
    place = Path(sys.prefix)
    if not (place / "ready").exists():
        pytest.skip("not in an environment of the Makefile, so make demo would install one")
    output = run(["make", "-s", "-o", "setup", "demo", f"VENV={place}", "EPOCHS=1"], folder)
    assert "HRNNFeat on diginetica-demo" in output
    assert output.count("  after ") == 3 and re.search(
        r"^more: .* recommend runs/\S+ --session ", output, re.MULTILINE
    )
    (picture,) = re.findall(r"learning curve +(\S+)", output)
    assert (folder / picture).stat().st_size > 5000


@pytest.mark.once
def test_python_block(folder):
    for block in blocks("python"):
        quick = block.replace(
            'dataset="diginetica-demo")', 'dataset="diginetica-demo", config_dict={"epochs": 1})'
        )
        script = folder / "block.py"
        script.write_text(quick.replace("epochs=3", "epochs=1"))
        before = len(list(folder.glob("runs/diginetica-demo/HRNNFeat-*/record.json")))
        run([sys.executable, "block.py"], folder)
        assert len(list(folder.glob("runs/diginetica-demo/HRNNFeat-*/record.json"))) == before + 1


@pytest.mark.once
def test_make_wheel_and_the_wheel_works_elsewhere(tmp_path):
    pytest.importorskip("build")
    place = Path(sys.prefix)
    if not (place / "ready").exists():
        pytest.skip("not in an environment of the Makefile, so make wheel would install one")
    source = tmp_path / "source"
    kept = ("recbole_ext", "configs", "Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
    for name in kept:
        source.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    run(["make", "-s", "-o", "setup", "wheel", f"VENV={place}"], source)
    (wheel,) = (source / "dist").glob("*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)],
        tmp_path,
    )
    shutil.rmtree(source)
    run_from = {**os.environ, "PYTHONPATH": str(site)}
    arguments = ["--model=HRNNFeat", "--dataset=diginetica-demo", "--epochs=1", "--use_gpu=False"]
    for words in (
        ["recbole_ext.convert", *synthetic("diginetica", 0.005, "raw_data/diginetica-demo")],
        ["recbole_ext", *arguments],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=elsewhere, env=run_from, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert "HRNNFeat on diginetica-demo" in done.stdout
    code = "import recbole_ext; print(recbole_ext.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=run_from, capture_output=True, text=True
    )
    assert str(site) in where.stdout
