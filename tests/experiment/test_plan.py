"""What an experiment's yaml and command line say, and the sentences for mistakes in them."""

import pytest

from recbole_ext.cli import main
from recbole_ext.errors import UsageError
from recbole_ext.experiment import is_grid
from recbole_ext.experiment.cells import difference
from recbole_ext.experiment.plan import from_command_line, read_experiment, space_of
from recbole_ext.experiment.space import combinations, read_space
from recbole_ext.settings.command_line import parse_command_line
from recbole_ext.settings.files import configs_dir


def test_what_makes_a_command_line_a_grid():
    assert not is_grid(parse_command_line(["--model=SASRec", "--dataset=toy", "--seed=1", "--refit=True"]))
    for more in (
        "--model=SASRec,Pop",
        "--dataset=a,b",
        "--seed=1,2",
        "--seed=[1]",
        "--search={learning_rate: [0.1]}",
    ):
        assert is_grid(parse_command_line(["--epochs=3", more]))


def test_lists_on_a_command_line_are_an_experiment_that_leaves_results_alone():
    asked = parse_command_line(
        ["--model=SASRec, Pop", "--dataset=a,b", "--seed=1,2", "--epochs=3", "--workers=2"]
    )
    found = from_command_line(asked, ["more.yaml"])
    assert (
        found.name == "a+b" and found.datasets == ("a", "b") and found.seeds == (1, 2) and found.workers == 2
    )
    assert [entry.label for entry in found.models] == ["SASRec", "Pop"]
    assert found.overrides == {"epochs": 3} and found.files == ("more.yaml",)
    assert "results" not in str(found.report)
    assert from_command_line({"model": "Pop", "dataset": "a", "name": "mine"}, []).name == "mine"


def test_a_file_and_what_the_command_line_changes_of_it(write_experiment):
    models = ["Pop", {"label": "SASRec dot", "model": "SASRec", "settings": {"n_layers": 1}}]
    file = write_experiment(models=models, baseline="Pop", refit=True)
    found = read_experiment(file)
    assert found.name == "try" and str(found.report) == "results/try" and found.seeds == (1, 2)
    assert found.models[1].folder == "SASRec-dot" and found.models[1].settings == {"n_layers": 1}
    line = ["--seed=7", "--epochs=1", "--model=SASRec dot", "--refit=False", "--name=quick"]
    changed = from_command_line(parse_command_line([f"--experiment={file}", *line]), [])
    assert changed.seeds == (7,) and changed.overrides == {"epochs": 1} and not changed.refit
    assert [entry.label for entry in changed.models] == ["SASRec dot"] and changed.baseline is None
    assert changed.name == "quick" and str(changed.report) == "results/quick" and changed.text == found.text


def test_a_bare_name_is_a_file_of_configs(write_experiment, here):
    file = write_experiment("mine")
    place = here / "configs" / "experiment"
    place.mkdir(parents=True)
    (here / "mine.yaml").rename(place / "mine.yaml")
    assert read_experiment("mine").name == "mine"
    with pytest.raises(UsageError, match="there is no experiment mein: did you mean mine"):
        read_experiment("mein")
    with pytest.raises(UsageError, match="there is no experiment"):
        read_experiment(file)


MISTAKES = [
    ({"seed": [1]}, "unknown key seed: did you mean seeds"),
    ({"model": ["Pop"]}, "unknown key model: did you mean models"),
    ({"frobnicate": 1}, "unknown key frobnicate: it may hold name, title"),
    ({"models": []}, "names no models"),
    ({"datasets": None}, "names no datasets"),
    ({"models": "Pop"}, "models is 'Pop': write a list"),
    ({"models": [{"label": "x"}]}, "write a name, or a mapping"),
    ({"models": [{"model": "Pop", "seting": {}}]}, "did you mean settings"),
    ({"models": ["Pop", "Pop"]}, "Pop twice: give each a label"),
    ({"models": ["Pop", {"model": "Pop", "label": "pop"}]}, "pop|Pop twice"),
    ({"models": [{"model": "Pop", "settings": {"seed": 1}}]}, "settings of Pop gives seed: write seeds"),
    ({"settings": {"refit": True}}, "settings gives refit: write it beside settings"),
    ({"settings": [1]}, "settings is .1.: write a mapping"),
    ({"search": {"learning_rate": 0.1}}, "search has learning_rate: 0.1: write a list"),
    ({"search": {"learning_rate": [0.1, 0.1]}}, "a value of learning_rate twice"),
    ({"search": {"epochs": [1, 2]}}, "gives epochs in settings and in search"),
    ({"search": {"model": ["Pop"]}}, "search gives model"),
    ({"seeds": [1, 1]}, "seeds is .1, 1."),
    ({"seeds": [-1]}, "seeds is"),
    ({"seeds": ["a"]}, "seeds is"),
    ({"datasets": [3]}, "datasets is"),
    ({"workers": 0}, "workers is 0: write a whole number of 1 or more"),
    ({"workers": True}, "workers is True"),
    ({"ray": 7}, "ray"),
    ({"ray": "auto", "gpus_per_cell": 2}, "gpus_per_cell"),
    ({"gpus_per_cell": 0.5}, "gpus_per_cell is 0.5, which is for cells on a Ray cluster"),
    ({"search_trials": 1.5}, "search_trials is 1.5"),
    ({"refit": "maybe"}, "refit is 'maybe'"),
    ({"baseline": "pop"}, "baseline is 'pop', which is no label of models: did you mean Pop"),
    ({"name": "../up"}, "write the name of a folder"),
]


