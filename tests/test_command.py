"""How every command ends: a package that is not there, a reader that goes away, an interrupt at any time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_ext import cli, records
from recbole_ext.errors import UsageError, missing, needs

ROOT = Path(__file__).resolve().parents[1]
# a finder of modules before the others, which does `act` where one of `names` is looked for
FINDER = """
import sys, os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name in {names}:
            {act}
sys.meta_path.insert(0, Finder())
"""


def python(code, *words, **more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **more,
    )


COMMANDS = [
    (
        "promote",
        ["a", "b"],
        "pydantic",
        "promote needs pydantic, which is not installed: pip install pydantic",
    ),
    (
        "update",
        ["a", "--events", "b"],
        "torch",
        "update needs torch, which is not installed: pip install recbole-ext",
    ),
    (
        "update",
        ["a", "--events", "b"],
        "yaml",
        "update needs yaml, which is not installed: pip install recbole-ext",
    ),
    (
        "run",
        ["--model=AR", "--dataset=x"],
        "recbole",
        "run needs recbole, which is not installed: pip install --no-deps recbole==1.2.1",
    ),
    (
        "experiment",
        ["demo"],
        "pydantic",
        "experiment needs pydantic, which is not installed: pip install recbole-ext",
    ),
    (
        "serve",
        ["."],
        "starlette",
        "serve needs starlette, which is not installed: pip install 'recbole-ext[serve]'",
    ),
    ("serve", ["."], "jinja2", "serve needs jinja2, which is not installed: pip install jinja2"),
]


@pytest.mark.parametrize(
    ("name", "words", "package", "said"), COMMANDS, ids=[f"{c[0]} {c[2]}" for c in COMMANDS]
)
def test_a_package_that_is_not_there_is_named_with_what_brings_it(name, words, package, said):
    act = f"raise ModuleNotFoundError('no', name={package!r})"
    code = (
        FINDER.format(names=(package,), act=act)
        + "from recbole_ext import cli\nsys.exit(cli.main(sys.argv[1:]))"
    )
    with python(code, name, *words) as command:
        out, err = command.communicate()
    assert command.returncode == 2 and out == ""
    assert err.startswith(f"error: {said}") and err.count("\n") == 1


def test_a_module_of_ours_that_is_not_there_is_no_mistake_of_the_user():
    with pytest.raises(ModuleNotFoundError):
        raise missing(ModuleNotFoundError("no", name="recbole_ext.nothing"), "run")
    with pytest.raises(
        UsageError, match="a page needs no_such_thing, which is not installed: pip install no_such"
    ):
        needs("no_such_thing.inner", "a page")
    assert needs("json", "a page").loads("1") == 1


def test_without_torch_no_command_is_named_that_would_bring_it_unasked(monkeypatch):
    monkeypatch.setattr("recbole_ext.errors.find_spec", lambda name: None)
    said = str(missing(ModuleNotFoundError("no", name="prometheus_client"), "serve"))
    assert "pip install prometheus-client, as docs/export.md" in said


NOT_THERE = [
    ("run --model=GRU4Rek --dataset=shop", "there is no model GRU4Rek: did you mean GRU4Rec?"),
    ("run --model=Pop,GRU4Rex --dataset=shop", "there is no model GRU4Rex: did you mean GRU4Rec?"),
    ("run --model=Pop --dataset=shopp", "there is no dataset shopp: did you mean shop?"),
    ("run --model=Pop --dataset=new --raw_path=new.csv", "there is no file new.csv"),
    ("study new.csv", "there is no file new.csv"),
    ("study shopp", "there is no dataset shopp: did you mean shop?"),
    (
        "run --model=Pop --dataset=shop --resume_from=nope.pth",
        "there is no checkpoint nope.pth: resume_from names",
    ),
    ("run --model=Pop --dataset=shop --hidden_sise=4", "unknown key hidden_sise: did you mean hidden_size?"),
    ("run --model=Pop,SR --dataset=shop --seed=1,2 --hidden_sise=4", "unknown key hidden_sise: did you mean"),
    ("run --model=Pop --dataset=shop --config_files=a.yaml", "unknown key epoch: did you mean epochs?"),
    (
        "run --model=Pop --dataset=shop --neg_sampling=4",
        "neg_sampling is an old name of RecBole's: write train_neg",
    ),
    (
        "run --model=Pop --dataset=shop --epochs=many",
        "epochs is 'many': it has to be a whole number of 0 or more",
    ),
    (
        "run --model=GRU4Rec --dataset=shop --hidden_size=abc",
        "hidden_size is 'abc': it has to be a whole number of 1 or more",
    ),
    (
        "run --model=Pop --dataset=shop --valid_metric=NDGC@10",
        "valid_metric names NDGC, which is no metric: did you mean NDCG?",
    ),
    ("experiment demo --topc=5", "unknown key topc: did you mean topk?"),
    ("experiment demo --epochs=many", "epochs is 'many': it has to be a whole number of 0 or more"),
    ("update run --events x --hidden_sise=4", "unknown key hidden_sise: did you mean hidden_size?"),
    ("update run --events x", "--events names x, which does not exist"),
    ("serve nowhere", "there is no folder nowhere in {here}: name a run"),
    ("recommend shop --examples", "shop holds no model: name a run's folder that has model/"),
    ("export shop --onnx", "shop holds no model: name a run's folder that has model/"),
    ("serve shop", "shop holds no model: name a run's folder that has model/"),
    ("recommend nowhere --examples", "there is no folder nowhere in {here}: name a run"),
    (
        "compare run nope",
        "nope is no run, as there is no folder {here}/nope: name the folder of a run that ranked",
    ),
    (
        "promote shop nope",
        "shop and nope are no runs, as there is no file {here}/shop/record.json and no folder",
    ),
    ("export nowhere --onnx", "there is no folder nowhere in {here}: name a run"),
    ("update shop --events x", "shop is not the folder of a finished run"),
    ("settings HRNNFet", "there is no model HRNNFet: did you mean HRNNFeat?"),
    ("convert events new.csv", "There is no file new.csv"),
]


def test_what_is_not_there_is_said_before_long_imports(tmp_path):
    (tmp_path / "atomic_data/shop").mkdir(parents=True)
    (tmp_path / "shop").mkdir()
    (tmp_path / "a.yaml").write_text("epoch: 3\n")
    (tmp_path / "run").mkdir()
    records.write(tmp_path / "run", {"model": "GRU4Rec"})
    (tmp_path / "run/ranks.npz").touch()
    code = (
        "import sys\nfrom recbole_ext import cli\n"
        "for words in sys.argv[1:]:\n    assert cli.main(words.split()) == 2\n"
        "print(*sorted({'torch', 'recbole'} & set(sys.modules)))"
    )
    with python(code, *(words for words, _ in NOT_THERE), cwd=tmp_path) as command:
        out, err = command.communicate()
    assert out == "\n"
    lines = err.splitlines()
    assert len(lines) == len(NOT_THERE)
    assert [said for (_, said), line in zip(NOT_THERE, lines) if said.format(here=tmp_path) not in line] == []


def test_what_only_long_imports_can_tell_is_left_to_them(tmp_path, monkeypatch):
    """Encoders with a method, data sets that lie elsewhere or are converted now, and who lacks torch."""
    from recbole_ext.bridge import names

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(names, "actor_critics", dict)  # none is registered yet
    names.check_early(["SASRecSQN", "SASRecSQ", "Pop"], [])
    for given in ({"source"}, {"raw_path"}, {"data_path"}, {"config_files"}):
        names.check_early([], ["nothing"], given)
    Path("dataset/there").mkdir(parents=True)
    names.check_early([], ["there", "ml-100k", "diginetica"])
    with pytest.raises(UsageError, match="there is no dataset elsewhere"):
        names.check_early([], ["elsewhere"])
    Path("configs").mkdir()
    Path("configs/sessions.yaml").write_text("data_path: own\n")
    Path("own/elsewhere").mkdir(parents=True)
    names.check_early([], ["elsewhere"])
    Path("configs/overall.yaml").write_text("source: events\n")
    names.check_early([], ["nothing"])
    Path("configs/overall.yaml").unlink()
    monkeypatch.setattr(names, "are_installed", lambda *packages: False)
    names.check_early(["nothing"], ["nothing"])


def test_keys_that_only_long_imports_can_tell_are_left_to_them(tmp_path, monkeypatch):
    """Options of converters, which a run says how to give, keys of a user's yaml, and of a blend of his classes."""
    from recbole_ext.bridge import early

    monkeypatch.chdir(tmp_path)
    early.check_settings_early(
        {"max_bad_rows": 0.1, "max-bad-rows": 0.1, "temperature": "x", "single_spec": 1}
    )
    (tmp_path / "configs/model").mkdir(parents=True)
    (tmp_path / "configs/model/Mine.yaml").write_text("depth_of_mine: 3\n")
    early.check_settings_early({"depth_of_mine": 3})
    early.check_settings_early({"blend_models": ["a.py:Mine", "Pop"], "depth_of_his": 3})
    with pytest.raises(UsageError, match="unknown key depth_of_his"):
        early.check_settings_early({"depth_of_his": 3})


