"""Every key of a run and of every model, set three wrong ways: of another type, out of range, an unknown word.

Before anything is trained it is refused in one sentence that names the key; or it is fine, as any text is for a name,
and then a run of one epoch ends without a traceback.
"""

import contextlib
import copy
import functools
import io

import pytest
from harness import toy

from recbole_ext.errors import UsageError

WRONG = {"another type": [[[]]], "out of range": -1e9, "unknown word": "banana"}
OF_A_RUN = "GRU4Rec"  # the model that keys of all models are tried with


@pytest.fixture(scope="module")
def keys(request):
    """(model, key) of every key: those of runs with one model, and each model's own, which takes all their imports and
    so is left to the whole."""
    from recbole_ext.cli.settings import model_classes
    from recbole_ext.settings.run_settings import GENERAL

    found = [(OF_A_RUN, key) for group in GENERAL for key in group.model_fields]
    whole = "robustness" in (request.config.option.markexpr or "")
    for model, cls in model_classes().items() if whole else ():
        found += [(model, key) for key in cls.model_fields]
    return found


@pytest.fixture
def here(tmp_path, monkeypatch):
    toy.write_toy(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@functools.cache
def split_of(model):
    """The split that runs of the model take: by time, or RecBole's where it knows only that; None for neither."""
    from recbole_ext.run.run import configure

    settings = {key: value for key, value in toy.settings(model).items() if key != "epochs"}
    for split in (settings["eval_args"]["split"], {"LS": "valid_and_test"}):
        with contextlib.suppress(UsageError):
            configure(model, "toy", {**settings, "eval_args": {"split": split}})
            return split
    return None


def base(model):
    """Settings that a run of the model takes, None where there are none."""
    split = split_of(model)
    settings = {key: value for key, value in toy.settings(model).items() if key != "epochs"}
    return None if split is None else {**settings, "eval_args": {"split": split}}


def ends(model, settings, key):
    """How a run of one epoch ends: empty where it is done, or refused in a sentence; else the traceback's last line."""
    import recbole_ext

    if key != "epochs":
        settings = {**settings, "epochs": 1}
    try:
        with contextlib.redirect_stdout(io.StringIO()), toy.without_curves():
            recbole_ext.run(model, "toy", **settings)
    except UsageError as error:
        return "" if str(error) and "\n" not in str(error) else f"not one sentence: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def test_a_wrong_value_is_refused_by_name(keys, tenth, tally, here):
    from recbole_ext.run.run import configure

    with tally("4 wrong settings", "keys, three ways each") as count:
        for model, key in keys[tenth::10][:: count.step]:
            settings = base(model)
            if settings is None:
                continue  # refused whatever its keys say: bridge/test_every_model.py
            for value in WRONG.values():
                said, changed = f"{model} {key}={value!r}: ", {**copy.deepcopy(settings), key: value}
                try:
                    configure(model, "toy", changed)
                except UsageError as error:
                    sentence = str(error)
                    named = key in sentence and "\n" not in sentence
                    count.right("refused") if named else count.fail(f"{said}{sentence}")
                except Exception as error:
                    count.fail(f"{said}{type(error).__name__}: {error}")
                else:
                    wrong = ends(model, changed, key)
                    if wrong and ends(model, settings, key):
                        continue  # it wants files, or columns, that the toy does not have
                    count.fail(f"{said}taken, and then {wrong}") if wrong else count.right(
                        "taken, and trains"
                    )
