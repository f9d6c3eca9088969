"""What is made from the classes of settings equals what stands in the tree; yaml defaults equal class defaults."""

from pathlib import Path

import pytest

import recbole_ext
from recbole_ext.bridge.names import own_models
from recbole_ext.cli import main
from recbole_ext.cli.settings import model_classes
from recbole_ext.errors import UsageError
from recbole_ext.run.run import build_config
from recbole_ext.settings import tables
from recbole_ext.settings.base import Settings
from recbole_ext.settings.files import config_files, configs_dir, load_files, load_yaml
from recbole_ext.settings.place import Place
from recbole_ext.settings.run_settings import GENERAL, OF_MODELS_TOO
from recbole_ext.settings.training import Training
from recbole_ext.settings.unread import all_model_keys, written_keys
from recbole_ext.settings.written import read_of_models, written

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def models():
    return model_classes()


def test_schema_is_that_of_the_classes(models):
    """After a change: recbole-ext settings --write."""
    assert (configs_dir() / "schema.json").read_text(encoding="utf-8") == tables.schema_text(models)


def test_schema_knows_every_key_of_the_yaml_files(models):
    known = set(tables.json_schema(models)["properties"])
    for folder in ("dataset", "model"):
        for file in (configs_dir() / folder).glob("*.yaml"):
            assert set(load_yaml(file)) <= known, file
    assert set(load_files(config_files("overall.yaml") + config_files("sessions.yaml"))) <= known


def test_keys_are_known_before_models_are_imported(models):
    """What is said early of a command line holds: no key and no value is refused that a model takes."""
    written = written_keys()
    assert {key for group in (*GENERAL, *models.values()) for key in group.model_fields} <= written
    assert all_model_keys() - {"device"} <= written and "hidden_sise" not in written
    own = {key for cls in models.values() for key in cls.model_fields}
    assert {key for group in (Training, Place) for key in group.model_fields if key in own} == OF_MODELS_TOO


def test_values_are_refused_before_models_are_imported_as_their_classes_do(models):
    """And in the same words, whichever model reads the key."""
    refused = 0
    for value in ("abc", -(10**9), 10**9, 1.5, None, True, [1], "user"):
        for key in written():
            early = said(read_of_models, {key: value})
            if early:
                refused += 1
                asked = [cls for cls in models.values() if key in cls.model_fields]
                assert asked and {said(cls.read, {key: value}) for cls in asked} == {early}
    assert refused > 500
    assert said(read_of_models, {"hidden_size": "abc"}) == (
        "hidden_size is 'abc': it has to be a whole number of 1 or more"
    )


def said(read, given):
    try:
        read(given)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_tables_of_the_docs_are_those_of_the_classes(page, models):
    classes = {**models, **{group.__name__: group for group in GENERAL}}
    text = page.read_text(encoding="utf-8")
    assert tables.with_tables(text, classes) == text
    assert text.count("<!-- settings:") == text.count("<!-- end -->")


@pytest.mark.parametrize("model", own_models())
def test_a_model_s_yaml_and_its_class_say_the_same(model):
    from recbole.utils import get_model

    recbole_ext.install()
    loader = build_config("Pop", "diginetica-demo").yaml_loader
    cls = get_model(model).settings_class
    in_yaml = load_yaml(configs_dir() / "model" / f"{model}.yaml", loader)
    declared = {**cls.other_defaults, **{name: field.default for name, field in cls.model_fields.items()}}
    assert {key: declared.get(key, "missing") for key in in_yaml} == in_yaml
    # what every model may be given stands in overall.yaml, what a checkpoint holds in none
    assert set(declared) - set(in_yaml) <= {"item_features", "blend_components"}


def test_overall_and_class_say_the_same():
    found = {name: field.default for group in GENERAL for name, field in group.model_fields.items()}
    for key, value in load_files(config_files("overall.yaml")).items():
        if key != "item_features":
            default = found[key]
            assert (default.model_dump() if isinstance(default, Settings) else default) == value, key


def test_keys_are_printed_with_role_default_and_sentence(capsys):
    assert main(["settings", "VSTAN"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("model: VSTAN's own\n") and "place: machine and folders" in out
    assert "  k            [200] nearest sessions (a whole number of 1 or more)\n" in out
    assert "epochs                 [1] passes over the training rows" in out  # VSTAN's own default
    assert main(["settings", "VSTAM"]) == 2 and "did you mean VSTAN" in capsys.readouterr().err


def test_a_table_may_name_its_keys():
    from recbole_ext.settings.place import Place

    page = "a\n<!-- settings: Place (worker) -->\nold\n<!-- end -->\nb"
    made = tables.with_tables(page, {"Place": Place})
    row = "| `worker` | `0` | processes that make batches, the same with any number (a whole number of 0 or more) |"
    head = "| key | default | what it does |\n|---|---|---|"
    assert made == f"a\n<!-- settings: Place (worker) -->\n{head}\n{row}\n<!-- end -->\nb"
    with pytest.raises(KeyError):
        tables.with_tables(page.replace("worker", "workers"), {"Place": Place})
