"""Small logs that tests write: a ring that can be learnt by heart, and one of all that is odd."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RING = 10  # items of the ring; after item n comes item n + 1, after the last the first
LONGEST = 8  # MAX_ITEM_LIST_LENGTH of the contract's runs
UNKNOWN = ("new0", "new1")  # items of the test part that train nowhere


@dataclass(frozen=True)
class Session:
    """One session of a log; part: train, valid or test. user: empty where it is not known."""

    part: str
    items: tuple[str, ...]
    user: str = ""


def write_log(folder: Path, name: str, sessions: Iterable[Session]) -> None:
    """Write `<folder>/<name>/<name>.inter` and `.item`, with the parts in the column `split`; one second an event."""
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    lines = ["session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\tevent:token\tsplit:token"]
    seen: dict[str, None] = {}
    for number, session in enumerate(sessions):
        for step, item in enumerate(session.items):
            kind = "purchase" if step == len(session.items) - 1 else "view"
            time = 100 * number + step
            lines.append(f"s{number}\t{session.user}\t{item}\t{time}\t{kind}\t{session.part}")
            seen[item] = None
    (place / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    items = [f"{item}\tc{number % 3}" for number, item in enumerate(seen)]
    head = "item_id:token\tcategory:token"
    (place / f"{name}.item").write_text("\n".join([head, *items]) + "\n", encoding="utf-8")


def _walk(start: int, length: int) -> tuple[str, ...]:
    return tuple(f"i{(start + step) % RING}" for step in range(length))


def ring_log(validated: bool = True) -> list[Session]:
    """Walks around the ring, from every item, the same in every part: the last item says the next one."""
    train = [Session("train", _walk(start, 5)) for _ in range(3) for start in range(RING)]
    held_out = [Session("valid", _walk(start, 5)) for start in range(RING)] if validated else []
    return [*train, *held_out, *(Session("test", _walk(start, 5)) for start in range(RING))]


def odd_log(shuffled: bool = False) -> list[Session]:
    """Walks with all that is odd: sessions of one event, a returning user, items without training events, prefixes
    longer than `LONGEST`.

    The last two sessions are a long walk and its last `LONGEST` + 1 events, so their last rows have one prefix.
    shuffled: the same training and validation parts and the same items, but another test part.
    """
    train = [Session("train", _walk(start, 3 + start % 3), f"u{start % 4}") for start in range(2 * RING)]
    train += [Session("train", (f"i{n}",)) for n in range(3)]
    train += [Session("train", _walk(3, LONGEST + 4))]
    valid = [Session("valid", _walk(start, 4)) for start in range(4)]
    test = [
        Session("test", ("i1", UNKNOWN[0], "i2", UNKNOWN[1]), "u1"),
        Session("test", (UNKNOWN[1], UNKNOWN[0], "i4")),
        Session("test", ("i5",)),
        Session("test", (UNKNOWN[0],)),
        Session("test", ("i3", "i4", "i3", "i4", "i5"), "u2"),
    ]
    if shuffled:
        test = [Session("test", (*reversed(s.items), UNKNOWN[0], "i7", "i7"), "u3") for s in test]
    long = _walk(1, LONGEST + 5)
    return [*train, *valid, *test, Session("test", long), Session("test", long[-LONGEST - 1 :])]


def one_item_log() -> list[Session]:
    """Sessions of the one item that there is."""
    return [Session(part, ("i0",) * 3) for part in ("train", "train", "train", "valid", "test")]