@pytest.mark.parametrize("keys, hint", MISTAKES, ids=[next(iter(keys)) for keys, _ in MISTAKES])
def test_mistakes_in_a_file_are_named(write_experiment, keys, hint):
    with pytest.raises(UsageError, match=hint) as caught:
        read_experiment(write_experiment(**keys))
    assert "try.yaml" in str(caught.value) and "\n" not in str(caught.value)


COMMANDS = [
    (["--model=Pop,Pop", "--dataset=toy"], "--model is 'Pop,Pop'"),
    (["--model=Pop,", "--dataset=toy"], "--model is 'Pop,'"),
    (["--model=Pop", "--dataset=toy", "--seed=1,1"], "--seed is .1, 1."),
    (["--model=Pop", "--dataset=toy", "--seed=a,b"], "--seed is 'a,b'"),
    (["--model=Pop,GRU4Rec"], "--dataset=NAMES"),
    (["--model=Pop,GRU4Rec", "--dataset=toy", "--resume_from=x"], "--resume_from is for a single run"),
    (["--model=Pop,GRU4Rec", "--dataset=toy", "--workers=no"], "workers is 'no'"),
    (["--experiment=try.yaml", "--model=Pup"], "--model names Pup.*did you mean Pop"),
    (["--experiment=try.yaml", "--seed=1.5"], "--seed is 1.5"),
    (["--experiment=try.yaml", "--name=../../up"], "name is '../../up': write the name of a folder"),
    (["--experiment=try.yaml", "--name="], "write the name of a folder"),
    (["--model=Pop,GRU4Rec", "--dataset=toy", "--name=a/b"], "name is 'a/b': write the name of a folder"),
]


@pytest.mark.parametrize("arguments, hint", COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS])
def test_mistakes_on_a_command_line_are_named(write_experiment, arguments, hint):
    write_experiment()
    with pytest.raises(UsageError, match=hint):
        from_command_line(parse_command_line(arguments), [])


def test_the_whole_grid_when_it_is_small_and_a_fixed_draw_else():
    space = read_space({"a": [1, 2], "b": ["x", "y", "z"]}, "search")
    grid = [{"a": a, "b": b} for a in (1, 2) for b in ("x", "y", "z")]
    assert combinations(space, 6, 1) == grid and combinations({}, 6, 1) == []
    drawn = combinations(space, 4, 1)
    assert len(drawn) == 4 and [one for one in grid if one in drawn] == drawn
    assert combinations(space, 4, 1) == drawn
    assert any(combinations(space, 4, seed) != drawn for seed in range(2, 6))
    huge = read_space({f"k{i}": list(range(100)) for i in range(9)}, "search")
    assert len({tuple(one.values()) for one in combinations(huge, 50, 3)}) == 50


def test_a_model_is_searched_over_the_knobs_that_it_has(write_experiment):
    own = {"model": "SASRec", "search": {"n_layers": [1, 2]}}
    fixed = {"model": "NARM", "settings": {"learning_rate": 0.1}}
    common = {"learning_rate": [0.1, 0.01], "dropout_prob": [0.1, 0.2]}
    file = write_experiment(models=["Pop", "GRU4Rec", own, fixed], search=common)
    experiment = read_experiment(file)
    pop, gru, sasrec, narm = experiment.models

    def space(experiment, *asked):
        return {key: knob.plain() for key, knob in space_of(experiment, *asked).items()}

    assert space(experiment, pop, ["seen"]) == {}
    assert space(experiment, gru, ["learning_rate", "dropout_prob"]) == common
    assert space(experiment, sasrec, ["learning_rate"]) == {"n_layers": [1, 2]}
    assert space(experiment, narm, ["learning_rate", "dropout_prob"]) == {"dropout_prob": [0.1, 0.2]}
    given = from_command_line({"experiment": file, "learning_rate": 0.5}, [])
    assert space(given, gru, ["learning_rate", "dropout_prob"]) == {"dropout_prob": [0.1, 0.2]}


