"""The keys as people and editors read them: a table in the terminal, key tables of the docs, a JSON Schema of the yaml.

All are made from the classes; `recbole-ext settings --write` puts schema and tables where they stand.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from recbole_ext.settings.base import Settings, allowed
from recbole_ext.settings.run_settings import GENERAL

_MARK = re.compile(
    r"(<!-- settings: (?P<name>\w+)(?: \((?P<keys>[\w, ]+)\))? -->\n).*?(<!-- end -->)", re.DOTALL
)


def default_of(field: FieldInfo, other: Any = PydanticUndefined) -> str:
    """A default as yaml writes it; other: what a model's yaml says of it."""
    value = field.default if other is PydanticUndefined else other
    if value is PydanticUndefined:
        return ""
    if isinstance(value, Settings):
        value = value.model_dump(exclude_unset=True) or value.model_dump()
    if value is None:
        return "~"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False) if value.strip() != value else value
    return str(value) if not isinstance(value, list | dict) else json.dumps(value)


def terminal_table(model: str | None = None, model_class: Any = None, width: int = 120) -> str:
    """All keys, role by role: name, default, what each does and takes; a model's own go first where one is named."""
    parts = []
    other: Mapping[str, Any] = {}
    own: Iterable[str] = ()
    if model_class is not None:
        from recbole_ext.settings.of_model import settings_class

        cls = settings_class(model_class)
        other, own = cls.other_defaults, cls.model_fields
        rows = [_row(name, field) for name, field in cls.model_fields.items()]
        parts.append(_block(f"model: {model}'s own", rows or [("none", "", "", "")], width))
    for group in GENERAL:
        rows = [
            _row(name, field, other.get(name, PydanticUndefined))
            for name, field in group.model_fields.items()
            if name not in own
        ]
        parts.append(_block(f"{group.role.value}: {_about(group)}", rows, width))
    return "\n".join(parts)


def _about(group: type[Settings]) -> str:
    return {
        "protocol": "which events train, which targets are ranked, what is measured",
        "training": "how a model learns",
        "place": "machine and folders; never changes a result",
    }[group.role.value]


def _row(name: str, field: FieldInfo, other: Any = PydanticUndefined) -> tuple[str, str, str, str]:
    return name, default_of(field, other), allowed(field), field.description or ""


def _block(title: str, rows: list[tuple[str, str, str, str]], width: int) -> str:
    longest = max(len(row[0]) for row in rows)
    lines = [title]
    for name, default, takes, does in rows:
        shown = f"[{default}]" if default else ""
        text = f"{shown} {does}{f' ({takes})' if takes not in ('text', 'anything', '') else ''}".strip()
        first, *rest = textwrap.wrap(text, max(40, width - longest - 4)) or [""]
        lines.append(f"  {name:<{longest}}  {first}")
        lines += [f"  {'':<{longest}}  {line}" for line in rest]
    return "\n".join(lines) + "\n"


# --- docs ---------------------------------------------------------------------------------------------------


def markdown_table(cls: type[Settings], keys: Iterable[str] = ()) -> str:
    """A table of key, default and meaning; keys: those alone, in this order."""
    lines = ["| key | default | what it does |", "|---|---|---|"]
    for name in keys or cls.model_fields:
        field = cls.model_fields[name]
        does = (field.description or "").replace("|", "\\|")
        takes = allowed(field).replace("|", "\\|")
        lines.append(f"| `{name}` | `{default_of(field)}` | {does} ({takes}) |")
    return "\n".join(lines) + "\n"


def with_tables(text: str, classes: Mapping[str, type[Settings]]) -> str:
    """A page whose tables between `<!-- settings: NAME -->`, or `NAME (key, key)`, and `<!-- end -->` are made anew.

    Raises KeyError for a name that is no class of settings, and for a key that it does not have.
    """

    def made(found: re.Match[str]) -> str:
        keys = [key.strip() for key in (found["keys"] or "").split(",") if key.strip()]
        return f"{found[1]}{markdown_table(classes[found['name']], keys)}{found[4]}"

    return _MARK.sub(made, text)


# --- schema -------------------------------------------------------------------------------------------------


def json_schema(models: Mapping[str, type[Settings]]) -> dict[str, Any]:
    """JSON Schema of a yaml file of configs/: every key of protocol, training, place and of any of the models.

    A key of several models takes what any of them takes. What a class cannot say in a schema is checked at the door.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = {}  # key to its different types, by their text
    definitions: dict[str, Any] = {}
    for cls in (*GENERAL, *models.values()):
        schema = cls.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.get("$defs", {})
        for key, described in schema.get("properties", {}).items():
            kind = {part: value for part, value in described.items() if part not in _OURS}
            same = {part: value for part, value in kind.items() if part not in ("description", "default")}
            kinds.setdefault(key, {}).setdefault(json.dumps(same, sort_keys=True), kind)
    properties = {key: _either(list(found.values())) for key, found in kinds.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of recbole_ext",
        "description": "Made from the classes of settings: recbole-ext settings --write",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": dict(sorted(properties.items(), key=lambda item: item[0].lower())),
        "$defs": definitions,
    }


_OURS = ("role", "says", "of", "from_ranks", "title")


def _either(kinds: list[dict[str, Any]]) -> dict[str, Any]:
    if len(kinds) == 1:
        return kinds[0]
    return {"anyOf": kinds, "description": kinds[0].get("description", "")}


def write_all(configs: Path, docs: Iterable[Path], models: Mapping[str, type[Settings]]) -> list[Path]:
    """Write configs/schema.json and the tables of the docs; the files that have changed."""
    changed = []
    classes = {**models, **{group.__name__: group for group in GENERAL}}
    texts = {configs / "schema.json": schema_text(models)}
    texts |= {page: with_tables(page.read_text(encoding="utf-8"), classes) for page in docs}
    for file, text in texts.items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            changed.append(file)
    return changed


def schema_text(models: Mapping[str, type[Settings]]) -> str:
    """The text of configs/schema.json."""
    return json.dumps(json_schema(models), indent=1, ensure_ascii=False) + "\n"
