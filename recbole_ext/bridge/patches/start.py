"""Patches for how a RecBole 1.2.1 run starts: ray, the device, folders, the command line, config files."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from logging import getLogger
from types import ModuleType
from typing import Any

from recbole_ext.bridge import config_files, stored_config
from recbole_ext.bridge.names import check_names
from recbole_ext.errors import UsageError
from recbole_ext.settings import command_line, files, run_settings

SINE = "recbole.model.sequential_recommender.sine"


# what RecBole takes from scikit-learn, and where
SKLEARN = {
    "sklearn.metrics": ("auc", "mean_absolute_error", "mean_squared_error"),
    "sklearn.linear_model": ("ElasticNet",),
    "sklearn.exceptions": ("ConvergenceWarning",),
    "sklearn.utils.extmath": ("randomized_svd",),
}
_SKLEARN_USERS = (
    "recbole.evaluator.metrics",
    "recbole.model.general_recommender.nceplrec",
    "recbole.model.general_recommender.slimelastic",
)
_waiting: list[ModuleType] = []  # the modules themselves, as others may be entered under their names


class _Later:
    """A function or class of scikit-learn, which is imported when it is first called."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self, *args: Any, **options: Any) -> Any:
        _bring_sklearn()
        return getattr(importlib.import_module(self.module), self.name)(*args, **options)


class _WarningLater(Warning):
    """In place of ConvergenceWarning, which is named only after ElasticNet has been called."""

    module, name = "sklearn.exceptions", "ConvergenceWarning"


def _bring_sklearn() -> None:
    """Put scikit-learn's own functions and classes where RecBole's modules have stand-ins."""
    for user in _waiting:
        for name, value in list(vars(user).items()):
            if isinstance(value, _Later) or value is _WarningLater:
                setattr(user, name, getattr(importlib.import_module(value.module), value.name))
    _waiting.clear()


def patch_sklearn() -> None:
    """Import RecBole's three users of scikit-learn with stand-ins for what they take from it."""
    if any(name in sys.modules for name in (*SKLEARN, *_SKLEARN_USERS)):
        return  # it has been imported, or they have
    importlib.import_module("recbole.utils")  # what that imports is none of ours
    for module, names in SKLEARN.items():
        stand_in = ModuleType(module)
        for name in names:
            setattr(stand_in, name, _WarningLater if name == _WarningLater.name else _Later(module, name))
        sys.modules[module] = stand_in
    try:
        _waiting.extend(importlib.import_module(user) for user in _SKLEARN_USERS)
    finally:
        for module in SKLEARN:
            del sys.modules[module]


class _LazyTune:
    """`ray.tune`, imported when first used: RecBole needs it only inside a Ray Tune trial."""

    def __getattr__(self, name: str) -> Any:
        if name == "report" and "ray" not in sys.modules:
            # objective_function always reports; without ray there is no trial to report to
            return _report_to_nobody
        try:
            tune = importlib.import_module("ray.tune")
        except Exception as error:  # ray fails in many ways on new stacks: pkg_resources, np.bool8, no wheel
            raise ImportError(
                f"tuning with Ray needs a working ray, and `import ray.tune` fails here ({error}); install a "
                "ray that supports this Python and numpy, or tune with HyperOpt"
            ) from error
        return getattr(tune, name)


def _report_to_nobody(*args: Any, **metrics: Any) -> None:
    return None


def patch_ray() -> None:
    """Import recbole.quick_start with a stand-in for ray; its `tune` then imports ray when used."""
    tune = _LazyTune()
    if "recbole.quick_start.quick_start" not in sys.modules:
        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "ray"}
        stand_in = ModuleType("ray")
        stand_in.tune = tune  # type: ignore[attr-defined]
        sys.modules["ray"] = stand_in
        try:
            importlib.import_module("recbole.quick_start.quick_start")
        finally:
            del sys.modules["ray"]
            sys.modules.update(hidden)
    sys.modules["recbole.quick_start.quick_start"].tune = tune  # type: ignore[attr-defined]


def patch_anomaly_detection() -> None:
    """Import sine.py now, so that its import later switches nothing; put anomaly detection back as it was."""
    import torch

    # where RecBole's models were imported before us, it was sine.py that switched it on
    enabled = torch.is_anomaly_enabled() and SINE not in sys.modules
    check_nan = torch.is_anomaly_check_nan_enabled()
    importlib.import_module(SINE)
    torch.autograd.set_detect_anomaly(enabled, check_nan)


def ensure_dir(dir_path: str) -> None:
    """RecBole's function of that name, for several processes at once (utils.py:44 looks first, then makes)."""
    os.makedirs(dir_path, exist_ok=True)


def patch_folders() -> None:
    """Let RecBole make a folder that another process makes at the same time."""
    import recbole.data.dataset
    import recbole.data.utils
    import recbole.trainer
    import recbole.utils

    upstream = recbole.utils.ensure_dir
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and vars(module).get("ensure_dir") is upstream:
            module.ensure_dir = ensure_dir  # type: ignore[attr-defined]


def patch_device() -> None:
    """Choose the device as use_gpu and gpu_id say; CUDA_VISIBLE_DEVICES is the user's unless gpu_id is given."""
    from recbole.config.configurator import Config

    Config._init_device = _DeviceChooser(os.environ.get("CUDA_VISIBLE_DEVICES")).choose


