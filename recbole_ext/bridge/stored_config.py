"""A RecBole Config made again from the plain values that a checkpoint or record keeps of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ext.plain import decode


def config_from_plain(plain: Mapping[str, Any]) -> Any:
    """The RecBole Config of `config_to_plain`: the same final values, this machine's device, one process."""
    import torch
    from recbole.config import Config
    from recbole.utils import get_model

    config = Config.__new__(Config)
    config.compatibility_settings()
    config._init_parameters_category()
    config.yaml_loader = config._build_yaml_loader()
    final = {key: decode(value) for key, value in plain.items()}
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
