"""RecBole's own models give the same numbers in every environment: the stored metrics and train losses.

`python tests/bridge/test_builtin_models.py --write` writes tests/data/builtin_models.json: RecBole's own data
path, one epoch, leave-one-out, one thread, on the data set that this file makes. Two environments that match
the file match each other.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

STORED = Path(__file__).parent / "builtin_models.json"
MODELS = [
    *("Pop", "BPR", "GRU4Rec", "SASRec", "GRU4RecF", "SASRecF"),
    *("FDSA", "NARM", "SRGNN", "CORE", "SINE", "LightGCN"),
]
TOLERANCE = 1e-6


def write_shop(folder: Path) -> None:
    """60 sessions on 40 items with category, price and name, some missing, and one item without a row."""
    draw = random.Random(20)
    events, clock = [], 0
    for session in range(60):
        item = draw.randrange(40)
        for _ in range(draw.randint(4, 8)):
            clock += draw.randint(1, 90)
            events.append(f"s{session}\ti{item}\t{clock}")
            item = (item + draw.choice([1, 1, 2, 7])) % 40
    items = []
    for item in range(39):
        category = "" if item % 11 == 5 else f"c{item % 6}"
        price = "" if item % 6 == 3 else f"{1.5 + item * 0.25}"
        name = "" if item % 8 == 2 else " ".join(f"w{item * k % 9}" for k in range(1, 2 + item % 4))
        items.append(f"i{item}\t{category}\t{price}\t{name}")
    shop = folder / "shop"
    shop.mkdir(parents=True)
    head = "session_id:token\titem_id:token\ttimestamp:float\n"
    (shop / "shop.inter").write_text(head + "\n".join(events) + "\n")
    head = "item_id:token\tcategory:token\tprice:float\tname:token_seq\n"
    (shop / "shop.item").write_text(head + "\n".join(items) + "\n")


def train_and_test(model: str, folder: Path) -> dict[str, float]:
    """One epoch of a RecBole model: its train loss, and its validation and test metrics."""
    import torch

    from recbole_ext.bridge import patches as compat

    compat.apply()  # the registry's own data path and models are no part of this
    torch.set_num_threads(1)
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(folder / "saved"),
        "data_layout": "recbole",
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "selected_features": ["category", "name"],
        "metrics": ["Hit", "NDCG", "MRR", "Recall"],
        "topk": [5, 10],
        "valid_metric": "NDCG@10",
        "metric_decimal_place": 8,
        "seed": 2020,
        "epochs": 1,
        "train_batch_size": 64,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
    }
    config = Config(model, "shop", config_dict=settings)
    init_seed(config["seed"], True)
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    init_seed(config["seed"], True)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, get_model(model)(config, train._dataset))
    _, best_valid = trainer.fit(train, valid, verbose=False, saved=True)
    tested = trainer.evaluate(test, load_best_model=True)
    numbers = {"train loss": float(trainer.train_loss_dict[0])}
    numbers.update({f"valid {key}": float(value) for key, value in best_valid.items()})
    numbers.update({f"test {key}": float(value) for key, value in tested.items()})
    return numbers


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """The numbers of all models, of a process in which nothing of ours but the patches is installed."""
    out = tmp_path_factory.mktemp("numbers") / "numbers.json"
    subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--write", str(out)],
        check=True,
        cwd=out.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    return json.loads(out.read_text())


@pytest.mark.parametrize("model", MODELS)
def test_same_numbers_in_every_environment(model: str, found: dict[str, dict[str, float]]):
    stored = json.loads(STORED.read_text())[model]
    assert found[model] == pytest.approx(stored, rel=0, abs=TOLERANCE)
    assert 0 < found[model]["test hit@10"] < 1  # neither a dead model nor one that sees its target


def write(out: Path) -> None:
    """Write the numbers of this environment."""
    import tempfile

    sys.argv = sys.argv[:1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shop(folder)
        os.chdir(folder)
        numbers = {model: train_and_test(model, folder) for model in MODELS}
    out.write_text(json.dumps(numbers, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--write"]:
        sys.exit(f"usage: python {Path(__file__).name} --write [FILE]")
    write(Path(sys.argv[2]) if sys.argv[2:] else STORED)
