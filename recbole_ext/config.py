"""Where configuration comes from: our yaml files, command line, checks of names and keys, plain data.

Precedence, low to high: RecBole's overall.yaml, its quick-start and model files, our configs/overall.yaml (and
sessions.yaml for session data), configs/model/<model>.yaml, RecBole's and our dataset/<dataset>.yaml,
config_file_list, config_dict, command line. A file in ./configs of the working directory is read over the one of
the same name that we ship.
RecBole's `Config` does all this once `recbole_ext.install()` has run (patch config_files of compat).
"""

from __future__ import annotations

import ast
import difflib
import enum
import functools
import importlib
import importlib.util
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from typing import Any

import yaml

from recbole_ext.errors import UsageError

# --- our yaml files -----------------------------------------------------------------------------------------


def configs_dir() -> Path:
    """Folder of the yaml files we ship: recbole_ext/configs in an installed wheel, configs/ in a checkout.

    Raises UsageError when neither exists.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "overall.yaml").is_file():
            return folder
    raise UsageError(
        f"recbole_ext lacks its configs/ folder (looked in {package} and beside it): install it again"
    )


def config_files(name: str) -> list[Path]:
    """Existing files for `name` (such as "model/HRNNFeat.yaml"), ours first, the working directory's last."""
    files: list[Path] = []
    for file in (configs_dir() / name, Path.cwd() / "configs" / name):
        if file.is_file() and not any(file.samefile(other) for other in files):
            files.append(file)
    return files


def load_yaml(file: str | os.PathLike[str], loader: Any = yaml.FullLoader) -> dict[str, Any]:
    """Read one yaml file of keys and values; an empty file gives {}.

    Raises UsageError naming file and line when it is missing, is not yaml or holds no mapping.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read config file {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"config file {file} is not UTF-8 text (byte {error.start})") from error
    try:
        content = yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UsageError(f"{file}{line} is not valid yaml: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(
            f"{file}, line 1: a config file holds `key: value` lines, not a {type(content).__name__}"
        )
    return content


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers over earlier ones; eval_args is merged key by key, so that it may be given in part."""
    merged: dict[str, Any] = {}
    for layer in layers:
        before = merged.get("eval_args")
        merged.update(layer)
        if isinstance(before, dict) and isinstance(layer.get("eval_args"), dict):
            merged["eval_args"] = {**before, **layer["eval_args"]}
    return merged


def load_files(files: Iterable[str | os.PathLike[str]], loader: Any = yaml.FullLoader) -> dict[str, Any]:
    """Read yaml files and merge them, later over earlier."""
    return merge(*(load_yaml(file, loader) for file in files))


# RecBole's models for click-through rates bring their own evaluation (AUC on labels), which is to stay
_EVALUATION_KEYS = ("eval_args", "metrics", "valid_metric")


def add_own_files(config: Any, model: str, dataset: str) -> None:
    """Put our files over `config.internal_config_dict`, RecBole's defaults for this model and dataset."""
    loader = config.yaml_loader
    recbole_defaults = config.internal_config_dict
    overall = load_files(config_files("overall.yaml"), loader)
    given = config.external_config_dict
    dataset_files = config_files(f"dataset/{dataset}.yaml")
    if given.get("source") or is_session_data(dataset, given.get("data_path")):
        overall = merge(overall, load_files(config_files("sessions.yaml"), loader))
        recbole_dataset = recbole_folder() / "properties" / "dataset" / f"{dataset}.yaml"
        dataset_files = ([recbole_dataset] if recbole_dataset.is_file() else []) + dataset_files
    if _uses_value_metrics(recbole_defaults):
        overall = {key: value for key, value in overall.items() if key not in _EVALUATION_KEYS}
    config.internal_config_dict = merge(
        recbole_defaults,
        overall,
        load_files(_model_files(model), loader),
        load_files(dataset_files, loader),
    )


