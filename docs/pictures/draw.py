"""Draws the pictures of docs/concepts.md: python docs/pictures/draw.py. Plain SVG on a white card, for light and dark.

Colours are of Okabe and Ito's palette, told apart by the colour-blind, and never say anything that words do not.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

INK, SOFT, LINE = "#1f2933", "#5b6770", "#c5ccd3"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#007a5a", "#a2487f"
TINTS = {BLUE: "#e3f0f8", ORANGE: "#fbeae0", GREEN: "#e0f2ec", PURPLE: "#f6e9f1", LINE: "#f3f5f7"}


def text(
    x: float,
    y: float,
    words: str,
    size: int = 14,
    colour: str = INK,
    anchor: str = "middle",
    bold: bool = False,
) -> str:
    """A line of text; y is its base line."""
    weight = ' font-weight="600"' if bold else ""
    style = f'font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight}'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def box(
    x: float, y: float, width: float, height: float, colour: str, lines: list[str], size: int = 14
) -> str:
    """A rounded box with lines of text, the first one bold."""
    style = f'rx="7" fill="{TINTS[colour]}" stroke="{colour}"'
    rect = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" {style}/>'
    top = y + height / 2 - (len(lines) - 1) * 9 + size / 3
    words = [
        text(x + width / 2, top + 18 * n, line, size if n == 0 else 12, INK if n == 0 else SOFT, bold=n == 0)
        for n, line in enumerate(lines)
    ]
    return rect + "".join(words)


def arrow(*points: tuple[float, float], colour: str = SOFT) -> str:
    """Straight lines through the points, with a head at the last one."""
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" marker-end="url(#head)"/>'


def page(width: int, height: int, title: str, *parts: str) -> str:
    """The text of one picture; its title is what a screen reader says."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, sans-serif"><title>{escape(title)}</title>'
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0 10 5 0 10z" fill="{SOFT}"/></marker></defs>'
        f'<rect width="{width}" height="{height}" rx="10" fill="#ffffff"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def walk() -> str:
    """An event from the log to a list."""
    steps = [
        (ORANGE, ["your log", "v017 views p042", "at 10:31"], "events.csv"),
        (ORANGE, ["convert", "a visit is a session;", "bad lines are counted"], "atomic_data/"),
        (BLUE, ["data", "p003 p010 → p042:", "guess p042"], "train, validate, test"),
        (BLUE, ["model", "a score for each", "item of the shop"], "weights"),
        (GREEN, ["scores", "p042 stands third", "of 5,699"], "ranks.npz"),
        (GREEN, ["evaluate", "HR@10 1, NDCG@10 .5", "with intervals"], "record.json"),
    ]
    parts = []
    for n, (colour, lines, file) in enumerate(steps):
        x, y = 20 + 250 * (n % 3), 24 + 150 * (n // 3)
        parts += [box(x, y, 200, 84, colour, lines), text(x + 100, y + 102, file, 12, SOFT)]
        if n % 3:
            parts.append(arrow((x - 50, y + 42), (x - 3, y + 42)))
    parts.append(arrow((720, 66), (746, 66), (746, 143), (8, 143), (8, 216), (17, 216)))
    parts += [
        box(20, 318, 200, 84, PURPLE, ["model folder", "weights, item names,", "no pickle, no data set"]),
        box(270, 318, 200, 84, PURPLE, ["recommend, serve", "lists for who is", "in the shop now"]),
        box(520, 318, 200, 84, PURPLE, ["update, promote", "new days join; is the", "new model as good?"]),
        arrow((220, 360), (267, 360)),
        arrow((470, 360), (517, 360)),
        text(120, 300, "a run leaves", 12, SOFT),
    ]
    return page(
        760,
        424,
        "An event walks from the log through conversion, data, model, scores and evaluation.",
        *parts,
    )


def splits() -> str:
    """Sessions on a time line, and the part each of them belongs to."""
    left, right, cuts = 90, 740, (470, 610)
    names = [
        ("training", left, cuts[0], BLUE),
        ("validation", *cuts, ORANGE),
        ("test", cuts[1], right, GREEN),
    ]
    parts = []
    for name, start, end, colour in names:
        parts.append(f'<rect x="{start}" y="34" width="{end - start}" height="216" fill="{TINTS[colour]}"/>')
        parts.append(text((start + end) / 2, 26, name, 15, colour, bold=True))
    sessions = [
        ("v1", [(110, 4), (350, 3), (640, 3)]),
        ("v2", [(190, 5), (505, 4)]),
        ("v3", [(250, 3), (440, 5)]),
        ("v4", [(140, 3), (555, 5)]),
        ("v5", [(665, 4)]),
    ]
    for n, (visitor, visits) in enumerate(sessions):
        y = 62 + 42 * n
        parts.append(text(70, y + 5, visitor, 13, SOFT, "end"))
        for start, events in visits:
            colour = next(colour for _, low, high, colour in names if low <= start < high)
            end = start + 16 * (events - 1)
            parts.append(
                f'<line x1="{start}" y1="{y}" x2="{end}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
            )
            parts += [
                f'<circle cx="{start + 16 * k}" cy="{y}" r="5" fill="{colour}"/>' for k in range(events)
            ]
    parts += [
        *(f'<line x1="{x}" y1="34" x2="{x}" y2="250" stroke="{INK}" stroke-dasharray="4 4"/>' for x in cuts),
        arrow((left, 268), (right, 268)),
        text((left + right) / 2, 288, "time", 13, SOFT),
        text(
            left,
            314,
            "A dot is an event, a bar a session. A session belongs to the part that it starts in, whole: the second",
            13,
            INK,
            "start",
        ),
        text(
            left,
            333,
            "one of v3 runs over the first line and is training all the same; v4's over the second is validation.",
            13,
            INK,
            "start",
        ),
    ]
    return page(
        760,
        350,
        "Sessions on a time line, cut into training, validation and test by where they start.",
        *parts,
    )


def pointer() -> str:
    """The three places that a next item may come from."""
    parts = [
        text(20, 34, "the visitor's earlier sessions", 13, SOFT, "start"),
        text(330, 34, "this session", 13, SOFT, "start"),
    ]
    for n, item in enumerate(("rug", "lamp", "chair", "lamp")):
        parts.append(box(20 + 66 * n, 46, 58, 36, PURPLE, [item]))
    for n, item in enumerate(("table", "sofa", "table")):
        parts.append(box(330 + 72 * n, 46, 64, 36, ORANGE, [item]))
    parts += [
        arrow((490, 86), (490, 122)),
        box(372, 124, 236, 52, LINE, ["state", "what the GRU made of the session"]),
        box(20, 226, 220, 64, PURPLE, ["point to the past", "lamp .6, chair .3, rug .1"]),
        box(270, 226, 220, 64, ORANGE, ["point to the session", "table .7, sofa .3"]),
        box(520, 226, 220, 64, BLUE, ["score every item", "shelf .2, table .1, rug .1 …"]),
        arrow((420, 178), (150, 223)),
        arrow((490, 178), (400, 223)),
        arrow((550, 178), (630, 223)),
        arrow((140, 84), (120, 223), colour=LINE),
        arrow((350, 84), (330, 223), colour=LINE),
        text(130, 314, "× g₂ = .2", 14, PURPLE, bold=True),
        text(380, 314, "× g₁ = .5", 14, ORANGE, bold=True),
        text(630, 314, "× g₀ = .3", 14, BLUE, bold=True),
        arrow((130, 322), (340, 352)),
        arrow((380, 322), (380, 352)),
        arrow((630, 322), (420, 352)),
        box(
            210,
            354,
            340,
            52,
            GREEN,
            ["table .38, sofa .15, lamp .12, shelf .06 …", "chance of each item to be the next one"],
        ),
        text(
            380,
            430,
            "The gate (g₀, g₁, g₂) is worked out from the state, adds up to 1, and is learnt with the rest.",
            13,
            INK,
        ),
    ]
    return page(
        760,
        446,
        "The next item is scored among all, or copied from the session or the visitor's past.",
        *parts,
    )


def once() -> str:
    """How often each part of the log is read in an experiment."""
    parts = [
        box(20, 40, 220, 74, BLUE, ["training", "read by every trial"]),
        box(20, 150, 220, 74, ORANGE, ["validation", "read by every trial"]),
        box(20, 260, 220, 74, GREEN, ["test", "read once a model and seed"]),
        box(
            300,
            60,
            190,
            140,
            LINE,
            ["search", "the same number of", "trials for every model;", "the best on validation"],
        ),
        box(550, 40, 190, 74, LINE, ["chosen.yaml", "written before any", "test part is read"]),
        box(550, 150, 190, 74, LINE, ["train again", "on training + validation,", "for the epochs found"]),
        box(550, 260, 190, 74, LINE, ["one reading", "noted in", "test_readings.csv"]),
        arrow((240, 77), (297, 100)),
        arrow((240, 187), (297, 160)),
        arrow((490, 110), (547, 80)),
        arrow((645, 116), (645, 147)),
        arrow((645, 226), (645, 257)),
        arrow((240, 297), (547, 297), colour=GREEN),
        text(395, 288, "nothing comes back from here", 13, GREEN),
    ]
    return page(
        760,
        360,
        "Trials read training and validation; the test part is read once, after the choice is written.",
        *parts,
    )


def pictures() -> dict[str, str]:
    """All pictures by the names of their files."""
    return {f"{draw.__name__}.svg": draw() for draw in (walk, splits, pointer, once)}


if __name__ == "__main__":
    for name, drawn in pictures().items():
        (Path(__file__).parent / name).write_text(drawn, encoding="utf-8")
