"""Names of models and data sets: what there is, and what may be meant."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from recbole_ext.bridge.encoders import actor_critics, refusal
from recbole_ext.errors import UsageError, are_installed, did_you_mean
from recbole_ext.files import recbole_folder
from recbole_ext.settings.files import config_files, configs_dir, load_files, load_yaml


def known_models() -> list[str]:
    """Names of RecBole's models and of ours, as they are to be written; with methods once registered."""
    return sorted(_recbole_models().union(own_models(), actor_critics()))


# where our models lie; a file of a model's lower-cased name and configs/model/<Model>.yaml make it known
MODEL_ROOMS = ("model", "model/counting", "model/rl", "blend")


def own_models() -> list[str]:
    """Names of our own models, as they are to be written."""
    return sorted(_own_modules())


def module_of(model: str) -> str:
    """Dotted name of the module of one of our models; KeyError for any other."""
    return _own_modules()[model]


def _own_modules() -> dict[str, str]:
    package = Path(__file__).resolve().parents[1]
    modules = {
        file.stem: ".".join((package.name, *room.split("/"), file.stem))
        for room in MODEL_ROOMS
        for file in (package / room).glob("*.py")
    }
    names = (file.stem for file in (configs_dir() / "model").glob("*.yaml"))
    return {name: modules[name.lower()] for name in names if name.lower() in modules}


def methods() -> list[str]:
    """Names of the methods of reinforcement learning: every configs/method/*.yaml but its base.yaml."""
    return sorted(file.stem for file in (configs_dir() / "method").glob("*.yaml") if file.stem != "base")


def recbole_sequential() -> list[str]:
    """Names of RecBole's sequential models, without importing them."""
    return sorted(_recbole_models("sequential"))


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


ATOMIC = "atomic_data"  # where converted logs lie
RECBOLE_PLACE = "dataset"  # where RecBole looks for a name that nobody knows


def known_datasets(data_path: str | os.PathLike[str] | None = None) -> list[str]:
    """Names of datasets with a yaml of ours or the user's, a folder in `data_path`, or known to RecBole."""
    names = {"ml-100k"}
    for folder in (configs_dir() / "dataset", Path.cwd() / "configs" / "dataset"):
        names.update(file.stem for file in folder.glob("*.yaml"))
    if data_path is not None and Path(data_path).is_dir():
        names.update(folder.name for folder in Path(data_path).iterdir() if folder.is_dir())
    names.update(load_yaml(recbole_folder() / "properties" / "dataset" / "url.yaml"))
    return sorted(names)


def _is_entered(model: str) -> bool:
    """Whether somebody has put a module of that model among RecBole's."""
    return any(
        name.startswith("recbole.model.") and name.endswith(f"_recommender.{model.lower()}")
        for name in sys.modules
    )


def check_names(
    model: str, dataset: str | None = None, data_path: str | os.PathLike[str] | None = ATOMIC
) -> None:
    """Raise UsageError when no model, or no dataset, is called so; it says which name may be meant."""
    models = known_models()
    if model not in models and (not _is_entered(model) or model.lower() in {name.lower() for name in models}):
        raise UsageError(refusal(model, methods()) or f"there is no model {model}{_nearest(model, models)}")
    if dataset is not None:
        _check_dataset(dataset, data_path)


def check_early(models: Iterable[str], datasets: Iterable[str], given: Collection[str] = ()) -> None:
    """What `check_names` finds of a command line, before torch and RecBole are imported, which takes seconds.

    given: keys of the other settings there. What is not certain without those two is passed over.
    """
    if not are_installed("torch", "recbole"):  # who lacks them hears that first
        return
    for model in models:
        if not _may_be_composed(model):
            check_names(model)
    if set(given) & {"source", "raw_path", "data_path", "config_files"}:
        return
    layers = load_files([*config_files("overall.yaml"), *config_files("sessions.yaml")])
    if layers.get("source"):
        return
    place = str(layers.get("data_path") or ATOMIC)
    places = (ATOMIC, place, configs_dir().parent / place, RECBOLE_PLACE)
    known = {name for one in places for name in known_datasets(one)}
    for dataset in datasets:
        if dataset not in known:
            _check_dataset(dataset, RECBOLE_PLACE)


def _may_be_composed(model: str) -> bool:
    """Whether a name is, or is most like, that of an encoder with a method, which are known once registered."""
    if model.endswith(tuple(methods())):
        return True
    composed = [name + method for name in (*recbole_sequential(), *own_models()) for method in methods()]
    known = known_models()
    return _nearest(model, known) != _nearest(model, [*known, *composed])


def _nearest(model: str, known: Iterable[str]) -> str:
    """`did_you_mean`; of equally near names ours, then RecBole's models of sessions."""
    return did_you_mean(model, known, [*own_models(), *recbole_sequential()])


def _check_dataset(dataset: str, data_path: str | os.PathLike[str] | None) -> None:
    if re.search(r"[/\\]", dataset) or not dataset.strip(".") or not dataset.isprintable():
        raise UsageError(
            f"dataset is {dataset!r}: write a name, not a path; data_path is the folder it lies in"
        )
    if dataset not in known_datasets(data_path):
        raise UsageError(_no_dataset(dataset, str(data_path or ".")))


def _no_dataset(dataset: str, data_path: str) -> str:
    """That there is none, and what may be meant; data_path is RecBole's default for a name that nobody knows."""
    if data_path != ATOMIC and Path(ATOMIC, dataset).is_dir():
        return f"data_path is {data_path}, and {dataset} lies in {ATOMIC}: set --data_path={ATOMIC}"
    places = dict.fromkeys((ATOMIC, data_path))
    near = did_you_mean(dataset, {name for place in places for name in known_datasets(place)})
    return (
        f"there is no dataset {dataset}{near} (neither configs/dataset/{dataset}.yaml nor a folder {dataset} in "
        f"{' or '.join(places)}; a log of your own is named with --raw_path=FILE)"
    )
