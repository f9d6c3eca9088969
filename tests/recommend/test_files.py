"""Lists of the sessions of a file: the same whatever the format and the size of what is read at a time."""

import json
import sys

import pandas as pd
import polars as pl
import pytest

from recbole_ext import cli
from recbole_ext.errors import UsageError
from recbole_ext.recommend import files
from recbole_ext.recommend.files import recommend_file

SESSIONS = [[f"i{(7 * n + step) % 40}" for step in range(n % 4)] for n in range(23)]


def frame():
    rows = [(f"s{n}", i) for n, one in enumerate(SESSIONS) for i in one or [None]]
    return pd.DataFrame(rows, columns=["session", "item"])


def write(place, end):
    file = place / f"sessions{end}"
    if end == ".csv":
        frame().to_csv(file, index=False)
    elif end == ".parquet":
        rows = [(f"s{n}", i) for n, one in enumerate(SESSIONS) for i in one or [None]]
        pl.DataFrame(rows, schema=["session", "item"], orient="row").write_parquet(file)
    else:
        lines = [json.dumps({"session": f"s{n}", "items": one}) for n, one in enumerate(SESSIONS)]
        file.write_text("\n".join(lines) + "\n")
    return file


def read(file):
    """Session, item and score of each place of a file of lists."""
    if file.suffix == ".jsonl":
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        rows = [(x["session"], i, s) for x in lines for i, s in zip(x["items"], x["scores"])]
    elif file.suffix == ".csv":
        rows = pd.read_csv(file)[["session", "item", "score"]].itertuples(index=False)
    else:
        rows = pl.read_parquet(file).select("session", "item", "score").rows()
    return [(str(session), item, pytest.approx(score, rel=1e-5)) for session, item, score in rows]


@pytest.fixture
def small(monkeypatch):
    """A few sessions, a few rows at a time."""
    monkeypatch.setattr(files, "BLOCK", 3)
    monkeypatch.setattr(files, "ROWS", 4)