# --- a reader that goes away --------------------------------------------------------------------------------


def closed(code, *words):
    """Exit code and stderr of a program whose stdout nobody reads from the start."""
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], stdout=write, stderr=subprocess.PIPE, text=True, env=environment
    )
    os.close(write)
    return done.returncode, done.stderr


def test_help_and_settings_that_nobody_reads_are_quiet():
    code = "import sys\nfrom recbole_ext import cli\nsys.exit(cli.main(sys.argv[1:]))"
    assert closed(code, "--help") == (0, "")
    assert closed(code, "promote", "--help") == (0, "")
    assert closed(code, "settings") == (0, "")  # more than what waits for a flush
    assert closed(
        "import sys\nfrom recbole_ext.convert.__main__ import main\nsys.exit(main(['--help']))"
    ) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("lines", [3, 20_000])
def test_a_command_ends_its_work_and_keeps_its_verdict(lines, unbuffered, monkeypatch, tmp_path):
    """A pipe is no file, whose error a command tells."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    code = f"""
import sys, types
from recbole_ext import cli
from recbole_ext.errors import UsageError
def main(arguments, prog):
    try:
        for number in range({lines}):
            print("a line of a verdict")
    except OSError as error:
        raise UsageError(str(error))
    open({str(tmp_path / "done")!r}, "w").close()
    return 4
