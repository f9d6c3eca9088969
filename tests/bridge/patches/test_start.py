"""What an import does, and how a run begins: patches/start.py.

Scenarios are run by test_every_patch.py.
"""

import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from recbole_ext.bridge import registry
from recbole_ext.errors import UsageError

from .toy import make_config, write_toy


def sklearn_later(folder: Path) -> Any:
    """Whether importing it waits for its first use; its results are its own."""
    from recbole.evaluator import metrics
    from recbole.model.general_recommender import nceplrec, slimelastic

    slim = vars(slimelastic)
    registry.register()  # which enters a module of ours in place of slimelastic
    waits = "sklearn" not in sys.modules
    area = metrics.sk_auc(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 1.0]))
    names = [metrics.sk_auc, metrics.mean_squared_error, metrics.mean_absolute_error]
    names += [slim["ElasticNet"], slim["ConvergenceWarning"], nceplrec.randomized_svd]
    return [waits, area, [name.__module__.partition(".")[0] for name in names]]


def break_ray(folder: Path) -> None:
    broken = folder / "broken" / "ray"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import pkg_resources_of_old_setuptools\n")
    sys.path.insert(0, str(broken.parent))


def ray_optional(folder: Path) -> Any:
    """The ray that is found first cannot be imported (see `break_ray`); later one is found that can."""
    working = folder / "working" / "ray"
    working.mkdir(parents=True)
    (working / "__init__.py").write_text("")
    tune = "def run(): return 'real tune'\ndef report(**metrics): return 'reported'\n"
    (working / "tune.py").write_text(tune)
    from recbole.quick_start import quick_start

    seen = {"loaded": "ray" in sys.modules, "report": quick_start.tune.report(hit=1)}
    try:
        quick_start.tune.run()
    except ImportError as error:
        seen["sentence"] = str(error)
    sys.path.insert(0, str(working.parent))
    seen["run"] = quick_start.tune.run()
    seen["report with ray"] = quick_start.tune.report(hit=1)
    return seen


def anomaly_detection(folder: Path) -> Any:
    import recbole.model.sequential_recommender  # noqa: F401

    return torch.is_anomaly_enabled()


def folders_at_once(folder: Path) -> Any:
    """Whether a folder that another process made meanwhile is no fault."""
    import recbole.trainer.trainer as trainer
    import recbole.utils.logger as logger

    with mock.patch("os.path.exists", lambda path: False):  # as it looked a moment before
        for module in (trainer, logger):
            module.ensure_dir(str(folder))
    return folder.is_dir()


def device_choice(folder: Path) -> Any:
    """The device of a run that wants no GPU, where there is one."""
    there, torch.cuda.is_available = torch.cuda.is_available, lambda: True
    try:
        return make_config("BPR", folder, use_gpu=False)["device"].type
    finally:
        torch.cuda.is_available = there


def command_line(folder: Path) -> Any:
    """Arguments that belong to `python -c`, and a config value that looks like Python."""
    before, sys.argv = sys.argv, ["-c", "--learning_rate=7"]
    code = f"__import__('os').mkdir({str(folder / 'evaluated')!r})"
    try:
        conf = make_config("BPR", folder, note=code)
    finally:
        sys.argv = before
    return [conf["learning_rate"], (folder / "evaluated").exists()]


def config_files(folder: Path) -> Any:
    write_toy(folder)
    from recbole.config import Config

    conf = Config("GRU4Rec", "toy", config_dict={"eval_args": {"split": {"LS": "valid_only"}}})
    return [conf["LINK_USER_FIELD"], conf["eval_args"], conf["train_neg_sample_args"]["distribution"]]


FULL_RANKING = {"valid": "full", "test": "full"}


LS_ARGS = {"split": {"LS": "valid_only"}, "order": "TO", "group_by": "user", "mode": FULL_RANKING}


EXPECTED: dict[str, Any] = {
    "sklearn_later": [True, 0.75, ["sklearn"] * 6],
    "anomaly_detection": False,
    "folders_at_once": True,
    "device_choice": "cpu",
    "command_line": [0.001, False],
    "config_files": ["user_id", LS_ARGS, "none"],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "sklearn_later": "[False, 0.75",
    "ray_optional": "pkg_resources_of_old_setuptools",
    "anomaly_detection": "True",
    "folders_at_once": "File exists",
    "device_choice": "cuda",
    "command_line": "[7, True]",
    "config_files": "train_neg_sample_args",
}


def test_ray_is_imported_only_when_used_and_anomaly_detection_stays_as_the_user_set_it(
    tmp_path: Path, own_process
):
    seen = own_process("ray_optional", tmp_path, [])["result"]
    assert seen["loaded"] is False and seen["report"] is None
    assert seen["sentence"].startswith("tuning with Ray needs a working ray")
    assert "pkg_resources_of_old_setuptools" in seen["sentence"]
    assert seen["run"] == "real tune" and seen["report with ray"] == "reported"
    assert seen["anomaly detection"] is True


def test_graphics_cards_stay_as_the_user_chose_them(patched: Path, monkeypatch: pytest.MonkeyPatch):
    from recbole.config import Config

    from recbole_ext.bridge.patches.start import _DeviceChooser

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr(Config, "_init_device", _DeviceChooser("3").choose)
    assert str(make_config("BPR", patched)["device"]) == "cpu" or torch.cuda.is_available()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"  # RecBole's default gpu_id '0' would have replaced it
    make_config("BPR", patched, gpu_id="1,2")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,2"
    make_config("BPR", patched)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_a_process_of_several_is_refused(patched: Path):
    with pytest.raises(UsageError, match="processes are started by torchrun"):
        make_config("BPR", patched, local_rank=0)
