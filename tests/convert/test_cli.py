"""The convert command: summaries, exit codes, one sentence for an error, and nothing heavy imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_ext.convert as convert_room
from recbole_ext.convert import ConvertError, atomic
from recbole_ext.convert.__main__ import main

HEADER = "sessionId;userId;itemId;timeframe;eventdate\n"
ROOT = Path(convert_room.__file__).parents[2]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "raw"
    folder.mkdir()
    rows = [f"{session};NA;10;{session};2016-04-01\n" for session in range(199)]
    (folder / "train-item-views.csv").write_text(HEADER + "".join(rows) + "1;NA;x;0;2016-04-01\n")
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "recbole_ext.convert", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_summary(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["diginetica", str(raw), "--out", str(tmp_path / "d")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "train-item-views.csv: 200 rows read, 199 kept",
        "  dropped, itemId is not a whole number: 1",
        "note, no train-purchases.csv: 1",
        "note, no product-categories.csv: 1",
        "note, no products.csv: 1",
        "199 sessions, 0 users, 1 item, 199 events (199 view, 0 purchase)",
        f"written to {tmp_path / 'd'}: d.inter, d.item",
    ]


def test_options_reach_the_converter(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = str(tmp_path / "d")
    assert main(["diginetica", str(raw), "--out", out, "--strict"]) == 2
    assert "--strict allows none" in capsys.readouterr().err
    assert main(["diginetica", str(raw), "--out", out, "--max-bad-rows", "0.001"]) == 2
    assert "line 201" in capsys.readouterr().err
    assert main(["diginetica", str(raw), "--out", out, "--last-date", "2016-03-31"]) == 2
    assert "eventdate is out of range" in capsys.readouterr().err
    assert main(["diginetica", str(raw), "--out", out, "--products", "none.csv"]) == 2
    assert "none.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["diginetica", "nowhere"], "make demo"),
        (["diginetica", "{raw}", "--strict"], "line 201"),
        (
            ["diginetica", "{raw}", "--max-bad-rows", "many"],
            "--max-bad-rows is 'many': it has to be a number from 0 to 1",
        ),
        (["diginetica", "{raw}", "--out", "{raw}/train-item-views.csv"], "is a file"),
        (["diginetica", "{raw}", "--out", "{raw}/train-item-views.csv/d"], "train-item-views.csv"),
        (["digineticca", "{raw}"], "digineticca"),
        (["diginetica", "{raw}/train-item-views.csv"], "No train-item-views.csv"),
    ],
)
def test_errors_are_one_sentence_and_exit_code_2(raw: Path, arguments: list[str], says: str) -> None:
    done = run(*(argument.format(raw=raw) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and "Traceback" not in done.stderr


def test_an_interrupt_is_one_sentence_and_leaves_the_old_files(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "d"
    assert main(["diginetica", str(raw), "--out", str(out)]) == 0
    old = {path.name: path.read_bytes() for path in out.iterdir()}
    (raw / "train-item-views.csv").write_text(HEADER + "1;NA;10;0;2016-04-01\n")
    write_table = atomic._write_table

    def interrupted(path: Path, *rest: object) -> dict:
        if path.suffix == ".item":
            raise KeyboardInterrupt
        return write_table(path, *rest)

    monkeypatch.setattr(atomic, "_write_table", interrupted)
    assert main(["diginetica", str(raw), "--out", str(out)]) == 130
    assert "unchanged" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == old
    assert sorted(os.listdir(tmp_path)) == ["d", "raw"]


def test_converting_imports_neither_recbole_nor_torch(raw: Path, tmp_path: Path) -> None:
    code = (
        "import sys, recbole_ext; "
        f"recbole_ext.convert('diginetica', {str(raw)!r}, {str(tmp_path / 'd')!r}); "
        "import recbole_ext.convert.sources as s; [s.load(name) for name in s.names()]; "
        "print(sorted({'torch', 'recbole', 'pandas'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_unknown_source_gets_a_suggestion(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="did you mean diginetica"):
        convert_room.convert("diginetika", raw, tmp_path / "d")


def test_the_public_function_outlives_the_import_of_its_package(raw: Path, tmp_path: Path) -> None:
    """`recbole_ext.convert` is a function, then, once imported, the package of that name."""
    call = f"recbole_ext.convert('diginetica', {str(raw)!r}, {str(tmp_path / 'd')!r})['counts']['sessions']"
    code = f"import recbole_ext; print({call}); print({call})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("199\n199\n", "")
