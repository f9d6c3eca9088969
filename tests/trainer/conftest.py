"""A model with its loaders and trainer."""

import pytest
import torch

ITEMS = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]


@pytest.fixture
def build(write_log, make_config, random_log):
    """(loaders, model, trainer) of a model on one log; the same seed gives the same weights."""

    def make(model, seed=3, trainer_class=None, rows=None, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        write_log(random_log(ties=False) if rows is None else rows, items=ITEMS)
        known = {"selected_features": ["category"], "MAX_ITEM_LIST_LENGTH": 12, "item_features": []}
        config = make_config(model, **{"split": {"LS": "valid_and_test"}, **known, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(seed, True)
        network = get_model(model)(config, loaders[0]._dataset)
        chosen = trainer_class or get_trainer(config["MODEL_TYPE"], model)
        return loaders, network, chosen(config, network)

    return make


@pytest.fixture
def trained_in_two_halves(tmp_path):
    """Trains what `fresh` gives whole, and once more in two halves with a checkpoint between; both end alike.

    Gives both trainers. half: what is asked of the two models when the second one has read the checkpoint.
    """

    def train_both(fresh, half=lambda whole, resumed: None):
        (train, valid, _), whole, trainer = fresh()
        best = trainer.fit(train, valid, saved=False, verbose=False)
        (train, valid, _), _, first = fresh()
        first.epochs = 2
        first.fit(train, valid, saved=False, verbose=False)
        file = str(tmp_path / "half.pth")
        first._save_checkpoint(1, verbose=False, saved_model_file=file)
        (train, valid, _), resumed, second = fresh()
        second.resume_checkpoint(file)
        half(whole, resumed)
        assert second.fit(train, valid, saved=False, verbose=False) == best
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name
        return trainer, second

    return train_both
