"""recbole-ext new shop: every command of the folder that it makes is run there, for one epoch, in this process."""

import json
import re
from pathlib import Path

import pytest

from recbole_ext.cli import main
from recbole_ext.cli.new import example_events, example_items


def blocks(text):
    found = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in found for line in block.splitlines()]


def test_every_command_of_the_new_folder_runs(tmp_path, monkeypatch, capsys, no_curves):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "shop", "my-shop"]) == 0
    assert "recbole-ext run --model=HRNNFeat --dataset=shop" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path / "my-shop")
    commands = blocks(Path("README.md").read_text(encoding="utf-8"))
    assert [command.split()[1] for command in commands] == [
        *("convert", "run", "recommend", "recommend", "run", "compare")
    ]
    said = []
    for command in commands:
        words = command.split()[1:]
        runs = sorted(str(file.parent) for file in Path().glob("runs/shop/*/record.json"))
        if words[0] == "run":
            words += ["--epochs=1", "--use_gpu=False", "--hidden_size=16"] if "HRNN" in command else []
        if "RUN" in words:
            words = words[:1] + runs + [word for word in words[1:] if word != "RUN"]
        assert main(words) == 0, capsys.readouterr()
        said.append(capsys.readouterr().out)
    assert (
        "guessed, user: column 'visitor'" in said[0]
        and "item features: category token, price float" in said[0]
    )
    assert "HRNNFeat on shop" in said[1] and "purchase: " in said[1] and "returning visitors" in said[1]
    assert "after p003, p010" in said[2] and "category" in said[2]
    assert "95 %" in said[5] and "VSTAN" in said[5]
    manifest = json.loads(Path("atomic_data/shop/manifest.json").read_text(encoding="utf-8"))
    assert all(not rows["dropped"] for rows in manifest["rows"].values())


def test_the_example_log_is_the_same_every_time_and_new_products_appear():
    events = list(example_events())
    assert events == list(example_events()) != list(example_events(seed=2))
    assert {row["product"] for row in events} == {row["product"] for row in example_items()}
    last_week = {row["product"] for row in events if row["time"] >= "2026-05-25"}
    before = {row["product"] for row in events if row["time"] < "2026-05-13"}
    assert last_week - before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["shop", "there"], "there is there already"),
        (["shop", "there/shop"], "cannot be written"),
    ],
)
def test_a_folder_that_cannot_be_made(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("there").touch()
    assert main(["new", *words]) == 2
    assert said in capsys.readouterr().err and Path("there").is_file()
