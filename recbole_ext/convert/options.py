"""The options of a source, said once: a class of settings, and from it the checks, the command line, the manifest.

    class Options(ConvertOptions):
        session: Literal["idle", "visitor"] = option("idle", "what a session is")
        gap_minutes: Number = option(30, "a longer idle time ends one", gt=0, needs={"session": ["idle"]})

An option that another one leaves without effect is refused, by what its `needs` say.
"""

from __future__ import annotations

import argparse
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo

from recbole_ext.errors import ConvertError, UsageError
from recbole_ext.settings.base import Flag, Number, Settings, Text, Whole, allowed

__all__ = [
    "GIVEN",
    "LEFT_OUT",
    "NOT_EMPTY",
    "ConvertOptions",
    "DatedOptions",
    "Day",
    "Files",
    "Flag",
    "Number",
    "Options",
    "Text",
    "Whole",
    "Word",
    "Words",
    "day",
    "file",
    "flag",
    "option",
]

# What an option may need of another one, but for a list of values: that the user names it, does not, or names no
# empty list for it.
GIVEN, LEFT_OUT, NOT_EMPTY = "given", "left out", "not empty"


def _day(value: Any) -> Any:
    """A day as the command line and yaml write it; what is none unchanged, to be refused."""
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _word(value: Any) -> Any:
    """yaml takes names such as 790 for numbers."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _several(value: Any) -> Any:
    """One value stands for a list of it."""
    return [value] if isinstance(value, str | int | float | Path) else value


def _words(value: Any) -> Any:
    return [] if value is None else _several(value)


Day = Annotated[date, BeforeValidator(_day), Field(strict=True)]
Word = Annotated[Text, BeforeValidator(_word)]
Words = Annotated[list[Word], BeforeValidator(_words)]
Files = Annotated[list[Path], BeforeValidator(_several)]


def option(
    default: Any,
    sentence: str,
    *,
    needs: Mapping[str, str | list[Any]] | None = None,
    metavar: str | None = None,
    recorded: str | bool = True,
    door: Literal["option", "positional", "python"] = "option",
    says: str | None = None,
    **bounds: Any,
) -> Any:
    """A key of an options class: `settings.base.key`, and what converters add.

    needs: other options without which this one has no effect: {"session": ["idle"]}, {"items": GIVEN}. metavar: its
    value in the help. recorded: its name in the manifest, which then holds it only where it is not None; False: not
    there. door: how the command line takes it, "python" for not at all. says, and ge, gt, le, lt: as of `key`.
    """
    extra: dict[str, Any] = {
        "needs": dict(needs or {}),
        "metavar": metavar,
        "recorded": recorded,
        "door": door,
    }
    extra |= {} if says is None else {"says": says}
    return Field(default, description=sentence, json_schema_extra=extra, **bounds)


def file(sentence: str, default: Path | None = None, **more: Any) -> Any:
    """The option of a file, or of several."""
    return option(default, sentence, **{"metavar": "FILE", "says": "the name of a file", **more})


def day(default: date | None, sentence: str, **more: Any) -> Any:
    """The option of a day, UTC."""
    return option(default, sentence, metavar="DAY", says="a day as YYYY-MM-DD", **more)


def flag(name: str) -> str:
    """The option of the command line: gap_minutes -> --gap-minutes."""
    return "--" + name.replace("_", "-")


class Options(Settings):
    """Base of all options: read from a mapping or a command line, checked each alone and together, and recorded."""

    @classmethod
    def read(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """As `Settings.read`, and UsageError too for an option that the others leave without effect."""
        return super().read(values, path)._checked(lambda name: f"{path}.{name}" if path else name)

    @classmethod
    def from_command(cls, values: Mapping[str, Any]) -> Self:
        """The options of a command line, or of the function that stands for it: errors name --flags.

        values: what is given; keys that are no options are refused. Raises ConvertError.
        """
        try:
            return super().read(values)._checked(cls.spelt)
        except UsageError as error:
            name, _, rest = str(error).partition(" ")
            raise ConvertError(f"{cls.spelt(name) if name in cls.model_fields else name} {rest}") from None

    @classmethod
    def spelt(cls, name: str) -> str:
        """How the command line calls an option."""
        return name if _extra(cls.model_fields[name], "door", "option") == "positional" else flag(name)

    @classmethod
    def in_run(cls, name: str, value: Any = None) -> str:
        """How the command line of a run gives an option; value: a text or number, else as the help has it."""
        field = cls.keys()[name]
        shown = (
            value if isinstance(value, str | int | float) and not isinstance(value, bool) else _metavar(field)
        )
        return f'--convert_options="{{{name}: {"True" if _kind(field) is bool else shown}}}"'

    @classmethod
    def of_arguments(cls, arguments: argparse.Namespace) -> Self:
        """The options that `add_arguments` took from a command line. Raises ConvertError."""
        given = vars(arguments)
        return cls.from_command({name: given[name] for name in cls.model_fields if name in given})

    def given(self, name: str) -> bool:
        """Whether somebody asks for it: named, and not as nothing (None, False, an empty list)."""
        return name in self.model_fields_set and getattr(self, name) not in (None, False, [], {})

    def problem(self, spelt: Callable[[str], str]) -> str | None:
        """What is wrong about the options together, in one sentence with their names `spelt`; None: nothing."""
        for name in self.keys():
            for other, need in self._unmet(name) if self.given(name) else ():
                return f"{spelt(name)} is read only {_need(other, need, spelt)}: {_advice(need)}"
        return None

    def applies(self, name: str) -> bool:
        """Whether the other options leave this one an effect."""
        return not self._unmet(name)

    def _unmet(self, name: str) -> list[tuple[str, Any]]:
        needs = _extra(self.keys()[name], "needs", {})
        return [(other, need) for other, need in needs.items() if not self._meets(other, need)]

    def _meets(self, name: str, need: str | list[Any]) -> bool:
        value = getattr(self, name)
        if isinstance(need, list):
            return value in need
        return value != [] if need == NOT_EMPTY else self.given(name) == (need == GIVEN)

    def _checked(self, spelt: Callable[[str], str]) -> Self:
        problem = self.problem(spelt)
        if problem is not None:
            raise UsageError(problem)
        return self

    def recorded(self) -> dict[str, Any]:
        """The options as the manifest has them: a source's own first; days and files as text."""
        shared: set[str] = set().union(
            *(base.model_fields for base in type(self).__mro__[1:] if issubclass(base, Options))
        )
        own = [name for name in self.keys() if name not in shared]
        found = {}
        for name in dict.fromkeys([*own, *self.keys()]):
            known, value = _extra(self.keys()[name], "recorded", True), _plain(getattr(self, name))
            if known is True or (known and value is not None):
                found[name if known is True else known] = value
        return found

    @classmethod
    def add_arguments(cls, parser: argparse._ActionsContainer) -> None:
        """To a parser, or a group of one, an argument for each option.

        One that is not given is not in the namespace, so that defaults stay here.
        """
        for name, field in cls.keys().items():
            door = _extra(field, "door", "option")
            if door == "positional":
                parser.add_argument(name, metavar=_metavar(field), help=_help(field, cls.spelt))
            elif door == "option":
                parser.add_argument(
                    flag(name), default=argparse.SUPPRESS, help=_help(field, cls.spelt), **_takes(field)
                )


