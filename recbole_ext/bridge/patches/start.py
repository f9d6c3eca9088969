"""Patches for how a RecBole 1.2.1 run starts: ray, devices and processes, the command line, config files."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import MutableMapping
from logging import getLogger
from types import ModuleType
from typing import Any

from recbole_ext.bridge import config_files, stored_config
from recbole_ext.bridge.names import check_names
from recbole_ext.errors import UsageError
from recbole_ext.settings import command_line, files

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


def _make_folders_without_a_race() -> None:
    import recbole.data.dataset
    import recbole.data.utils
    import recbole.trainer
    import recbole.utils

    upstream = recbole.utils.ensure_dir
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "recbole" and vars(module).get("ensure_dir") is upstream:
            module.ensure_dir = ensure_dir  # type: ignore[attr-defined]


def patch_ddp() -> None:
    """Choose device and backend together (NCCL on CUDA, gloo on CPU); let spawned children install again."""
    _make_folders_without_a_race()
    import torch
    from recbole.config.configurator import Config
    from recbole.trainer import trainer as recbole_trainer
    from torch.nn.parallel import DistributedDataParallel

    abstract, trainer = recbole_trainer.AbstractTrainer, recbole_trainer.Trainer
    trainer_init = trainer.__init__

    def wrap_model(self: Any, config: Any, model: Any) -> None:
        self.config = config
        self.model = model
        if config["single_spec"]:
            return
        on_gpu = config["device"].type == "cuda"
        if on_gpu:  # SyncBatchNorm has no CPU kernel
            self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
        self.distributed_model = DistributedDataParallel(
            self.model, device_ids=[config["local_rank"]] if on_gpu else None
        )

    def init_trainer(self: Any, config: Any, model: Any) -> None:
        trainer_init(self, config, model)
        if not config["single_spec"]:
            # the name holds the clock's second; every rank must look for the file that rank 0 writes
            name = [self.saved_model_file]
            torch.distributed.broadcast_object_list(name, src=0, device=config["device"])
            self.saved_model_file = name[0]

    Config._init_device = _DeviceChooser(os.environ.get("CUDA_VISIBLE_DEVICES")).choose
    abstract.__init__ = wrap_model
    trainer.__init__ = init_trainer
    _replace_run_recboles()


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

    on_gpu = stored_config.on_gpu(final)
    if "local_rank" not in final:
        final.update(single_spec=True, local_rank=0, device=torch.device("cuda" if on_gpu else "cpu"))
        return
    rank = final["local_rank"]
    if on_gpu and len(final["gpu_id"].split(",")) < final["nproc"]:
        raise UsageError(
            f"gpu_id {final['gpu_id']} names fewer GPUs than nproc {final['nproc']}: give one id per "
            "process, or use_gpu: False to run on the CPU"
        )
    torch.distributed.init_process_group(
        backend="nccl" if on_gpu else "gloo",
        rank=rank + final["offset"],
        world_size=final["world_size"],
        init_method=f"tcp://{final['ip']}:{final['port']}",
    )
    final.update(single_spec=False, device=torch.device("cuda", rank) if on_gpu else torch.device("cpu"))
    if on_gpu:
        torch.cuda.set_device(rank)
    if rank != 0:
        final.update(state="error", show_progress=False, verbose=False)


class InstalledChild:
    """`run_recboles` for spawned processes: installs the extension and the parent's command line, then runs.

    It is sent to the child by pickle, which takes the command line in force at that moment along.
    """

    def __init__(self, arguments: list[str] | None = None) -> None:
        self.arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return InstalledChild, (command_line.current_arguments(),)

    def __call__(self, rank: int, *args: Any) -> None:
        """Run rank `rank`; args as RecBole passes them: model, dataset, config_file_list, keywords."""
        import recbole_ext

        recbole_ext.install()
        from recbole.quick_start.quick_start import run_recbole

        kwargs = args[-1]
        if not isinstance(kwargs, MutableMapping):
            raise ValueError(
                f"the last argument of run_recboles should be a dict, not {type(kwargs).__name__}"
            )
        kwargs["config_dict"] = {**(kwargs.get("config_dict") or {}), "local_rank": rank}
        with command_line.command_line(self.arguments or []):
            run_recbole(*args[:3], **kwargs)


def _replace_run_recboles() -> None:
    import recbole.quick_start
    from recbole.quick_start import quick_start

    child = InstalledChild()
    quick_start.run_recboles = child
    recbole.quick_start.run_recboles = child


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


def patch_config_files() -> None:
    """Let RecBole's Config load configs/ of ours and of the user; the rules are in bridge/config_files.py."""
    from recbole.config.configurator import Config

    load_internal, final_dict, model_and_dataset = (
        Config._load_internal_config_dict,
        Config._get_final_config_dict,
        Config._get_model_and_dataset,
    )

    def _load_config_files(self: Any, file_list: list[str] | None) -> dict[str, Any]:
        return files.load_files(file_list or [], self.yaml_loader)

    def _merge_external_config_dict(self: Any) -> None:
        self.external_config_dict = files.merge(
            self.file_config_dict, self.variable_config_dict, self.cmd_config_dict
        )

    def _get_model_and_dataset(self: Any, model: Any, dataset: Any) -> Any:
        name = model if model is not None else self.external_config_dict.get("model")
        if isinstance(name, str):
            check_names(name)
        return model_and_dataset(self, model, dataset)

    def _load_internal_config_dict(self: Any, model: str, model_class: Any, dataset: str) -> None:
        load_internal(self, model, model_class, dataset)
        config_files.add_own_files(self, model, dataset)

    def _get_final_config_dict(self: Any) -> dict[str, Any]:
        return config_files.finish(self, final_dict(self))

    Config._load_config_files = _load_config_files
    Config._merge_external_config_dict = _merge_external_config_dict
    Config._get_model_and_dataset = _get_model_and_dataset
    Config._load_internal_config_dict = _load_internal_config_dict
    Config._get_final_config_dict = _get_final_config_dict