def test_which_knobs_a_model_has(make_config, write_log, random_log):
    from recbole_ext.bridge.keys import unread_keys

    def unread(model, **keys):
        return set(unread_keys(make_config(model), keys, searched=True))

    write_log(random_log())
    assert not unread("GRU4Rec", learning_rate=0.1, dropout_prob=0.1, train_batch_size=5)
    assert unread("GRU4Rec", hidden_dropout_prob=0.1) == {"hidden_dropout_prob"}
    assert unread("Pop", learning_rate=0.1) == {"learning_rate"}
    assert unread("ItemKNN", k=3, shrink=1.0, learning_rate=0.1) == {"learning_rate"}
    assert not unread("SASRecSQN", hidden_dropout_prob=0.1, gamma=0.5, q_weight=2.0)


SHIPPED = sorted((configs_dir() / "experiment").glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=[file.stem for file in SHIPPED])
def test_the_shipped_experiments_ask_for_what_can_be_had(file, tmp_path, monkeypatch):
    """Every trial of every model can be configured (public lists are converted first: any folder stands for them)."""
    from recbole_ext.experiment.checked import asked_of

    monkeypatch.chdir(tmp_path)
    place = tmp_path / "atomic_data" / file.stem
    place.mkdir(parents=True)
    (place / f"{file.stem}.inter").write_text(
        "session_id:token\titem_id:token\ttimestamp:float\n"
    )  # of a study
    experiment = read_experiment(file)
    for dataset in experiment.datasets:
        for entry in experiment.models:
            asked = asked_of(experiment, dataset, entry)
            tries = combinations(asked.space, experiment.search_trials, experiment.search_seed)
            assert len(tries) <= experiment.search_trials and (tries or not entry.search)
            for one in tries:
                config = asked.configured(one, 1)
                assert all(config[key] == value for key, value in one.items())


# --- a search that would search nothing ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "more", "said"),
    [
        (
            {"search": {"learnin_rate": [0.01, 0.001]}},
            [],
            "unknown key learnin_rate: did you mean learning_rate?",
        ),
        (
            {"search": {"learnin_rate": [0.01, 0.001]}},
            ["--model=GRU4Rec"],
            "unknown key learnin_rate: did you mean learning_rate?",
        ),
        (
            {
                "search": {"learnin_rate": [0.01]},
                "models": [{"model": "GRU4Rec", "search": {"dropout_prob": [0.1]}}],
            },
            [],
            "unknown key learnin_rate: did you mean learning_rate?",
        ),
        (
            {
                "search": {"learning_rate": [0.01, 0.001]},
                "models": [
                    {"model": name, "settings": {"learning_rate": 0.01}} for name in ("GRU4Rec", "NARM")
                ],
            },
            [],
            "search names learning_rate, which no model searches",
        ),
        (
            {
                "search": {"learning_rate": [0.01, 0.001]},
                "models": [{"model": "GRU4Rec", "search": {"dropout_prob": [0.1]}}],
            },
            [],
            "search names learning_rate, which no model searches",
        ),
        (
            {"search": {"learning_rate": [0.01]}},
            ["--learnin_rate=0.1", "--model=GRU4Rec"],
            "unknown key learnin_rate",
        ),
    ],
)
def test_a_common_search_that_no_model_does_is_refused(write_experiment, capsys, keys, more, said):
    assert main([f"--experiment={write_experiment(**keys)}", *more]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("label", ["..", ".hidden", "../../up", "---", "a\x1b[2Jb", "two\nlines"])
def test_a_label_is_a_name_and_no_path(write_experiment, label):
    with pytest.raises(UsageError, match="has the label"):
        read_experiment(write_experiment(models=[{"model": "Pop", "label": label}]))
    assert (
        read_experiment(write_experiment(models=[{"model": "Pop", "label": "Pop, a/b"}])).models[0].folder
        == "Pop-a-b"
    )


def test_a_key_that_is_nothing_on_one_side_alone_is_named():
    """As a changed letter in cell.json makes one."""
    before, now = {"config": {"topk": [5], "alpha": None}}, {"config": {"topk": [5], "alqha": None}}
    assert difference(before, now) == "alpha was nothing and is nothing"