class ConvertOptions(Options):
    """Base of a source's options: what all of them share. A source's class has the name `Options`."""

    raw: ClassVar[tuple[str, str]] = ("RAW", "folder that holds the owner's files")
    out: ClassVar[str] = "atomic_data/{source}"  # where the files go without --out; {name}: that of RAW
    several: ClassVar[bool] = False  # whether RAW may be several paths, globs and, in Python, frames

    strict: Flag = option(False, "any bad row stops the conversion")
    max_bad_rows: Number = option(
        0.01,
        "bad rows skipped, as a share of a file's",
        ge=0,
        le=1,
        metavar="SHARE",
        needs={"strict": LEFT_OUT},
    )
    inter: Literal["text", "parquet", "both"] = option(
        "text",
        "events as NAME.inter, which RecBole reads, as NAME.inter.parquet, which large logs load from, or both",
    )

    @classmethod
    def named_raw(cls, raw: Any) -> Any:
        """What `read` gets: a path; where it may be several a list of paths and frames. Raises ConvertError."""
        if not cls.several:
            if isinstance(raw, list | tuple) and len(raw) == 1:
                raw = raw[0]
            if not isinstance(raw, str | Path):
                raise ConvertError(
                    f"this source reads one folder, not {type(raw).__name__}: name it by its path."
                )
            return Path(raw)
        named = raw if isinstance(raw, list | tuple) else [raw]
        if not named:
            raise ConvertError("no table of events is named: give a file, a folder or a frame.")
        return [Path(one) if isinstance(one, str | Path) else one for one in named]

    @classmethod
    def default_out(cls, source: str, raw: Any) -> Path:
        """Where the atomic files go that are given no other place; ConvertError where nothing gives them a name."""
        first = raw[0] if isinstance(raw, list) else raw
        while isinstance(first, Path) and any(mark in first.name for mark in "*?["):
            first = first.parent
        name = first.resolve().name.partition(".")[0] if isinstance(first, Path) else ""
        if "{name}" in cls.out and not name:
            raise ConvertError("nothing names the data set: say where the atomic files go with --out.")
        return Path(cls.out.format(source=source, name=name))


