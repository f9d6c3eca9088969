"""What a class of settings is: pydantic models whose errors are one sentence, and what may be said of their keys.

A key is declared once, with `key(default, sentence, ...)`, in the class of whoever reads it:

    class SASRecFeatSettings(ModelSettings):
        n_layers: Whole = key(2, "transformer layers", ge=1)
        hidden_act: Literal["gelu", "relu"] = key("gelu", "activation of the feed-forward layers")

From the declaration come the check of a value, its error, the printed tables, the JSON Schema and the command line of
the converters. Values are compared strictly, as a text is no number and 1.5 is no whole one; flags take the words that
people write (no, off, yes, on, 0, 1).
"""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from recbole_ext.errors import UsageError, did_you_mean


class Role(enum.Enum):
    """What a key is part of: two runs compare if their protocols are equal; place never changes a result."""

    PROTOCOL = (
        "protocol"  # which events train, which targets are ranked, what they are worth, what is measured
    )
    MODEL = "model"  # the model's own settings
    TRAINING = "training"  # how it learns
    PLACE = "place"  # machine and folders, and how loudly


_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def flag(value: Any) -> Any:
    """True or False as people write them; anything else unchanged, to be refused."""
    if isinstance(value, bool):
        return value
    return _FLAGS.get(str(value).strip().lower(), value) if isinstance(value, str | int) else value


def _none_word(value: Any) -> Any:
    return "none" if value is None else value  # `--key=none` is read as yaml's null


def as_list(value: Any) -> Any:
    """A single word or number as a list of it; anything else unchanged."""
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


def each_once(values: list[Any]) -> list[Any]:
    """The values; ValueError where one stands twice."""
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"it names {twice[0]} twice")
    return values


Flag = Annotated[bool, Field(strict=True), BeforeValidator(flag)]
Whole = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(strict=True, min_length=1)]
Names = Annotated[list[Text], AfterValidator(each_once)]
OneOrNames = Annotated[
    list[Text], BeforeValidator(as_list), AfterValidator(each_once)
]  # a single word is a list of it
Kinds = Annotated[list[Text], BeforeValidator(as_list)]
Wholes = Annotated[
    list[Annotated[int, Field(strict=True, ge=1, le=1_000_000)]],  # nobody reads a longer list
    Field(min_length=1),
    BeforeValidator(as_list),
    AfterValidator(each_once),
]
# goes before a Literal that holds the word none: `hidden: Annotated[Literal["none", "all"], NoneWord]`
NoneWord = BeforeValidator(_none_word)


def key(
    default: Any,
    sentence: str,
    *,
    role: Role | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    says: str | None = None,
    of: Literal["rows", "measures"] | None = None,
    from_ranks: bool = False,
) -> Any:
    """A field of a settings class.

    default: the value where nobody gives one; `...`: there has to be one. sentence: what the key does, for people.
    role: where it is not that of the class. ge, gt, le, lt: bounds of a number. says: what is allowed, in words, where
    the type does not say it well. of: in the protocol, whether it says which rows train and are ranked, or only what is
    measured of them. from_ranks: what it asks for can be worked out from the ranks of a finished run, so
    it is no part of what identifies one.
    """
    told = (("role", role and role.value), ("says", says), ("of", of), ("from_ranks", from_ranks or None))
    extra: dict[str, Any] = {name: value for name, value in told if value is not None}
    named = (("ge", ge), ("gt", gt), ("le", le), ("lt", lt))
    given: dict[str, Any] = {name: value for name, value in named if value is not None}
    if default is not ...:
        given["default"] = default
    return Field(description=sentence, json_schema_extra=extra or None, **given)