class _DeviceChooser:
    """`Config._init_device` that obeys use_gpu, and keeps CUDA_VISIBLE_DEVICES unless gpu_id is given."""

    def __init__(self, visible_at_start: str | None) -> None:
        self.visible_at_start = visible_at_start

    @property
    def choose(self) -> Any:
        def _init_device(config: Any) -> None:
            final = config.final_config_dict
            final["gpu_id"] = _gpu_id_text(final.get("gpu_id"))
            self._set_visible(final["gpu_id"], "gpu_id" in config.external_config_dict)
            _choose_device(final)

        return _init_device

    def _set_visible(self, gpu_id: str, given: bool) -> None:
        if given or self.visible_at_start is None:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu_id
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = self.visible_at_start


def _gpu_id_text(gpu_id: Any) -> str:
    if gpu_id is None:
        return ""
    if isinstance(gpu_id, tuple | list):
        return ",".join(map(str, gpu_id))
    return str(gpu_id)


def _choose_device(final: dict[str, Any]) -> None:
    import torch

    if "local_rank" in final:
        raise UsageError("processes are started by torchrun --nproc-per-node=N run.py: leave local_rank out")
    device = torch.device("cuda" if stored_config.on_gpu(final) else "cpu")
    final.update(single_spec=True, local_rank=0, device=device)


def patch_command_line() -> None:
    """Make Config read the command line as `settings.command_line` says, and values without eval()."""
    from recbole.config.configurator import Config

    def _load_cmd_line(self: Any) -> dict[str, Any]:
        texts, others = command_line.split_arguments(command_line.current_arguments())
        if others:
            getLogger().warning(
                f"Command line arguments {' '.join(others)} are not used: not of the form --key=value"
            )
        return {key: command_line.parse_value(text) for key, text in texts.items()}

    def _convert_config_dict(self: Any, config_dict: dict[str, Any]) -> dict[str, Any]:
        return {key: command_line.parse_value(value) for key, value in config_dict.items()}

    Config._load_cmd_line = _load_cmd_line
    Config._convert_config_dict = _convert_config_dict


def _settings(config: Any) -> run_settings.RunSettings:
    """What the run is; of a Config made from a checkpoint, and where a value is set anew, it is read when asked."""
    if config.model_class is None:
        raise AttributeError("a class that is not known by name has no settings to be read by")
    if vars(config).get("_settings") is None:
        config._settings = run_settings.RunSettings.read(config.final_config_dict, config.model_class)
    return config._settings  # type: ignore[no-any-return]


def patch_config_files() -> None:
    """Let RecBole's Config load configs/ of ours and of the user; the rules are in bridge/config_files.py."""
    _patch_yaml()
    _patch_layers()


def _patch_yaml() -> None:
    """Files are read, and laid over one another, as settings/files.py does it."""
    from recbole.config.configurator import Config

    # each call adds its resolver to yaml's own class once more, which then tries them all at every number
    build_loader = Config._build_yaml_loader
    shared_loader = functools.cache(lambda: build_loader(None))

    def _build_yaml_loader(self: Any) -> Any:
        return shared_loader()

    def _update_internal_config_dict(self: Any, file: str) -> dict[str, Any]:
        content = files.load_yaml(file, self.yaml_loader)
        self.internal_config_dict.update(content)
        return content

    def _load_config_files(self: Any, file_list: list[str] | None) -> dict[str, Any]:
        return files.load_files(file_list or [], self.yaml_loader)

    def _merge_external_config_dict(self: Any) -> None:
        self.external_config_dict = files.merge(
            self.file_config_dict, self.variable_config_dict, self.cmd_config_dict
        )

    Config._build_yaml_loader = _build_yaml_loader
    Config._update_internal_config_dict = _update_internal_config_dict
    Config._load_config_files = _load_config_files
    Config._merge_external_config_dict = _merge_external_config_dict


def _patch_layers() -> None:
    """Names are checked, our files and defaults join RecBole's, and all values are read by the classes of settings."""
    from recbole.config.configurator import Config

    load_internal, final_dict, model_and_dataset = (
        Config._load_internal_config_dict,
        Config._get_final_config_dict,
        Config._get_model_and_dataset,
    )

    set_item = Config.__setitem__

    def _get_model_and_dataset(self: Any, model: Any, dataset: Any) -> Any:
        name = model if model is not None else self.external_config_dict.get("model")
        if isinstance(name, str):
            check_names(name)
        found = model_and_dataset(self, model, dataset)
        self.external_config_dict = run_settings.read_given(self.external_config_dict, found[1])
        return found

    def _load_internal_config_dict(self: Any, model: str, model_class: Any, dataset: str) -> None:
        load_internal(self, model, model_class, dataset)
        config_files.add_own_files(self, model, dataset)

    def _get_final_config_dict(self: Any) -> dict[str, Any]:
        final = config_files.finish(self, final_dict(self))
        self._settings = run_settings.parse(final, self.model_class)
        run_settings.write_back(final, self._settings)
        return final

    def __setitem__(self: Any, key: str, value: Any) -> None:
        set_item(self, key, value)
        self._settings = None

    Config._get_model_and_dataset = _get_model_and_dataset
    Config._load_internal_config_dict = _load_internal_config_dict
    Config._get_final_config_dict = _get_final_config_dict
    Config.__setitem__ = __setitem__
    Config.run_settings = property(_settings)
