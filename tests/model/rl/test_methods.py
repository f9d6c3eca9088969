"""Methods as settings and files: defaults, what is refused, a method of one's own."""

import pytest
import yaml

from recbole_ext.errors import UsageError
from recbole_ext.model.rl.compose import compose, method_class, method_names
from recbole_ext.settings.files import configs_dir

PAPERS = {
    "SQN": {},
    "SAC": {"actor_clip": [0, 10], "warm_up_epochs": 3},
    "SNQN": {"rl_negatives": 10},
    "SA2C": {"actor_clip": [0, 10], "warm_up_epochs": 3, "rl_negatives": 10},
}


@pytest.mark.parametrize("method", method_names())
def test_a_method_has_a_yaml_of_the_defaults_that_its_class_says(make_config, write_log, random_log, method):
    write_log(random_log())
    config = make_config(f"SASRec{method}")
    defaults = {name: field.default for name, field in method_class(method).settings_class.keys().items()}
    assert defaults.items() >= PAPERS.get(method, {}).items() and defaults["gamma"] == 0.5
    assert {name: config[name] for name in defaults} == defaults
    assert config["rewards"]["view"] == 0.2 and config["rewards"]["addtocart"] == 1.0


def test_a_file_says_nothing_that_its_method_does_not_read():
    folder = configs_dir() / "method"
    base = yaml.safe_load((folder / "base.yaml").read_text(encoding="utf-8"))
    for method in method_names():
        own = yaml.safe_load((folder / f"{method}.yaml").read_text(encoding="utf-8")) or {}
        read = method_class(method).settings_class.keys()
        assert set(own) | set(base) - {"loss_type", "train_neg_sample_args", "rewards"} == set(read), method


def test_a_method_of_ones_own_is_a_file_that_says_whose_loss_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "configs" / "method"
    folder.mkdir(parents=True)
    for text, expected in (("method: SA2C\ngamma: 0.9\n", "SA2C"), ("gamma: 0.9\n", "SQN")):
        (folder / "MINE.yaml").write_text(text, encoding="utf-8")
        assert method_class("MINE") is method_class(expected)
        made = compose("SASRec", "MINE", object, method_class("MINE"))
        assert made.__name__ == "SASRecMINE" and made.settings_class.model_fields.keys() >= {
            "gamma",
            "q_limit",
        }
    (folder / "MINE.yaml").write_text("method: SNQM\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"MINE\.yaml says method: SNQM, which is none: did you mean SNQN"):
        method_class("MINE")


CLIP = r"actor_clip is .*: it has to be the lowest and the highest weight, as in \[0, 10\]"


@pytest.mark.parametrize(
    ("method", "settings", "part"),
    [
        ("SA2C", {"rl_negatives": 0}, "rl_negatives is 0: it has to be a whole number from 1 to 10000"),
        ("SNQN", {"rl_negatives": 10**9}, "rl_negatives is 1000000000: it has to be a whole number from 1"),
        ("SNQN", {"rl_negatives": 1.5}, "rl_negatives is 1.5"),
        *(("SAC", {"actor_clip": clip}, CLIP) for clip in ([10, 0], [1], 10, ["a", "b"], [0, float("nan")])),
        ("SAC", {"actor_clip": [0, None]}, CLIP),
        ("SAC", {"warm_up_steps": -1}, "warm_up_steps is -1: it has to be a whole number of 0 or more, or ~"),
        ("SQN", {"gamma": 1.5}, "gamma is 1.5: it has to be a number from 0 to 1"),
        ("SQN", {"reward_signal": "random"}, "one of event, shuffled, history"),
        ("SQN", {"target_network": "copy"}, "one of coin, lagged"),
        ("SQN", {"target_network": "lagged", "target_every": 0}, "target_every is 0"),
        ("SQN", {"target_tau": 0.5}, "target_tau is 0.5: it needs target_network: lagged"),
        ("SQN", {"next_action": "best"}, "one of greedy, logged"),
        ("SQN", {"next_action": "logged", "gamma": 0}, "look at no next action, so leave it out"),
        ("SQN", {"q_limit": 0}, "q_limit is 0: it has to be a number above 0, at most 1e12, or ~"),
        ("SQN", {"rl_negatives": 3}, "unknown key rl_negatives"),
    ],
)
def test_a_wrong_value_is_answered_in_a_sentence(method, settings, part):
    with pytest.raises(UsageError, match=part):
        method_class(method).settings_class.read(settings).check()