class Settings(BaseModel):
    """Base of every class of settings; instances do not change.

    `role` of the class is that of its keys, where a key does not say its own.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        use_attribute_docstrings=False,
        validate_default=False,
        arbitrary_types_allowed=False,
        defer_build=True,  # a run needs some of the classes only
    )
    role: ClassVar[Role] = Role.PROTOCOL

    @classmethod
    def read(cls, values: Mapping[str, Any], path: str = "") -> Self:
        """The settings that `values` say, checked; what they do not hold has its default.

        path: of the mapping that they stand in, for the error, such as "cold_items".
        Raises UsageError for the first value that is wrong: the key, the value, what is allowed.
        """
        try:
            return cls.model_validate({str(name): plain(value) for name, value in values.items()})
        except ValidationError as error:
            raise UsageError(_sentence(cls, error.errors()[0], path)) from None

    @classmethod
    def keys(cls) -> dict[str, FieldInfo]:
        """Name to declaration, in the order in which they stand."""
        return cls.model_fields

    @classmethod
    def role_of(cls, name: str) -> Role:
        """Role of a key; KeyError where the class has no such key."""
        said = cls.says(name, "role")
        return Role(said) if said else cls.role

    @classmethod
    def says(cls, name: str, what: str) -> Any:
        """What the declaration of a key says beside type and default: role, of, from_ranks; None: nothing."""
        extra = cls.model_fields[name].json_schema_extra
        return extra.get(what) if isinstance(extra, dict) else None

    @classmethod
    def keys_of(cls, kind: str) -> tuple[str, ...]:
        """Keys that are declared to be `of` this kind."""
        return tuple(name for name in cls.model_fields if cls.says(name, "of") == kind)


class ModelSettings(Settings):
    """Base of a model's own settings; the class stands on top of the model's file.

    other_defaults: what its yaml sets of keys that are not its own, such as how it is trained.
    """

    role: ClassVar[Role] = Role.MODEL
    other_defaults: ClassVar[dict[str, Any]] = {}

    def check(self) -> None:
        """Raise UsageError where two of its keys cannot go together; called once all are known."""

    def check_beside(self, training: Any) -> None:
        """Raise UsageError where a key cannot go together with one of Training."""


def plain(value: Any) -> Any:
    """A value without numpy's types and without tuples, as yaml and JSON have it; what is neither stays."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


# --- what is allowed, in words ------------------------------------------------------------------------------


def allowed(field: FieldInfo) -> str:
    """What a key takes, in words that follow "it has to be": "a whole number of 1 or more"."""
    extra = field.json_schema_extra
    if isinstance(extra, dict) and "says" in extra:
        return str(extra["says"])
    return _words(field.annotation, list(field.metadata))


def _words(kind: Any, metadata: list[Any]) -> str:
    kind, more = _unwrap(kind)
    metadata = [*more, *metadata]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        words = [str(item) for item in arguments]
        return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
    if origin in (types.UnionType, typing.Union):
        parts = [_words(part, metadata) for part in arguments if part is not type(None)]
        empty = type(None) in arguments and parts != ["True or False"]
        return " or ".join(parts) + (", or ~ for none" if empty else "")
    if kind is bool:
        return "True or False"
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _bounds(metadata)
    if kind is str:
        return "text"
    if kind is Any:
        return "anything"
    if origin is list:
        return f"a list, each {_words(arguments[0], [])}" if arguments else "a list"
    if kind is list:
        return "a list"
    if origin is dict or kind is dict:
        return (
            f"a mapping, each value {_words(arguments[1], [])}"
            if arguments[1:] not in ((), (Any,))
            else "a mapping"
        )
    if isinstance(kind, type) and issubclass(kind, Settings):
        return f"a mapping of {', '.join(kind.model_fields)}"
    return "anything"


def _unwrap(kind: Any) -> tuple[Any, list[Any]]:
    if typing.get_origin(kind) is Annotated:
        inner, *metadata = typing.get_args(kind)
        return inner, [
            item for one in metadata for item in (one.metadata if isinstance(one, FieldInfo) else [one])
        ]
    return kind, []


