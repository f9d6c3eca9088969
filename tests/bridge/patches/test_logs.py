"""Names, logs and folders that no two runs share: patches/logs.py.

Scenarios are run by test_every_patch.py.
"""

from pathlib import Path
from typing import Any

from .toy import make_config, toy_data


def own_names(folder: Path) -> Any:
    """Whether each of ten trainers made at once would write to a checkpoint of its own."""
    conf = make_config("BPR", folder)
    from recbole.model.general_recommender import BPR
    from recbole.trainer import Trainer

    model = BPR(conf, toy_data(conf))
    return len({Trainer(conf, model).saved_model_file for _ in range(10)}) == 10


def own_logs(folder: Path) -> Any:
    """Two runs of one process: the messages in each log file, and the TensorBoard folders beside them."""
    import logging

    from recbole.utils import get_tensorboard, init_logger

    logging.getLogger().handlers.clear()
    for model in ("BPR", "Pop"):
        init_logger(make_config(model, folder, state="INFO"))
        logging.getLogger().info(f"this is {model}")
        get_tensorboard(logging.getLogger()).close()
    logs = sorted(Path("log").glob("*/*.log"))
    said = [[line.split("INFO")[1].strip() for line in log.read_text().splitlines()] for log in logs]
    folders = sorted(place.name for place in Path("log_tensorboard").iterdir())
    return [said, folders == sorted(log.stem for log in logs)]


EXPECTED: dict[str, Any] = {
    "own_names": True,
    "own_logs": [[["this is BPR"], ["this is Pop"]], True],
}

# what the scenario says without the patch, as a part of its JSON
FAULTS = {
    "own_names": "False",
    "own_logs": "[['this is BPR', 'this is Pop'], []]",
}