@pytest.mark.parametrize("source", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("out", [".csv", ".jsonl", ".parquet"])
def test_the_lists_of_a_file_are_those_of_its_sessions(asked_vstan, tmp_path, small, source, out):
    file = write(tmp_path, source)
    report = recommend_file(asked_vstan, file, tmp_path / f"lists{out}", 5)
    expected = asked_vstan.recommend(frame(), 5)
    assert read(tmp_path / f"lists{out}") == list(
        expected[["session", "item", "score"]].itertuples(index=False, name=None)
    )
    assert (report.sessions, report.without_known_item) == (23, 6)
    assert {f.name for f in tmp_path.iterdir()} == {file.name, f"lists{out}"}


def test_plain_lines_are_numbered(asked_vstan, tmp_path):
    (tmp_path / "a.jsonl").write_text('["i1", "i2"]\n\n[3]\n')
    report = recommend_file(asked_vstan, tmp_path / "a.jsonl", tmp_path / "b.jsonl", 2)
    assert [json.loads(line)["session"] for line in (tmp_path / "b.jsonl").read_text().splitlines()] == [1, 3]
    assert report.notes[0] == "1 event left out, as the model does not know the item: 3"


def test_a_history_file(asked_hrnn, asked_vstan, tmp_path):
    columns = ["session", "item", "time", "user"]
    now = pd.DataFrame([("a", "i1", 1000, "u"), ("b", "i1", 1000, "v")], columns=columns)
    past = pd.DataFrame([("p", "i30", 10, "u"), ("p", "i31", 20, "u")], columns=columns)
    now.to_csv(tmp_path / "now.csv", index=False)
    past.to_csv(tmp_path / "past.csv", index=False)
    recommend_file(asked_hrnn, tmp_path / "now.csv", tmp_path / "out.csv", 9, history=tmp_path / "past.csv")
    found = pd.read_csv(tmp_path / "out.csv")
    expected = asked_hrnn.recommend(now, 9, history=past)
    assert found["item"].tolist() == expected["item"].tolist()
    assert expected["score"][:9].tolist() != expected["score"][9:].tolist()
    with pytest.raises(UsageError, match="reads no visitor's past"):
        recommend_file(
            asked_vstan, tmp_path / "now.csv", tmp_path / "x.csv", 9, history=tmp_path / "past.csv"
        )
    assert not (tmp_path / "x.csv").exists()


def test_dates_as_text_are_times(asked_hrnn, tmp_path):
    """Each event's moment, UTC where no zone is named: the later one is the session's last."""
    for number, times in enumerate((("30", "20"), ("1970-01-01T00:00:30Z", "1970-01-01 01:00:20+01:00"))):
        rows = [f"a,{item},{time}" for item, time in zip(("i1", "i2"), times)]
        (tmp_path / f"{number}.csv").write_text("\n".join(["session,item,time", *rows]) + "\n")
        recommend_file(asked_hrnn, tmp_path / f"{number}.csv", tmp_path / f"lists{number}.csv", 5)
    assert (tmp_path / "lists0.csv").read_text() == (tmp_path / "lists1.csv").read_text()
    expected = asked_hrnn.recommend([["i2", "i1"]], 5)["item"].tolist()
    assert pd.read_csv(tmp_path / "lists1.csv")["item"].tolist() == expected


WRONG = [
    ("a.csv", "session,item,time\na,i1,28.11.2026\n", "hold '28.11.2026': write all as Unix seconds"),
    ("a.csv", "session,item,time\na,i1,2026-11-28\na,i1,\n", "an event has no time"),
    ("a.csv", "session,item\na,i1\nb,i1\na,i2\n", "session a has events of .* that do not stand together"),
    (
        "a.csv",
        "session,item\n" + "a,i1\nb,i1\nc,i1\nd,i1\ne,i1\nf,i1\n" * 2,
        "session a has events of .* together",
    ),
    ("a.csv", "visit,item\na,i1\n", "has no column session"),
    ("a.csv", "session,thing\na,i1\n", "no column item"),
    ("a.csv", "session,item\na\n", "line 2 has 1 fields"),
    ("a.csv", "", "has no column session"),
    ("a.csv", "session,item\n", "holds no session"),
    ("a.csv", b"session,item\na,\xff\n", "not written in UTF-8"),
    ("a.csv", 'session,item\na,"i1\nb,i2\nc,i3\n', "a.csv, line 2 cannot be read, as a field goes on"),
    ("a.csv", 'session,item\n\na,i1\nb,"i2\nc,"i3"\n', "line 4 cannot be read, as a field goes on"),
    ("a.csv", 'session,item,title\na,i1,"x\nb,i2,y"\n', "line 2 cannot be read, as a field goes on"),
    ("a.csv", 'session,item\na,i1\nb,"i2', "line 3 cannot be read, as unexpected end"),
    ("a.csv", '"session,item\na,i1\n', "line 1 cannot be read, as a field goes on"),
    ("a.csv", "session,item\n" + "a,i1\n" * 9 + ",i1\n", "row 10 of .*a.csv names no session"),
    (
        "a.csv",
        "session,item\na,9.0\nb,9.5\nc,\n",
        r"a.csv: none of the 2 items .* look like 9.0, 9.5, its own like i\d",
    ),
    (
        "a.jsonl",
        '["no"]\n' * 7 + "[]",
        "none of the 7 items is known to this model: yours look like no, its own",
    ),
    (
        "a.jsonl",
        '{"session": "a", "items": ["i1"]}\n' * 2,
        "session a comes twice in .*: write each session on one",
    ),
    ("a.jsonl", '["i1"]\n' * 7 + '{"session": "2", "items": ["i1"]}\n', "session 2 comes twice"),
    ("a.jsonl", "[1, 2\n", "line 1 is no JSON"),
    ("a.jsonl", '["i1"]\n{"item": []}\n', "line 2 is no session"),
    ("a.jsonl", '["i1"]\n{"items": [], "mood": 1}\n', "line 2 is no session"),
    ("a.jsonl", "[" * 100_000, "nested too deeply|no JSON"),
    ("a.parquet", "no parquet", "cannot be read"),
    ("a.txt", "", "ends in .csv"),
]


def test_quotation_marks_that_are_closed_are_read(asked_vstan, tmp_path):
    (tmp_path / "a.csv").write_text(
        'session,item,title\n"a, of now","i1","a ""b"" c"\n"a, of now",i2,5" wide\n'
    )
    recommend_file(asked_vstan, tmp_path / "a.csv", tmp_path / "b.jsonl", 3)
    (line,) = (tmp_path / "b.jsonl").read_text().splitlines()
    assert json.loads(line)["session"] == "a, of now"
    assert json.loads(line)["items"] == asked_vstan.recommend([["i1", "i2"]], 3)["item"].tolist()


@pytest.mark.parametrize(("name", "text", "said"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_read_leaves_no_lists(asked_vstan, tmp_path, small, name, text, said):
    file, out = tmp_path / name, tmp_path / "out.parquet"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=said):
        recommend_file(asked_vstan, file, out, 5)
    assert {f.name for f in tmp_path.iterdir()} == {name}


def test_places_that_are_not_there(asked_vstan, tmp_path):
    file = write(tmp_path, ".csv")
    with pytest.raises(UsageError, match="no file"):
        recommend_file(asked_vstan, tmp_path / "none.csv", tmp_path / "out.csv", 5)
    with pytest.raises(UsageError, match="No such file"):
        recommend_file(asked_vstan, file, tmp_path / "nowhere" / "out.csv", 5)
    with pytest.raises(UsageError, match="ends in"):
        recommend_file(asked_vstan, file, tmp_path / "out.xlsx", 5)


def test_without_polars_a_parquet_file_is_refused_before_any_work(asked_vstan, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "polars", None)
    said = "a .parquet file needs polars, which is not installed: pip install polars"
    file = write(tmp_path, ".csv")
    with pytest.raises(UsageError, match=said):
        recommend_file(asked_vstan, file, tmp_path / "out.parquet", 5)
    with pytest.raises(UsageError, match=said):
        recommend_file(asked_vstan, file.rename(tmp_path / "a.parquet"), tmp_path / "out.csv", 5)
    assert [f.name for f in tmp_path.iterdir()] == ["a.parquet"]


# --- the command --------------------------------------------------------------------------------------------


def call(capsys, *words):
    """Exit code, what is printed, and what goes to stderr."""
    code = cli.main(["recommend", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_the_command_prints_lists_by_name(hrnn, asked_hrnn, capsys):
    code, out, err = call(capsys, hrnn.folder, "--session=i1, i2", "--session", "i7,nope", "--k=3", "--why")
    assert code == 0 and "note: 1 event left out, as the model does not know the item: nope" in err
    expected = asked_hrnn.recommend([["i1", "i2"], ["i7"]], 3)
    shown = [line.split()[1] for line in out.splitlines() if line.strip()[:1].isdigit()]
    assert shown == expected["item"].tolist()
    assert "after i1, i2" in out and "category c" in out


def test_the_command_shows_examples_and_the_command_that_gives_more(hrnn, asked_hrnn, capsys):
    code, out, _ = call(capsys, hrnn.folder, "--examples", "--k=5")
    examples = asked_hrnn.examples
    tested = set(hrnn.ranks["session_token"])
    sessions = {tuple(own["item"]) for name, own in hrnn.log.groupby("session") if name in tested}
    assert len(examples) == 3 and all(any(s[: len(e)] == tuple(e) for s in sessions) for e in examples)
    assert (
        code == 0
        and out.count("after ") == 3
        and sum(line.strip()[:2] == "5 " for line in out.splitlines()) == 3
    )
    words = out.splitlines()[-1].split(" recommend ")[1].split()
    assert call(capsys, *words)[0] == 0


def test_the_command_writes_a_file(vstan, tmp_path, capsys):
    file = write(tmp_path, ".jsonl")
    words = (
        vstan.folder,
        file,
        "--k=4",
        "--out",
        tmp_path / "o.csv",
        "--where=price < 9",
        "--exclude=i3,i4",
        "--fill",
    )
    code, out, _ = call(capsys, *words, "--exclude-seen", "--empty=popular")
    assert code == 0 and out == f"23 lists written to {tmp_path / 'o.csv'}\n"
    found = pd.read_csv(tmp_path / "o.csv")
    assert found.groupby("session").size().tolist() == [4] * 23
    assert not set(found["item"]) & {"i3", "i4", "i20"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of a FILE"),
        (["--session=i1", "--examples"], "give one of a FILE"),
        (["sessions.csv"], "--out names the file"),
        (["--session=i1", "--out=a.csv"], "--out and --history are for"),
        (["--session=i1", "--k=0"], "k is 0"),
        (["--session=i1", "--where=prise<3"], "did you mean price"),
    ],
)
def test_a_wrong_command_ends_in_a_sentence(vstan, capsys, words, said):
    code, out, err = call(capsys, vstan.folder, *words)
    assert code == 2 and out == "" and said in err and err.count("\n") == 1


def test_a_source_without_sessions_leaves_what_stood_there(asked_hrnn, tmp_path):
    source, out = tmp_path / "none.csv", tmp_path / "lists.csv"
    source.write_text("session,item\n")
    out.write_text("kept")
    with pytest.raises(UsageError, match="holds no session"):
        recommend_file(asked_hrnn, source, out, 3)
    assert out.read_text() == "kept"
    with pytest.raises(UsageError, match="which is read"):
        recommend_file(asked_hrnn, source, source, 3)


def test_items_of_single_sessions_are_left_out_of_a_file_s_lists(asked_hrnn, tmp_path, small):
    source, out = write(tmp_path, ".csv"), tmp_path / "lists.csv"
    recommend_file(asked_hrnn, source, out, 3)
    first = {session: item for session, item, _ in reversed(read(out))}
    recommend_file(asked_hrnn, source, out, 3, exclude={"s5": [first["s5"]]})
    again = {session: item for session, item, _ in reversed(read(out))}
    assert {session for session in first if first[session] != again[session]} == {"s5"}