def _bounds(metadata: list[Any]) -> str:
    found = {
        name: getattr(item, name)
        for item in metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(item, name)
    }
    low = found.get("ge", found.get("gt"))
    high = found.get("le", found.get("lt"))
    above, below = "gt" in found, "lt" in found
    if low is not None and high is not None:
        return (
            f" {'above' if above else 'from'} {_short(low)} {'and below' if below else 'to'} {_short(high)}"
        )
    if low is not None:
        return f" above {_short(low)}" if above else f" of {_short(low)} or more"
    if high is not None:
        return f" below {_short(high)}" if below else f" of {_short(high)} or less"
    return ""


def _short(number: float) -> str:
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)


def _sentence(cls: type[Settings], error: Mapping[str, Any], path: str) -> str:
    """One of pydantic's errors as a sentence of ours; the place in a union or a list is followed to the key."""
    names = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        owner, inner = _walk(cls, names[:-1])
        within = ".".join(part for part in (path, *inner) if part)
        return unknown_key(names[-1], owner.model_fields, within)
    owner, inner = _walk(cls, names)
    name = inner[-1] if inner else names[0]
    holder, _ = _walk(cls, inner[:-1])
    field = holder.model_fields[name]
    entry = _entry(field, names[names.index(name) + 1 :])
    shown = ".".join(part for part in (path, *inner, entry) if part)
    if error["type"] == "missing":
        return f"{shown} is missing: it has to be {allowed(field)}"
    context = error.get("ctx", {}).get("error")
    if isinstance(context, ValueError) and str(context):  # a validator of the class says it itself
        return f"{shown} is {error['input']!r}: {context}"
    value = error["input"]
    return f"{shown} is {value!r}: {_hint(field, value)}"


def _entry(field: FieldInfo, rest: list[str]) -> str:
    """The entry of a mapping that an error is about, empty for any other key; rest: of the path, behind the key."""
    kind, _ = _unwrap(field.annotation)
    kinds = (
        [_unwrap(part)[0] for part in typing.get_args(kind)]
        if typing.get_origin(kind) is not dict
        else [kind]
    )
    of_mapping = any(typing.get_origin(part) is dict for part in kinds)
    named = [part for part in rest if not part.startswith(("dict[", "list[", "literal["))]
    return named[0] if of_mapping and named and named[0] != "[key]" else ""


def _hint(field: FieldInfo, value: Any) -> str:
    words = allowed(field)
    if words == "True or False":
        return "write True or False"
    choices = choices_of(field.annotation)
    meant = did_you_mean(value, choices) if isinstance(value, str) and choices else ""
    return f"it has to be {words}{meant}"


def choices_of(kind: Any) -> list[str]:
    """Words among which a key's value is, empty where it is no choice of words."""
    kind, _ = _unwrap(kind)
    if typing.get_origin(kind) is Literal:
        return [item for item in typing.get_args(kind) if isinstance(item, str)]
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return [word for part in typing.get_args(kind) for word in choices_of(part)]
    return []


def _walk(cls: type[Settings], names: list[str]) -> tuple[type[Settings], list[str]]:
    """The innermost settings class on a path of an error, and the names of keys on it (no indices, no union parts)."""
    owner, inner = cls, []
    for name in names:
        if name not in owner.model_fields:
            continue
        inner.append(name)
        deeper = next(_classes(owner.model_fields[name].annotation), None)
        if deeper is not None:
            owner = deeper
    return owner, inner


def _classes(kind: Any) -> Iterator[type[Settings]]:
    kind, _ = _unwrap(kind)
    if isinstance(kind, type) and issubclass(kind, Settings):
        yield kind
        return
    for part in typing.get_args(kind):
        yield from _classes(part)


def unknown_key(name: str, known: Any, within: str = "") -> str:
    """The sentence for a key that nothing reads, with the nearest right name."""
    place = f" in {within}" if within else ""
    hint = did_you_mean(name, known) or f": it may hold {', '.join(sorted(known))}"
    return f"unknown key {name}{place}{hint}"


def heads_fit(size: int, heads: int) -> None:
    """Raise UsageError where attention heads cannot share out a state of this size."""
    if size % heads:
        raise UsageError(
            f"n_heads is {heads}, which does not divide the {size} of a state: choose another number"
        )
