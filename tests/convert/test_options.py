"""A source's options, said once: class, command line and manifest agree; what would do nothing is refused."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import types
from datetime import date
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

import pytest

import recbole_ext.convert as room
from recbole_ext.arguments import Arguments
from recbole_ext.convert import ConvertError, check_generate, check_options, sources
from recbole_ext.convert.__main__ import main
from recbole_ext.convert.options import (
    GIVEN,
    LEFT_OUT,
    DatedOptions,
    Day,
    Files,
    Flag,
    Number,
    Words,
    day,
    file,
    option,
)
from recbole_ext.errors import UsageError

ROOT = Path(room.__file__).parents[2]
SOURCES = ["diginetica", "events", "retailrocket", "session-lists"]


class Toy(DatedOptions):
    """One option of each kind."""

    table: Path | None = file("a table", recorded="table_file")
    parts: Files | None = file("its parts", recorded="parts_files")
    cut: Literal["idle", "never"] = option("idle", "where sessions end")
    gap: Number = option(30, "idle minutes", gt=0, needs={"cut": ["idle"]})
    names: Words = option([], "names to keep", metavar="NAME", needs={"table": GIVEN})
    plain: Flag = option(False, "as it is", needs={"gap": LEFT_OUT})
    first_date: Day = day(date(2020, 1, 1), "first day")


def parsed(*words: str) -> Toy:
    parser = Arguments(prog="toy")
    Toy.add_arguments(parser)
    return Toy.of_arguments(parser.parse_args(words))


def test_class_command_line_and_manifest_agree() -> None:
    words = "--table t.csv --parts a b --gap 5 --names 790 x --first-date 2020-02-03 --strict"
    by_words = parsed(*words.split(" "))
    by_name = Toy.from_command(
        {"table": "t.csv", "parts": ["a", Path("b")], "gap": 5, "names": [790, "x"], "strict": True}
        | {"first_date": date(2020, 2, 3)}
    )
    assert by_words == by_name == Toy.read(by_name.model_dump(include=by_name.model_fields_set))
    assert by_words.recorded() == {
        "table_file": "t.csv",
        "parts_files": ["a", "b"],
        "cut": "idle",
        "gap": 5,
        "names": ["790", "x"],
        "plain": False,
        "strict": True,
        "max_bad_rows": 0.01,
        "inter": "text",
        "first_date": "2020-02-03",
        "last_date": "2099-12-31",
    }
    assert parsed() == Toy() and "table_file" not in Toy().recorded()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--gap x", "--gap is 'x': it has to be a number above 0"),
        ("--gap inf", "--gap is inf: it has to be a number above 0"),
        ("--cut day", "--cut is 'day': it has to be one of idle, never"),
        ("--first-date May", "--first-date is 'May': it has to be a day as YYYY-MM-DD"),
        ("--max-bad-rows 2", "--max-bad-rows is 2.0: it has to be a number from 0 to 1"),
        ("--cut never --gap 3", "--gap is read only with --cut idle: leave it out"),
        ("--names a", "--names is read only with --table: name that too, or leave it out"),
        ("--gap 3 --plain", "--plain is read only without --gap: leave one of them out"),
        (
            "--last-date 2019-01-01",
            "--first-date is 2020-01-01 and --last-date 2019-01-01: give two days in order",
        ),
    ],
)
def test_what_is_wrong_is_said_as_the_command_line_has_it(words: str, sentence: str) -> None:
    with pytest.raises(ConvertError) as error:
        parsed(*words.split())
    assert str(error.value) == sentence


def test_nothing_is_no_option() -> None:
    """False, None and an empty list ask for nothing, so nothing is left unread."""
    assert Toy.from_command({"cut": "never", "names": [], "plain": False, "table": None}).names == []
    with pytest.raises(ConvertError, match="gap"):
        Toy.from_command({"cut": "never", "gap": 30})  # the default, but asked for


PAIRS = [
    ("retailrocket", {"session": "visitor", "gap_minutes": 10}, "gap_minutes", "with {}session idle"),
    ("retailrocket", {"test_days": 3, "test_start": "2015-06-01"}, "test_days", "without {}test_start"),
    ("retailrocket", {"as_of": "latest", "test_days": 3}, "test_days", "with {}as_of split or event"),
    (
        "retailrocket",
        {"as_of": "latest", "test_start": "2015-06-01"},
        "test_start",
        "with {}as_of split or event",
    ),
    *(
        ("retailrocket", {"properties": [], name: value}, name, "where {}properties is not empty")
        for name, value in {
            "tree": "t.csv",
            "as_of": "event",
            "test_days": 3,
            "test_start": "2015-06-01",
            "features": ["790"],
            "all_items": True,
        }.items()
    ),
    *(
        (source, {"strict": True, "max_bad_rows": 0.1}, "max_bad_rows", "without {}strict")
        for source in SOURCES
    ),
    ("session-lists", {"all_items": True}, "all_items", "with {}item_features"),
    *(
        ("csv", {name: value}, name, "with {}items")
        for name, value in {
            "item_types": "a:float",
            "list_separator": "|",
            "all_items": True,
            "item_columns": "a,b",
        }.items()
    ),
    ("events", {"time_format": "%d.%m.%Y", "time_unit": "s"}, "time_format", "without {}time_unit"),
    ("events", {"event_by_file": True, "event": "kind"}, "event_by_file", "without {}event"),
    ("csv", {"session": "sid", "gap_minutes": 10}, "gap_minutes", "with {}session -"),
    ("csv", {"session_per_user": True, "gap_minutes": 10}, "gap_minutes", "without {}session_per_user"),
]


@pytest.mark.parametrize(("source", "options", "name", "why"), PAIRS)
def test_an_option_that_the_others_leave_unread_is_refused(
    source: str, options: dict[str, Any], name: str, why: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as error:
        check_options(source, options)
    assert str(error.value).startswith(
        f"convert_options.{name} is read only {why.format('convert_options.')}: "
    )
    with pytest.raises(ConvertError) as refused:
        room.convert(source, tmp_path, tmp_path / "out", **options)
    assert str(refused.value).startswith(f"--{name.replace('_', '-')} is read only ")


@pytest.mark.parametrize(
    ("source", "name"), [("diginetica", "property_scale"), ("retailrocket", "known_users")]
)
def test_a_generator_has_its_own_options(source: str, name: str) -> None:
    other = {"diginetica": "retailrocket", "retailrocket": "diginetica"}[source]
    assert check_generate({"source": other, name: 0.5}).own() == {name: 0.5}
    with pytest.raises(
        UsageError, match=f"^generate.{name} is read only with generate.source {other}: leave it out$"
    ):
        check_generate({"source": source, name: 0.5})


@pytest.mark.parametrize(
    ("source", "options", "sentence"),
    [
        ("diginetica", {"views": 5}, "convert_options.views is 5: it has to be the name of a file"),
        ("diginetica", {"nosuch": 1}, "unknown key nosuch in convert_options: it may hold all_items, "),
        ("diginetica", {"vews": "a"}, "unknown key vews in convert_options: did you mean views?"),
        ("diginetica", [1], "convert_options is [1]: write a mapping of options"),
        (
            "retailrocket",
            {"features": ["a:int"]},
            "convert_options.features is ['a:int']: 'a:int' is not NAME or ",
        ),
        (
            "csv",
            {"item_types": "price"},
            "convert_options.item_types is 'price': write NAME:TYPE, such as price:float",
        ),
        (
            "csv",
            {"last_date": "2300-01-01"},
            "convert_options.first_date is 1990-01-01 and convert_options.last_date ",
        ),
        ("digineticca", {}, "there is no converter for 'digineticca': did you mean diginetica?"),
        (5, {}, "there is no converter for 5: known are diginetica, events, "),
    ],
)
def test_a_configuration_is_told_where_it_is_wrong(source: Any, options: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        check_options(source, options)
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"source": 5}, "generate.source is 5: it has to be one of diginetica, retailrocket"),
        ({"scale": 1}, "generate.source is missing: it has to be one of diginetica, retailrocket"),
        ({"source": "diginetica", "out": "x"}, "unknown key out in generate: it may hold "),
        (
            {"source": "diginetica", "seed": 1.5},
            "generate.seed is 1.5: it has to be a whole number of 0 or more",
        ),
        ("diginetica", "generate is 'diginetica': write a mapping of options"),
    ],
)
def test_a_wrong_generator_is_told_where(options: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        check_generate(options)
    assert str(error.value).startswith(sentence)


def test_checks_and_help_load_no_engine() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from recbole_ext.convert import check_generate, check_options, sources\n"
        "from recbole_ext.convert.__main__ import main\n"
        f"[check_options(source, None) for source in {SOURCES!r}]; check_generate({{'source': 'diginetica'}})\n"
        "for words in (['--help'], ['csv', '--help'], ['synthetic', '--help']):\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main(words)\n"
        "print(sorted({'torch', 'recbole', 'pandas', 'polars', 'numpy'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_what_the_files_leave_unread_is_refused_too(tmp_path: Path) -> None:
    """Which files there are, and which columns they have, is known once they are looked at."""
    (tmp_path / "train-item-views.csv").write_text(
        "sessionId;userId;itemId;timeframe;eventdate\n1;NA;2;0;2016-04-01\n"
    )
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n1430622004000,1,view,2,\n"
    )
    log = tmp_path / "log.csv"
    log.write_text("session,item,ts\n1,a,1430622004\n")
    for source, raw, options, sentence in (
        ("diginetica", tmp_path, {"all_items": True}, "--all-items is read only with item features"),
        ("retailrocket", tmp_path, {"features": [790]}, "--features is read only with item properties"),
        ("retailrocket", tmp_path, {"as_of": "event"}, "--as-of is read only with item properties"),
        (
            "csv",
            log,
            {"gap_minutes": 10},
            "--gap-minutes is read only where no column names sessions, and session ",
        ),
        ("csv", log, {"events": "view,buy"}, "--events names view, buy, and no column of "),
    ):
        with pytest.raises(ConvertError) as error:
            room.convert(source, raw, tmp_path / "d", **options)
        assert str(error.value).startswith(sentence) and not (tmp_path / "d").exists()


# --- the command line


@pytest.mark.parametrize("source", [*SOURCES, "synthetic"])
def test_help_is_complete(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    from recbole_ext.convert import synthetic

    with pytest.raises(SystemExit) as left:
        main([source, "--help"], prog="recbole-ext convert")
    shown = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0 and shown.startswith(f"usage: recbole-ext convert {source}")
    options = synthetic.Options if source == "synthetic" else sources.load(source).Options
    for name, declared in options.keys().items():
        extra = declared.json_schema_extra
        if extra["door"] == "python":
            assert f"--{name}" not in shown.replace(f"--{name}-", "")
            continue
        assert options.spelt(name) in shown or extra["door"] == "positional", name
        assert " ".join(declared.description.split()).replace("- ", "-") in shown.replace("- ", "-"), name
    assert "(default 0.01)" in shown or source == "synthetic"


def test_help_lists_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    for source in SOURCES:
        assert f"{source} {sources.load(source).__doc__.splitlines()[0][:30]}" in shown
    assert "synthetic Generated raw logs" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["diginetica", "x", "--max-bad", "0.1"], "unknown option --max-bad: did you mean --max-bad-rows?"),
        (["diginetica", "x", "--gap=3"], "unknown option --gap "),
        (["retailrocket", "x", "--gap=3"], "unknown option --gap: did you mean --gap-minutes?"),
        (["retailrocket", "x", "--strickt"], "unknown option --strickt: did you mean --strict?"),
        (["diginetica", "x", "y"], "unexpected argument 'y'"),
        (["csv"], "the following arguments are required: EVENTS"),
        (["digineticca"], "argument SOURCE: 'digineticca' is not known: did you mean diginetica?"),
        (["zzz"], "argument SOURCE: 'zzz' is not known: write one of diginetica, events, "),
        (["synthetic", "nowhere"], "source is 'nowhere': it has to be one of diginetica, retailrocket"),
    ],
)
def test_a_wrong_word_is_one_sentence_and_exit_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: Any = main(words, prog="the door")
    except SystemExit as left:
        status = left.code
    said = capsys.readouterr()
    assert (status, said.out) == (2, "") and said.err.count("\n") == 1
    assert sentence in said.err


# --- sources of strangers


def stranger(monkeypatch: pytest.MonkeyPatch, module: types.ModuleType) -> None:
    monkeypatch.setitem(sys.modules, "their_shop", module)
    point = EntryPoint(name="their-shop", value="their_shop", group=sources.GROUP)
    monkeypatch.setattr(sources, "entry_points", lambda group: [point] if group == sources.GROUP else [])


def test_a_source_of_another_package_is_one_of_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import polars as pl

    from recbole_ext.convert.atomic import Conversion

    def read(raw: Path, options: Toy) -> Conversion:
        log = pl.DataFrame({"session_id": [1], "item_id": [2], "timestamp": [0]})
        return Conversion(log, None, [], [], options.recorded(), {}, {"events": 1})

    module = types.ModuleType("their_shop", "A shop of theirs.\n\nMore.")
    module.Options, module.read = Toy, read
    stranger(monkeypatch, module)
    assert "their-shop" in sources.names() and sources.sentence("their-shop") == "A shop of theirs."
    assert main(["their-shop", str(tmp_path), "--out", str(tmp_path / "d"), "--gap", "7"]) == 0
    assert (tmp_path / "d" / "d.inter").read_text().splitlines()[1:] == ["1\t2\t0"]
    manifest = room.convert("their-shop", tmp_path, tmp_path / "d", gap=7)
    assert manifest["converter"] == "their-shop" and manifest["options"]["gap"] == 7
    assert check_options("their-shop", {"gap": 7}).gap == 7


def test_a_stranger_that_cannot_be_used_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger(monkeypatch, types.ModuleType("their_shop"))
    with pytest.raises(ConvertError, match=r"source their-shop \(their_shop\) has no Options"):
        sources.load("their-shop")
    assert main(["their-shop", "raw"]) == 2
    assert "has no Options" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "has no Options" in " ".join(capsys.readouterr().out.split())


def test_every_file_of_the_folder_is_a_source() -> None:
    found = {path.stem.replace("_", "-") for path in Path(sources.__file__).parent.glob("[!_]*.py")}
    assert sorted(found) == sources._ours() == SOURCES
    for name in SOURCES:
        assert callable(sources.load(name).read)
        parser = argparse.ArgumentParser()
        sources.load(name).Options.add_arguments(parser)
        assert vars(parser.parse_args([])) == {}  # defaults stay in the class