def is_session_data(dataset: str, data_path: str | os.PathLike[str] | None = None) -> bool:
    """Whether configs/sessions.yaml holds: a dataset yaml of ours or the user's, or a session_id column.

    The column is looked for in <data_path>/<dataset>/<dataset>.inter, data_path being sessions.yaml's by default.
    """
    if config_files(f"dataset/{dataset}.yaml"):
        return True
    if data_path is None:
        data_path = load_files(config_files("sessions.yaml"))["data_path"]
    try:
        with (Path(data_path) / dataset / f"{dataset}.inter").open(encoding="utf-8") as stream:
            columns = stream.readline().split("\t")
    except (OSError, UnicodeDecodeError):
        return False
    return any(column.partition(":")[0] == "session_id" for column in columns)


def _uses_value_metrics(defaults: Mapping[str, Any]) -> bool:
    from recbole.evaluator import metric_types
    from recbole.utils import EvaluatorType

    metrics = defaults.get("metrics") or []
    return any(metric_types.get(str(name).lower()) == EvaluatorType.VALUE for name in metrics)


def finish(config: Any, final: dict[str, Any]) -> dict[str, Any]:
    """Last step of Config's merging: eval_args key by key, and no negative samples where the loss needs none.

    RecBole refuses `loss_type: CE` of a sequential model unless train_neg_sample_args is None; who did not
    set it meant that.
    """
    from recbole.utils import ModelType

    external = config.external_config_dict
    final["eval_args"] = merge(config.internal_config_dict, external).get("eval_args")
    ce_of_sequence = final.get("MODEL_TYPE") == ModelType.SEQUENTIAL and final.get("loss_type") == "CE"
    if (
        ce_of_sequence
        and not hasattr(config.model_class, "input_type")
        and "train_neg_sample_args" not in external
    ):
        final["train_neg_sample_args"] = None
    return final


# --- command line -------------------------------------------------------------------------------------------

_given_arguments: list[list[str]] = []  # innermost `command_line` last
_RUNNERS = (
    "pytest",
    "py.test",
    "unittest",
    "ipykernel_launcher",
    "colab_kernel_launcher",
    "ipython",
    "jupyter",
)
_WORDS = {"true": True, "false": False, "none": None, "null": None, "~": None}


@contextmanager
def command_line(arguments: Iterable[str]) -> Iterator[None]:
    """Within the block, Config reads `arguments` (each `--key=value`) in place of sys.argv."""
    _given_arguments.append(list(arguments))
    try:
        yield
    finally:
        _given_arguments.pop()


def current_arguments() -> list[str]:
    """The arguments that Config reads now: the enclosing `command_line`, or sys.argv[1:] of a script."""
    if _given_arguments:
        return list(_given_arguments[-1])
    return sys.argv[1:] if reads_sys_argv() else []


def reads_sys_argv() -> bool:
    """Whether sys.argv belongs to a script: not to `python -c`, a notebook, a prompt or a test runner."""
    program = sys.argv[0] if sys.argv else ""
    if not os.path.isfile(program) or "pytest" in sys.modules:
        return False
    path = Path(program)
    names = {path.stem, path.name, path.parent.name if path.name == "__main__.py" else ""}
    return not names & set(_RUNNERS)


def parse_command_line(arguments: Iterable[str]) -> dict[str, Any]:
    """`--key=value` arguments as a dict of parsed values; what follows the first `=` is the value.

    Raises UsageError for any other argument and for a key given twice with two values.
    """
    texts, others = split_arguments(arguments)
    if others:
        raise UsageError(f"argument {others[0]} is not of the form --key=value")
    return {key: parse_value(text) for key, text in texts.items()}