sys.modules["recbole_ext.cli.promote"] = types.SimpleNamespace(main=main)
sys.exit(cli.main(["promote"]))
"""
    assert closed(code) == (4, "") and (tmp_path / "done").exists()


def test_the_stream_is_put_back(capsys):
    before = sys.stdout
    assert cli.main(["--version"]) == 0 and sys.stdout is before
    assert capsys.readouterr().out.startswith("recbole-ext ")


# --- an interrupt -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "words", "during", "said"),
    [
        ("recbole_ext", ["promote", "a", "b"], "recbole_ext.cli", ""),
        ("recbole_ext", ["recommend", "a", "--examples"], "pandas", ": the same command begins anew"),
        ("run.py", ["--model=AR", "--dataset=x"], "recbole_ext.cli", ""),
        ("run.py", ["--model=AR", "--dataset=x"], "torch.nn", ": the same command begins anew"),
        ("run.py", ["--model=AR", "--dataset=x,y"], "torch.nn", ": the same command goes on"),
    ],
)
def test_ctrl_c_while_something_is_imported(program, words, during, said, tmp_path):
    act = "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)"
    how = "run_path" if program.endswith(".py") else "run_module"
    place = str(ROOT / program) if program.endswith(".py") else program
    code = FINDER.format(names=(during,), act=act)
    code += f"import runpy\nsys.argv[0] = {program!r}\nrunpy.{how}({place!r}, run_name='__main__')"
    (tmp_path / "a").mkdir()
    (tmp_path / "configs/dataset").mkdir(parents=True)
    for name in "xy":  # a data set that is not there would be refused before
        (tmp_path / f"configs/dataset/{name}.yaml").write_text("source: events\n")
    with python(code, *words, cwd=tmp_path) as command:
        out, err = command.communicate()
    assert (command.returncode, out, err) == (130, "", f"interrupted{said}\n")


# what a program does first in a test: Ctrl-C is Python's own, and comes again while the sentence is written
AGAIN = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Again:
    def __init__(self, stream):
        self.stream = stream
    def write(self, text):
        os.kill(os.getpid(), signal.SIGINT)
        return self.stream.write(text)
    def __getattr__(self, name):
        return getattr(self.stream, name)
sys.stderr = Again(sys.stderr)
"""
PROGRAM = """
import sys, types
from recbole_ext import __main__ as door
sys.modules["recbole_ext.cli.promote"] = types.SimpleNamespace(main=work)
sys.argv[1:] = ["promote"]
sys.exit(door.main())
"""


