"""Mutations of a delimited log: a header line and rows, as bytes, made wrong in ways that files in the wild are."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import numpy as np

Random = np.random.Generator
Lines = list[bytes]

WORDS = [b"", b"NA", b"null", b"nan", b"None", b"N/A", b"-", b"0", b"\\N", b"true"]
NUMBERS = [
    *(
        b"1.5",
        b"-1",
        b"-0",
        b"1e3",
        b"007",
        b"+7",
        b" 7 ",
        b"9223372036854775808",
        b"99999999999999999999999",
    ),
    *(b"1433221332", b"1433221332117", b"1433221332117.0", b"1433221332.25", b"inf", b"0x10", b"1 0", b"1,5"),
    *("١٢".encode(), b"2015-06-02", b"2015-06-02T05:02:12", b"2016-05-30", b"2016-02-30"),
]
MARKS = [b'"', b"'", b"\t", b"\x00", b"\x1f", b"\\", b"\xff", "é".encode(), b"\xc2\xa0", b"\r", b" "]


def _some(random: Random, lines: Lines) -> list[int]:
    """Places of one row or a few, the header aside."""
    if len(lines) < 2:
        return []
    return [int(place) for place in random.integers(1, len(lines), int(random.choice([1, 1, 2, 5])))]


def _in_columns(change: Callable[[Random, list[bytes]], None]) -> Callable[[Random, Lines, bytes], None]:
    """The same change of the list of fields in every line; it draws the same each time."""

    def mutate(random: Random, lines: Lines, mark: bytes) -> None:
        seed = int(random.integers(2**32))
        for place, line in enumerate(lines):
            fields = line.split(mark)
            change(np.random.default_rng(seed), fields)
            lines[place] = mark.join(fields)

    return mutate


def _in_a_field(value: Callable[[Random, bytes], bytes]) -> Callable[[Random, Lines, bytes], None]:
    def mutate(random: Random, lines: Lines, mark: bytes) -> None:
        for place in _some(random, lines):
            fields = lines[place].split(mark)
            chosen = int(random.integers(len(fields)))
            fields[chosen] = value(random, fields[chosen])
            lines[place] = mark.join(fields)

    return mutate


def _pick(random: Random, values: list[bytes]) -> bytes:
    return values[int(random.integers(len(values)))]


def _dropped(random: Random, fields: list[bytes]) -> None:
    if len(fields) > 1:
        del fields[int(random.integers(len(fields)))]


def _doubled(random: Random, fields: list[bytes]) -> None:
    fields.append(fields[int(random.integers(len(fields)))])


def _swapped(random: Random, fields: list[bytes]) -> None:
    one, two = (int(place) for place in random.integers(len(fields), size=2))
    fields[one], fields[two] = fields[two], fields[one]


def _marked(random: Random, field: bytes) -> bytes:
    place = int(random.integers(len(field) + 1))
    return field[:place] + _pick(random, MARKS) + field[place:]


def _cut(random: Random, lines: Lines, mark: bytes) -> None:
    for place in _some(random, lines):
        lines[place] = lines[place][: int(random.integers(len(lines[place]) + 1))]


def _shuffled(random: Random, lines: Lines, mark: bytes) -> None:
    rows = lines[1:]
    lines[1:] = [rows[place] for place in random.permutation(len(rows))]


def _repeated(random: Random, lines: Lines, mark: bytes) -> None:
    for place in _some(random, lines):
        lines.insert(int(random.integers(1, len(lines) + 1)), lines[place])


def _blank(random: Random, lines: Lines, mark: bytes) -> None:
    for place in _some(random, lines):
        lines.insert(place, _pick(random, [b"", b" ", b"\r", b"  "]))


def _without_rows(random: Random, lines: Lines, mark: bytes) -> None:
    first = int(random.integers(len(lines)))
    del lines[first : first + int(random.integers(1, len(lines) + 1))]


def _quoted(random: Random, lines: Lines, mark: bytes) -> None:
    """All fields of all lines, or of some, in quotation marks; some hold a separator then."""
    chosen = range(len(lines)) if random.random() < 0.5 else _some(random, lines)
    inside = mark if random.random() < 0.3 else b""
    for place in dict.fromkeys(chosen):
        fields = [b'"' + field + b'"' for field in lines[place].split(mark)]
        if place and inside:
            chosen_field = int(random.integers(len(fields)))
            fields[chosen_field] = fields[chosen_field][:-1] + inside + b'x"'
        lines[place] = mark.join(fields)


def _other_separator(random: Random, lines: Lines, mark: bytes) -> None:
    other = _pick(random, [b";", b",", b"\t", b"|"])
    for place in range(len(lines)) if random.random() < 0.3 else _some(random, lines):
        lines[place] = lines[place].replace(mark, other)


OF_LINES: dict[str, Callable[[Random, Lines, bytes], None]] = {
    "column dropped": _in_columns(_dropped),
    "column twice": _in_columns(_doubled),
    "columns swapped": _in_columns(_swapped),
    "lines cut": _cut,
    "quotation marks": _quoted,
    "a mark within a field": _in_a_field(_marked),
    "a field without value": _in_a_field(lambda random, field: _pick(random, WORDS)),
    "another number": _in_a_field(lambda random, field: _pick(random, NUMBERS)),
    "lines in another order": _shuffled,
    "lines twice": _repeated,
    "blank lines": _blank,
    "rows gone": _without_rows,
    "another separator": _other_separator,
}


def _flipped(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for place in random.integers(len(changed), size=int(random.choice([1, 2, 8]))) if changed else ():
        changed[int(place)] ^= 1 << int(random.integers(8))
    return bytes(changed)


def _cut_short(random: Random, content: bytes) -> bytes:
    return content[: int(random.integers(len(content) + 1))]


def _packed(random: Random, content: bytes) -> bytes:
    packed = gzip.compress(content, mtime=0)
    chance = random.random()
    if chance < 0.5:
        return _cut_short(random, packed)
    return _flipped(random, packed) if chance < 0.8 else packed


OF_BYTES: dict[str, Callable[[Random, bytes], bytes]] = {
    "torn last line": lambda random, content: content[: -1 - int(random.integers(12))],
    "byte order mark": lambda random, content: (
        _pick(random, [b"\xef\xbb\xbf", b"\xff\xfe", b"\xef\xbb"]) + content
    ),
    "Windows line ends": lambda random, content: content.replace(b"\n", b"\r\n"),
    "bits flipped": _flipped,
    "cut short": _cut_short,
    "packed, and cut or flipped": _packed,
}


def mutated(random: Random, content: bytes, mark: bytes) -> tuple[bytes, str]:
    """The content with one to three mutations, and their names."""
    lines = content.rstrip(b"\n").split(b"\n")
    names = [str(name) for name in random.choice([*OF_LINES, *OF_BYTES], int(random.choice([1, 1, 2, 3])))]
    for name in (name for name in names if name in OF_LINES):
        OF_LINES[name](random, lines, mark)
        lines = lines or [b""]
    content = b"\n".join(lines) + b"\n"
    for name in dict.fromkeys(sorted(name for name in names if name in OF_BYTES)[::-1]):
        content = OF_BYTES[name](random, content)
    return content, " + ".join(names)
