"""A model with its loaders and trainer."""

import pytest

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