def ended(work):
    """Exit code and output of a program whose command is `promote`, with this `work`."""
    with python(AGAIN + work + PROGRAM) as command:
        out, err = command.communicate()
    return command.returncode, out, err


def test_a_second_ctrl_c_right_behind_the_first_leaves_the_sentence():
    """While the first one is on its way out, and while its sentence is written."""
    work = """
def work(arguments, prog):
    try:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt("continue with --resume_from=x") from stop
    finally:
        os.kill(os.getpid(), signal.SIGINT)
"""
    assert ended(work) == (130, "", "interrupted: continue with --resume_from=x\n")


def test_a_later_ctrl_c_ends_what_is_being_put_away_and_leaves_the_sentence():
    work = """
from recbole_ext import interrupts
def work(arguments, prog):
    try:
        raise KeyboardInterrupt("continue with --resume_from=x")
    finally:
        interrupts.AGAIN = 0.0  # the next one is no second press
        try:
            os.kill(os.getpid(), signal.SIGINT)
            print("not reached")
        finally:
            interrupts.AGAIN = 60.0
"""
    assert ended(work) == (130, "", "interrupted: continue with --resume_from=x\n")


def test_ctrl_c_while_python_shuts_down_shows_no_traceback():
    work = """
import atexit
def work(arguments, prog):
    atexit.register(lambda: print("not reached"))
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
    print("done")
    return 0
"""
    assert ended(work) == (130, "done\n", "")


def test_ctrl_c_at_the_very_end_of_python_does_not_kill():
    work = """
class Last:  # what a module holds is freed when nothing is called any more that could be interrupted
    def __del__(self, kill=os.kill, pid=os.getpid(), number=int(signal.SIGINT)):
        kill(pid, number)
sys.last = Last()
def work(arguments, prog):
    return 0
"""
    assert ended(work) == (0, "", "")


@pytest.mark.skipif(
    not hasattr(signal, "pthread_sigmask"), reason="no signals here that could be kept from a child"
)
def test_ctrl_c_does_not_reach_a_process_that_is_started_in_between():
    """Nor one from before its first line; and the parent's own is not lost."""
    program = """
import os, signal, subprocess, sys
from recbole_ext.interrupts import kept_from_children
signal.signal(signal.SIGINT, signal.default_int_handler)
child = [sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('goes on', flush=True)"]
try:
    with kept_from_children():
        os.kill(os.getpid(), signal.SIGINT)
        subprocess.run(child, check=True)
        print("not before", flush=True)
except KeyboardInterrupt:
    print("then", flush=True)
assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
"""
    with python(program) as command:
        out, err = command.communicate()
    assert (command.returncode, out, err) == (0, "goes on\nnot before\nthen\n", "")


def test_a_background_job_goes_on_ignoring_ctrl_c():
    work = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
def work(arguments, prog):
    os.kill(os.getpid(), signal.SIGINT)
    print("done")
    return 4
"""
    assert ended(work) == (4, "done\n", "")


# --- a terminal is not steered by what a log holds -----------------------------------------------------------


def test_control_characters_are_written_out(capsys):
    from recbole_ext.arguments import exit_code, printable

    assert printable("a\tb\r\nKäse ✓") == "a\tb\r\nKäse ✓"

    def show():
        print("column \x1b]0;owned\x07\x9b2J, over\rwritten")
        raise UsageError("column \x1b[2Jid is twice")

    assert exit_code(lambda: cli._mistake(UsageError("column \x1b[2Jid is twice"))) == 2
    with pytest.raises(UsageError):
        exit_code(show)
    found = capsys.readouterr()
    assert found.out == r"column \x1b]0;owned\x07\x9b2J, over\rwritten" + "\n"
    assert found.err == r"error: column \x1b[2Jid is twice" + "\n"
