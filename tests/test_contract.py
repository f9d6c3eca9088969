"""The contract of recbole_ext.testing, for every model of ours and a set of RecBole's, with the reasons each needs."""

from dataclasses import dataclass, field
from typing import Any

from recbole_ext.testing import ModelContract


@dataclass(frozen=True)
class Case:
    """One model; see ModelContract."""

    settings: dict[str, Any] = field(default_factory=dict)
    learns_toy: bool | str = True
    toy: dict[str, Any] = field(default_factory=dict)
    exempt: dict[str, str] = field(default_factory=dict)


GRU = {"embedding_size": 16, "hidden_size": 16, "dropout_prob": 0.0}
ATTENTION = {"hidden_size": 16, "inner_size": 16, "n_layers": 1, "n_heads": 1}
ATTENTION |= {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}
FEATURES = {"id_dropout": 0.0, "weight_decay": 0.0, "learner": "adam", "learning_rate": 0.01}
HRNN = {"embedding_size": 16, "hidden_size": 16, "dropout_input": 0.0, **FEATURES}

CASES: dict[str, Case] = {
    # --- ours
    "AR": Case(),
    "CategoryPop": Case(),
    "GRU4RecFeat": Case({**GRU, **FEATURES}),
    "HRNNFeat": Case(HRNN),
    "RepeatLast": Case(),
    "SASRecFeat": Case({**ATTENTION, **FEATURES}),
    "SKNN": Case(),
    "SR": Case(),
    "STAN": Case(),
    "SessionPop": Case(),
    "VSKNN": Case(),
    "VSTAN": Case(),
    "Blend": Case({"blend_models": ["SASRec", "SR"], "blend_settings": {"SASRec": ATTENTION}}),
    "SASRecSQN": Case(ATTENTION),
    "GRU4RecSA2C": Case(GRU),
    "HRNNFeatSNQN": Case(HRNN),
    # --- RecBole's
    "Pop": Case(),
    "ItemKNN": Case(),
    "GRU4Rec": Case(GRU),
    "SASRec": Case(ATTENTION),
    "NARM": Case({"embedding_size": 16, "hidden_size": 16, "dropout_probs": [0.0, 0.0]}),
    "CORE": Case({**ATTENTION, "embedding_size": 16, "sess_dropout": 0.0, "item_dropout": 0.0}),
    "SRGNN": Case({"embedding_size": 16, "step": 1}),
    "STAMP": Case({"embedding_size": 16}),
    "Caser": Case({"embedding_size": 16, "dropout_prob": 0.0, "nv": 2, "nh": 4}),
    "FPMC": Case({"embedding_size": 16}),
    "BERT4Rec": Case(ATTENTION),
    "SINE": Case({"embedding_size": 16}),
}


for name, case in CASES.items():
    members = {"model": name, "settings": case.settings, "learns_toy": case.learns_toy}
    members |= {"toy_settings": case.toy, "exempt": case.exempt, "__module__": __name__}
    globals()[f"Test{name}"] = type(f"Test{name}", (ModelContract,), members)