class DatedOptions(ConvertOptions):
    """Options of a source whose events lie within a range of days, the first and last of which a subclass names."""

    within: ClassVar[tuple[date, date] | None] = None  # days between which the range has to lie

    first_date: Day = day(date(1970, 1, 1), "earliest day of the log")
    last_date: Day = day(date(2099, 12, 31), "latest day of the log")

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last day."""
        return self.first_date, self.last_date

    def problem(self, spelt: Callable[[str], str]) -> str | None:
        """As of all options, and two days that are no range."""
        first, last = self.days
        low, high = self.within or (first, last)
        if low <= first <= last <= high:
            return super().problem(spelt)
        between = f" between {low} and {high}" if self.within else ""
        return f"{spelt('first_date')} is {first} and {spelt('last_date')} {last}: give two days in order{between}"


# --- one option


def _extra(field: FieldInfo, name: str, default: Any) -> Any:
    extra = field.json_schema_extra
    return extra.get(name, default) if isinstance(extra, dict) else default


def _need(other: str, need: str | list[Any], spelt: Callable[[str], str]) -> str:
    """What an option needs, in words that follow "read only"."""
    if isinstance(need, list):
        return f"with {spelt(other)} {' or '.join(str(value) for value in need if value is not None)}"
    if need == NOT_EMPTY:
        return f"where {spelt(other)} is not empty"
    return f"{'with' if need == GIVEN else 'without'} {spelt(other)}"


def _advice(need: str | list[Any]) -> str:
    if need == GIVEN:
        return "name that too, or leave it out"
    return "leave one of them out" if need == LEFT_OUT else "leave it out"


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else str(value) if isinstance(value, Path) else value


def _kind(field: FieldInfo) -> Any:
    """The type of a value without None and annotations: bool, int, list …, or a Literal's."""
    kind = field.annotation
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    if typing.get_origin(kind) is Annotated:
        kind = typing.get_args(kind)[0]
    origin = typing.get_origin(kind)
    return kind if origin in (None, Literal) else origin


def _takes(field: FieldInfo) -> dict[str, Any]:
    """How argparse takes the option's text; what is no number goes on as it is, for the class to refuse."""
    kind = _kind(field)
    if kind is bool:
        return {"action": "store_true"}
    taken = {"metavar": _metavar(field), "type": _number(kind) if kind in (int, float) else str}
    with_commas = _metavar(field).endswith(",…")  # one word, so that what follows is no value of it
    return {**taken, "nargs": "+"} if kind is list and not with_commas else taken


def _number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return read


def _metavar(field: FieldInfo) -> str:
    kind = _kind(field)
    words = (
        "{" + ",".join(map(str, typing.get_args(kind))) + "}"
        if typing.get_origin(kind) is Literal
        else "NUMBER"
    )
    return str(_extra(field, "metavar", None) or words)


def _help(field: FieldInfo, spelt: Callable[[str], str]) -> str:
    """The option's sentence, what it takes where its metavar does not say so, what it needs, its default."""
    said = [field.description or ""]
    if _kind(field) in (int, float):
        said.append(allowed(field))
    said += [_need(other, need, spelt) for other, need in _extra(field, "needs", {}).items()]
    default = _plain(field.default)
    shown = "" if default in (None, False, []) or field.is_required() else f" (default {default})"
    return f"{'; '.join(said)}{shown}".replace("%", "%%")
