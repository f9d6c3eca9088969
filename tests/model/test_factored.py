"""What comparing numbers says of RecBole's models, one line a model; found wrong, a model would be trained wrongly."""

import pytest

SPLIT = {"session_time": [0.7, 0.1, 0.2]}

# model: trims, factored, causal, softmax
MODELS = {
    "SASRec": (True, True, True, True),
    "GRU4Rec": (True, True, True, True),
    "NARM": (True, True, False, True),
    "STAMP": (False, True, False, True),
    "SRGNN": (True, True, False, True),
    "GCSAN": (True, True, False, True),
    "SASRecF": (True, True, True, True),
    "GRU4RecF": (True, True, True, True),
    "FDSA": (True, True, True, True),
    "LightSANs": (False, True, False, True),
    "CORE": (True, False, False, False),
    "FPMC": (True, False, False, False),
    "BERT4Rec": (True, False, False, False),
    "NextItNet": (False, True, False, False, True),  # a softmax and terms of weights
    "Caser": (False, True, False, False, True),  # a softmax and terms of weights
    "SINE": (False, True, False, True),
    "HGN": (False, False, False, False),
}


@pytest.fixture
def built(write_log, make_config, random_log):
    def build(model, **settings):
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed

        items = [{"item_id": f"i{i}", "category": f"c{i % 4}"} for i in range(30)]
        write_log(random_log(), items=items)
        known = {"selected_features": ["category"], "MAX_ITEM_LIST_LENGTH": 12}
        config = make_config(model, split=SPLIT, **{**known, **settings})
        loaders = data_preparation(config, create_dataset(config))
        init_seed(3, True)
        network = get_model(model)(config, loaders[0]._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
        return config, loaders, network, trainer

    return build


@pytest.mark.parametrize("model", MODELS)
def test_examined(built, model):
    from recbole_ext.model.factored import Examined, examine

    _, (train, *_), network, _ = built(model)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert examine(network, train._dataset) == Examined(*MODELS[model])
    after = network.state_dict()
    assert all((after[name] == value).all() for name, value in before.items()), "examining changes nothing"
    assert train._dataset.trimmed is False


@pytest.mark.parametrize("normed", ["weight_norm", "spectral_norm", "weight_norm of a GRU"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
def test_layers_that_keep_what_they_computed_are_examined(built, normed):
    """torch's old norms put a weight beside the parameters, which `copy.deepcopy` refuses."""
    from torch.nn.utils import spectral_norm, weight_norm

    from recbole_ext.model.factored import Examined, examine

    _, (train, *_), network, _ = built("GRU4Rec")
    if normed == "spectral_norm":
        spectral_norm(network.dense)
    elif normed == "weight_norm":
        weight_norm(network.dense)
    else:
        weight_norm(network.gru_layers, "weight_hh_l0")
    network.calculate_loss(train._dataset[:4])
    assert examine(network, train._dataset) == Examined(*MODELS["GRU4Rec"])


def test_of_a_model_that_cannot_be_copied_nothing_is_found(built):
    import threading

    from recbole_ext.model.factored import Examined, examine

    _, (train, *_), network, _ = built("GRU4Rec")
    network.lock = threading.Lock()
    assert examine(network, train._dataset) == Examined()
