"""The server's two pages, each one text that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from recbole_ext.recommend.serve import openapi
from recbole_ext.settings.limits import Limits

TEMPLATES = Path(__file__).parent / "template"


@dataclass(frozen=True)
class Page:
    """A page, and the headers that keep it to what is in it."""

    html: str
    headers: dict[str, str]


def demo() -> Page:
    """Pick items, see the list and what speaks for it."""
    return _page("demo.html", {"css": _css()})


def docs(limits: Limits, token: bool) -> Page:
    """What the server takes and gives."""
    return _page("docs.html", {"css": _css(), **openapi.parts(limits, token)})


def _css() -> str:
    return (TEMPLATES / "serve.css").read_text(encoding="utf-8").strip()


def _page(name: str, values: dict[str, object]) -> Page:
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    html = made.get_template(name).render(**values).strip() + "\n"
    sums = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    script = sums["script"] or "'none'"
    policy = (
        f"default-src 'none'; script-src {script}; style-src {sums['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(
        html,
        {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        },
    )