def split_arguments(arguments: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The `--key=value` arguments as a dict of texts, and the others.

    Raises UsageError for a key given twice with two values.
    """
    texts: dict[str, str] = {}
    others = []
    for argument in arguments:
        key, equals, text = argument[2:].partition("=")
        if not argument.startswith("--") or not equals or not key:
            others.append(argument)
            continue
        if texts.get(key, text) != text:
            raise UsageError(f"--{key} is given twice, as {texts[key]} and as {text}: keep one of them")
        texts[key] = text
    return texts, others


def parse_value(value: Any) -> Any:
    """A text as number, list, dict, True, False or None where it is written as one, else unchanged.

    Nothing is evaluated: Python literals (`[5,10]`, `1e-3`, `{'LS': 'valid_and_test'}`), the words true,
    false, none, null in any case, and yaml in braces or brackets (`{LS: valid_and_test}`).
    """
    if not isinstance(value, str):
        return value
    word = value.strip().lower()
    if word in _WORDS:
        return _WORDS[word]
    try:
        parsed = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _parse_yaml_collection(value)
    return parsed if isinstance(parsed, str | int | float | list | tuple | dict | bool) else value


def _parse_yaml_collection(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError:
        return text  # such as the interval "[0,inf)"
    return parsed if isinstance(parsed, list | dict) else text


# --- checks of names and keys -------------------------------------------------------------------------------


def recbole_folder() -> Path:
    """Folder of the installed recbole package."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise UsageError("RecBole is not installed: pip install recbole==1.2.1")
    return Path(spec.origin).parent


def known_models() -> list[str]:
    """Names of RecBole's models and of ours, as they are to be written."""
    return sorted(_recbole_models().union(own_models(), actor_critics()))


def own_models() -> list[str]:
    """Names of our own models: every configs/model/*.yaml whose lower-cased name is a module of recbole_ext.model."""
    modules = {file.stem for file in (Path(__file__).resolve().parent / "model").glob("*.py")}
    return sorted(f.stem for f in (configs_dir() / "model").glob("*.yaml") if f.stem.lower() in modules)


# sequential models that train in several stages, read more than sessions, score pairs of prefix and item, or are made
# of other models or of counts
_NO_ENCODERS = ("Blend", "CategoryPop", "DIEN", "DIN", "GRU4RecKG", "KSR", "RepeatNet", "S3Rec")
# models of ours that learn at once and have no states (their classes say `fits_at_once`)
_COUNTERS = ("AR", "RepeatLast", "SessionPop", "SKNN", "SR", "STAN", "VSKNN", "VSTAN")


def actor_critics() -> dict[str, tuple[str, str]]:
    """Models of reinforcement learning: name to (encoder, method), for configs/method/*.yaml but its base.yaml."""
    methods = sorted(file.stem for file in (configs_dir() / "method").glob("*.yaml") if file.stem != "base")
    sequential = _recbole_models("sequential").union(own_models())
    encoders = sorted(sequential.difference(_NO_ENCODERS, _COUNTERS))
    return {f"{encoder}{method}": (encoder, method) for encoder in encoders for method in methods}


def _model_files(model: str) -> list[Path]:
    """Our yaml files of a model: of encoder and method where its name is made of both, then its own."""
    encoder, method = actor_critics().get(model, (None, None))
    if encoder is None:
        return config_files(f"model/{model}.yaml")
    recbole_encoder = recbole_folder() / "properties" / "model" / f"{encoder}.yaml"
    files = [recbole_encoder] if recbole_encoder.is_file() else []
    names = (f"model/{encoder}.yaml", "method/base.yaml", f"method/{method}.yaml", f"model/{model}.yaml")
    return files + [file for name in names for file in config_files(name)]


@functools.cache
def _recbole_models(kind: str = "*") -> frozenset[str]:
    names: set[str] = set()
    for file in (recbole_folder() / "model").glob(f"{kind}_recommender/*.py"):
        classes = re.findall(r"^class (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        names.update(name for name in classes if name.lower() == file.stem)
    return frozenset(names)


def known_datasets(data_path: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of datasets with a yaml of ours or the user's, a folder in `data_path`, or known to RecBole."""
    names = {"ml-100k"}
    for folder in (configs_dir() / "dataset", Path.cwd() / "configs" / "dataset"):
        names.update(file.stem for file in folder.glob("*.yaml"))
    if data_path is not None and Path(data_path).is_dir():
        names.update(folder.name for folder in Path(data_path).iterdir() if folder.is_dir())
    names.update(load_yaml(recbole_folder() / "properties" / "dataset" / "url.yaml"))
    return sorted(names)


def check_names(
    model: str, dataset: str | None = None, data_path: str | os.PathLike[str] | None = "atomic_data"
) -> None:
    """Raise UsageError when no model, or no dataset, is called so; it says which name may be meant."""
    entered = any(
        name.startswith("recbole.model.") and name.endswith(f"_recommender.{model.lower()}")
        for name in sys.modules
    )
    models = known_models()
    if model not in models and (not entered or model.lower() in {name.lower() for name in models}):
        raise UsageError(f"there is no model {model}{_meant(model, models)}")
    if dataset is None:
        return
    datasets = known_datasets(data_path)
    if dataset not in datasets:
        raise UsageError(
            f"there is no dataset {dataset}{_meant(dataset, datasets)}"
            f" (neither configs/dataset/{dataset}.yaml nor a folder {Path(data_path or '.') / dataset})"
        )


def _meant(name: str, known: Iterable[str]) -> str:
    spelling = {item.lower(): item for item in known}
    close = difflib.get_close_matches(name.lower(), spelling, n=1, cutoff=0.6)
    return f": did you mean {spelling[close[0]]}?" if close else ""


# keys inside dict-valued keys; {}: whatever it holds is not looked at
_SAMPLING = ("distribution", "sample_num", "alpha", "dynamic", "candidate_num")
_INNER_KEYS: dict[str, dict[str, Any]] = {
    "eval_args": {
        "split": {
            "RS": {},
            "LS": {},
            "TS": {},
            "session_time": {"test_days": {}, "valid_days": {}},
            "given": {"valid_share": {}},
            "session_random": {"shares": {}, "seed": {}},
        },
        "group_by": {},
        "order": {},
        "mode": {"valid": {}, "test": {}},
    },
    "train_neg_sample_args": {name: {} for name in _SAMPLING},
    "cold_items": {name: {} for name in ("holdout", "seed", "fold")},
    "off_policy": {name: {} for name in ("policy", "temperature", "clip", "epsilon", "bootstrap", "seed")},
}
_RUN_KEYS = (
    "model",
    "dataset",
    "config_files",
    "config_file_list",
    "nproc",
    "world_size",
    "ip",
    "port",
    "offset",
)


def check_keys(config: Any) -> None:
    """Raise UsageError for the first key of command line, config_dict or config files that nothing reads.

    A key is known when RecBole lists it, a yaml file read for this model and dataset holds it, or the source
    of RecBole, of this package or of the model reads `config["key"]`.
    """
    known = set(config.internal_config_dict).union(*config.parameters.values(), _RUN_KEYS, ("local_rank",))
    if hasattr(config.model_class, "known_keys"):  # of the models that it is made of
        known |= config.model_class.known_keys(config)
    unknown = [key for key in config.external_config_dict if key not in known]
    if unknown:
        known |= _keys_read_in_source(config.model_class)
    for key in unknown:
        if key not in known:
            raise UsageError(f"unknown key {key}{_meant(key, known) or ': nothing reads it'}")
    for key, inner in _INNER_KEYS.items():
        _check_inner(key, config.external_config_dict.get(key), inner)


def check_values(config: Any) -> None:
    """Raise UsageError for a value that would only fail, or mislead, hours into a run."""
    for key, low in (
        ("epochs", 0),
        ("seed", 0),
        ("train_batch_size", 1),
        ("eval_batch_size", 1),
        ("eval_step", 0),
    ):
        number(config, key, low, whole=True)
    for key in ("learning_rate", "weight_decay"):
        number(config, key, 0)
    learner = str(config["learner"]).lower()
    if learner not in LEARNERS:
        raise UsageError(
            f"learner is {config['learner']}{_meant(learner, LEARNERS)}: write one of {', '.join(LEARNERS)}"
        )
    metric, _, k = str(config["valid_metric"]).partition("@")
    metrics = [str(name).lower() for name in config["metrics"]]
    if metric.lower() not in metrics or (k and int(k) not in config["topk"] if k.isdigit() else bool(k)):
        raise UsageError(
            f"valid_metric is {config['valid_metric']}, which is not measured: metrics are "
            f"{', '.join(config['metrics'])} at {', '.join(map(str, config['topk']))}"
        )

    _check_log_settings(config)
    _check_off_policy(config)
    _check_facts(config)


def _check_log_settings(config: Any) -> None:
    """Raise UsageError for a wrong value of the keys that say which of a log's events train, test and pay."""
    from recbole_ext.data.cold import settings_of as cold_items
    from recbole_ext.data.filters import CORE_KEYS, parse_limits

    for key in CORE_KEYS:
        parse_limits(config, key)
    if config["inter_num_part"] is not None:
        one_of(config, "inter_num_part", ("train", "all"))
    for key in ("inter_num_passes", "max_sessions_per_user"):
        if config[key] is not None:
            number(config, key, 1, whole=True)
    if config["empty_history"] not in (None, True, False):
        raise UsageError(f"empty_history is {config['empty_history']!r}: write True or False")
    cold_items(config)
    rewards = config["rewards"]
    if rewards is None:
        return
    if not isinstance(rewards, Mapping) or not rewards:
        raise UsageError(
            f"rewards is {rewards!r}: write a number an event kind, as in {{view: 0.2, addtocart: 1.0}}"
        )
    for kind, value in rewards.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"rewards of {kind} is {value!r}: it has to be a number")


def _check_off_policy(config: Any) -> None:
    if config["off_policy"] is None:
        return
    from recbole_ext.evaluate.off_policy import settings_of

    settings_of(config)


def _check_facts(config: Any) -> None:
    from recbole_ext.evaluate.facts import check_settings

    check_settings(config)


LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")


def number(config: Any, key: str, low: float, high: float = math.inf, *, whole: bool = False) -> float:
    """The number at `key`; UsageError when it is none, not whole where it has to be, or outside [low, high]."""
    value = config[key]
    right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not right or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        bounds = f"from {low} to {high}" if high < math.inf else f"of {low} or more"
        raise UsageError(f"{key} is {value!r}: it has to be {kind} {bounds}")
    return value


def flag(config: Any, key: str) -> bool:
    """True or False at `key`; UsageError for anything else, as a word such as no would count as true."""
    value = config[key]
    if not isinstance(value, bool):
        raise UsageError(f"{key} is {value!r}: write True or False")
    return value


def one_of(config: Any, key: str, allowed: tuple[str, ...]) -> str:
    """The word at `key`; UsageError when it is not among `allowed`."""
    # `--user_state=none` on a command line is read as yaml's null
    value = "none" if config[key] is None and key in config else config[key]
    if value not in allowed:
        raise UsageError(f"{key} is {value!r}: it has to be one of {', '.join(allowed)}")
    return value


def _check_inner(path: str, value: Any, known: Mapping[str, Any]) -> None:
    if not isinstance(value, dict) or not known:
        return
    for key, item in value.items():
        if key not in known:
            hint = _meant(str(key), known) or f": it may hold {', '.join(sorted(known))}"
            raise UsageError(f"unknown key {key} in {path}{hint}")
        _check_inner(f"{path}.{key}", item, known[key])


def _keys_read_in_source(model_class: Any) -> set[str]:
    sources = list(recbole_folder().rglob("*.py")) + list(Path(__file__).resolve().parent.rglob("*.py"))
    module_file = getattr(sys.modules.get(getattr(model_class, "__module__", "")), "__file__", None)
    if module_file:
        sources.append(Path(module_file))
    keys: set[str] = set()
    for file in sources:
        text = file.read_text(encoding="utf-8")
        keys.update(re.findall(r"config(?:_dict)?(?:\[|\.get\()\s*[\"'](\w+)[\"']", text))
        keys.update(re.findall(r"[\"'](\w+)[\"'] in (?:self\.)?config\b", text))
    return keys


def model_keys(config: Any) -> set[str]:
    """Keys that make a difference to the configured model: of its yaml files, and of training if it learns by steps."""
    from recbole.utils import ModelType

    recbole_file = recbole_folder() / "properties" / "model" / f"{config['model']}.yaml"
    files = ([recbole_file] if recbole_file.is_file() else []) + _model_files(config["model"])
    keys = set(load_files(files, config.yaml_loader))
    at_once = config["MODEL_TYPE"] == ModelType.TRADITIONAL or getattr(
        config.model_class, "fits_at_once", False
    )
    return keys if at_once else keys.union(config.parameters["Training"])


# --- configs as plain data ----------------------------------------------------------------------------------


def config_to_plain(config: Any) -> dict[str, Any]:
    """The final values of a RecBole Config as str, int, float, bool, None, list and dict only.

    Tuples, sets and RecBole's enums are tagged dicts; `device` belongs to the machine and is left out, and
    so, with a warning, is a value that has no plain form.
    """
    plain = {}
    for key, value in config.final_config_dict.items():
        if key == "device":
            continue
        try:
            plain[key] = plain_value(value)
        except TypeError as error:
            getLogger().warning(f"Config key {key} holds {error} and is not stored")
    return plain


def plain_value(value: Any) -> Any:
    """One value of a config as `config_to_plain` writes it; TypeError, naming its type, where it has no plain form."""
    if isinstance(value, enum.Enum):
        return {"__enum__": [type(value).__name__, value.name]}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping):
        return {plain_value(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain_value(item) for item in value]
    if isinstance(value, tuple):
        return {"__tuple__": [plain_value(item) for item in value]}
    if isinstance(value, set | frozenset):
        return {"__set__": [plain_value(item) for item in sorted(value, key=repr)]}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    for plain_type in (bool, int, float, str):  # their subclasses, numpy's float64 among them
        if isinstance(value, plain_type):
            return plain_type(value)
    if hasattr(value, "tolist"):  # other numpy scalars and arrays
        return plain_value(value.tolist())
    raise TypeError(f"a {type(value).__name__}")


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"__enum__"}:
        class_name, member = value["__enum__"]
        return getattr(importlib.import_module("recbole.utils.enum_type"), class_name)[member]
    if set(value) == {"__tuple__"}:
        return tuple(_from_plain(item) for item in value["__tuple__"])
    if set(value) == {"__set__"}:
        return {_from_plain(item) for item in value["__set__"]}
    return {key: _from_plain(item) for key, item in value.items()}


def config_from_plain(plain: Mapping[str, Any]) -> Any:
    """The RecBole Config of `config_to_plain`: the same final values, this machine's device, one process."""
    import torch
    from recbole.config import Config
    from recbole.utils import get_model

    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    final = {key: _from_plain(value) for key, value in plain.items()}
    final.update(single_spec=True, local_rank=0, device=torch.device("cuda" if on_gpu(final) else "cpu"))
    config.final_config_dict = final
    config.internal_config_dict = {}
    config.external_config_dict = dict(final)
    config.model, config.dataset = final["model"], final["dataset"]
    try:
        config.model_class = get_model(config.model)
    except (ValueError, ImportError, AttributeError):
        config.model_class = None  # a class that the user handed to Config itself
    return config


def on_gpu(final: Mapping[str, Any]) -> bool:
    """Whether a run with these values uses a GPU: one is there, gpu_id names one, use_gpu is not False."""
    import torch

    return (
        str(final.get("gpu_id", "")) != "" and final.get("use_gpu") is not False and torch.cuda.is_available()
    )
