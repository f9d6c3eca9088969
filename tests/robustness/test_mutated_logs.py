"""2,000 mutated logs a source: each is converted to what a reading with pandas says, or answered by one sentence.

The reading also says which logs have to be refused, so that a converter that refused all of them would be wrong too.
"""

import math
import pickle

import numpy as np
import pytest
from harness import logs, readings
from harness.mutate import mutated

from recbole_ext.convert import ConvertError, convert

TRIES = 200  # a tenth
OPTIONS = {
    "diginetica": {},
    "retailrocket": {"properties": ["item_properties_part1.csv"]},  # the owner has two parts
    "csv": {"session": "sid", "user": "visitor", "item": "sku", "time": "ts", "event": "action"},
    "session-lists": {"item_features": "item_category.csv"},
}
COLUMNS = {
    "session-lists": ["session_id:token", "item_id:token", "timestamp:float", "split:token"],
}
WITH_USERS = ["session_id:token", "user_id:token", "item_id:token", "timestamp:float", "event:token"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    """A mutated log may be lost in a power cut."""
    monkeypatch.setattr("recbole_ext.convert.atomic.synced", lambda path: None)


@pytest.mark.parametrize("source", OPTIONS)
def test_a_mutated_log_is_read_right_or_refused(source, tenth, tally, tmp_path):
    with tally("2 mutated logs", f"convert {source}") as count:
        for number in range(tenth * TRIES, (tenth + 1) * TRIES)[:: count.step]:
            random = np.random.default_rng([number, len(source)])
            files = getattr(logs, source.replace("-", "_"))(random)
            done = _mutate(random, files)
            share = float(random.choice([0.01, 1.0, 1.0]))
            said = _wrong(source, files, share, tmp_path, count)
            if said:
                count.fail(f"log {number} ({done}), at most {share:g} bad: {said}")


def _mutate(random, files):
    """Mutate one of the files, the first most often; what was done."""
    name = next(iter(files)) if random.random() < 0.5 else str(random.choice(list(files)))
    if name.endswith(".txt"):
        done = _of_lists(random, files, name)
    else:
        mark = next((mark for mark in (b";", b"|") if mark in files[name].split(b"\n")[0]), b",")
        files[name], done = mutated(random, files[name], mark)
    return f"{name}: {done}"


def _of_lists(random, files, name):
    """A pickle with bytes flipped or cut, or with sessions changed."""
    content, chance = files[name], random.random()
    if chance < 0.25:
        place = int(random.integers(len(content)))
        files[name] = (
            content[:place] + bytes([content[place] ^ 1 << int(random.integers(8))]) + content[place + 1 :]
        )
        return f"bit flipped at {place}"
    if chance < 0.4:
        files[name] = content[: int(random.integers(len(content)))]
        return "cut"
    value = pickle.loads(content)
    lists = value if name.startswith("all") else value[0]
    place = int(random.integers(len(lists)))
    wrong = [-1, 1.5, "7", None, True, 10**18, 10**30, [1], [], "NA", float("nan"), 3, 0]
    change = int(random.integers(6))
    if change == 0:
        lists[place] = []
    elif change == 1:
        lists[place] = [*lists[place], wrong[int(random.integers(len(wrong)))]]
    elif change == 2:
        del lists[place]
    elif change == 3:
        lists.insert(int(random.integers(len(lists))), list(lists[place]))
    elif change == 4:
        random.shuffle(lists)
    else:
        lists[place] = tuple(lists[place][::-1])
    files[name] = pickle.dumps(value, protocol=int(random.integers(0, 5)))
    return f"sessions changed ({change})"


def _wrong(source, files, share, tmp_path, count):
    """What went wrong, in words; empty where nothing did, which is counted."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir(exist_ok=True)
    for name, content in files.items():
        (raw / name).write_bytes(content)
    try:
        expected = getattr(readings, source.replace("-", "_"))(files, share)
    except readings.Refused as refused:
        expected = refused
    place = raw / "events.csv" if source == "csv" else raw
    try:
        convert(source, place, out, max_bad_rows=share, **OPTIONS[source])
    except ConvertError as error:
        said = str(error)
        if "\n" in said or not said:
            return f"not one sentence: {said!r}"
        if not isinstance(expected, readings.Refused):
            return f"refused, but it can be read: {said}"
        count.right("refused")
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    if isinstance(expected, readings.Refused):
        return f"converted, but it has to be refused ({expected})"
    columns = COLUMNS.get(source, WITH_USERS)
    different = _different(out / "out.inter", columns, expected.inter)
    if expected.item is not None and not different:
        different = _different(out / "out.item", None, expected.item)
    if not different:
        count.right("converted")
    return different


def _different(file, columns, expected):
    """The first difference of an atomic file from the rows that it has to hold."""
    head, *lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if columns is not None and head.split("\t") != columns:
        return f"columns {head!r}"
    if len(lines) != len(expected):
        return f"{file.name} has {len(lines)} rows and not {len(expected)}"
    for line, row in zip(lines, expected):
        fields = line.split("\t")
        if len(fields) != len(row) or not all(map(_same, fields, row)):
            return f"{file.name} has {fields} and not {row}"
    return ""


def _same(field, value):
    if value is None or isinstance(value, str | int):
        return field == ("" if value is None else str(value))
    return math.isclose(float(field), value, rel_tol=1e-9) if field else math.isnan(value)
