"""What the server takes and gives, as an OpenAPI document and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from recbole_ext.recommend.serve.question import EXAMPLE, Answered, Asked
from recbole_ext.settings.limits import Limits
from recbole_ext.version import __version__

OPEN = ("/", "/docs", "/openapi.json", "/health", "/ready")  # asked without a token
_REFUSED = {
    401: "no token, or a wrong one",
    408: "the body did not come in time",
    413: "the body is too large",
    422: "the request is no question, or asks for too much; the sentence says which",
    503: "too many requests wait, or no answer came in time: ask again after Retry-After seconds",
}
_GETS = {
    "/health": ("Whether the process answers", "text", (503,)),
    "/ready": ("Whether a request would be taken now", "text", (503,)),
    "/model": ("The run that answers now, and what became of the last swap", "json", (401,)),
    "/metrics": ("Counts and times, as Prometheus reads them", "text", (401,)),
    "/items": (
        "Items by id (`item`, may be repeated) or by the words of their features (`q`)",
        "json",
        (401, 422),
    ),
    "/openapi.json": ("This document", "json", ()),
    "/docs": ("The same as a page", "html", ()),
    "/": ("A page to try the model", "html", ()),
}
_TYPES = {"text": "text/plain", "json": "application/json", "html": "text/html"}


def document(limits: Limits, token: bool) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server with these limits; token: whether it wants one."""
    _, schemas = models_json_schema(
        [(Asked, "validation"), (Answered, "serialization")], ref_template="#/components/schemas/{model}"
    )
    named = schemas["$defs"]
    named["Asked"]["properties"]["k"]["maximum"] = limits.k
    named["Asked"]["properties"]["sessions"]["maxItems"] = limits.sessions
    named["Error"] = {
        "type": "object",
        "required": ["error"],
        "properties": {"error": {"type": "string", "description": "one sentence: what is wrong, what to do"}},
    }
    paths: dict[str, Any] = {
        "/recommend": {
            "post": {
                "summary": "The k best items of each session",
                "description": f"At most {limits.sessions:,} sessions, {limits.events:,} events in all, {limits.k:,} "
                f"items a list and {limits.body:,} bytes. Requests that come together are answered together.",
                "operationId": "recommend",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _ref("Asked")}},
                },
                "responses": {
                    "200": _content(
                        "lists in the order of the sessions", "application/json", _ref("Answered")
                    ),
                    **_refusals((401, 408, 413, 422, 503), token),
                },
                "security": [{"token": []}] if token else [],
            }
        }
    }
    for path, (said, kind, refused) in _GETS.items():
        paths[path] = {
            "get": {
                "summary": said,
                "operationId": path.strip("/").replace(".", "_") or "page",
                "responses": {
                    "200": _content(said, _TYPES[kind], {"type": "object" if kind == "json" else "string"}),
                    **_refusals(refused, token),
                },
                "security": [{"token": []}] if token and path not in OPEN else [],
            }
        }
    paths["/items"]["get"]["parameters"] = [
        _parameter("q", "words that the item's id or features hold", {"type": "string", "maxLength": 100}),
        _parameter("item", "ids", {"type": "array", "items": {"type": "string"}, "maxItems": 1000}),
        _parameter(
            "limit", "items at most", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
        ),
    ]
    components: dict[str, Any] = {"schemas": named}
    if token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "recbole_ext serve", "version": __version__},
        "paths": paths,
        "components": components,
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(said: str, kind: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": said, "content": {kind: {"schema": schema}}}


def _refusals(statuses: tuple[int, ...], token: bool) -> dict[str, Any]:
    return {
        str(status): _content(_REFUSED[status], "application/json", _ref("Error"))
        for status in statuses
        if token or status != 401
    }


def _parameter(name: str, said: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": said, "schema": schema}


def fields(schema: Mapping[str, Any], named: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name, type, default and sentence of each field of a schema, for the page."""
    return [
        {
            "name": name,
            "type": _type(own, named),
            "default": "required" if name in schema.get("required", ()) else _default(own),
            "said": own.get("description", ""),
        }
        for name, own in schema["properties"].items()
    ]


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _type(schema: Mapping[str, Any], named: Mapping[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        kinds = dict.fromkeys(_type(one, named) for one in schema["anyOf"] if one.get("type") != "null")
        return " or ".join(kinds)
    if "enum" in schema:
        return " or ".join(schema["enum"])
    kind = str(schema.get("type", "value"))
    if kind == "array":
        own = _type(schema.get("items", {}), named)
        return f"list of ({own})" if " or " in own else f"list of {own}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'], named)}"
    return kind


def parts(limits: Limits, token: bool) -> dict[str, Any]:
    """What the page of the document shows."""
    whole = document(limits, token)
    named = whole["components"]["schemas"]
    return {
        "version": __version__,
        "example": EXAMPLE,
        "limits": limits,
        "token": token,
        "recommend": whole["paths"]["/recommend"]["post"],
        "gets": [(path, own["get"]) for path, own in whole["paths"].items() if "get" in own],
        "schemas": [
            (name, named[name].get("description", ""), fields(named[name], named))
            for name in ("Asked", "AskedSession", "Answered", "AnsweredList")
        ],
    }
