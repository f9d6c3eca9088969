"""A report as one page: a single HTML file that needs nothing else, not even a network.

Whatever comes from outside (labels, settings, commands, file names) is escaped by Jinja's autoescape; the page's own
security policy lets no other script run and nothing be loaded: figures are in it, as data.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from recbole_ext.report.document import Report

TEMPLATES = Path(__file__).parent / "template"


def render_page(report: Report) -> str:
    """The page's HTML; the same report gives the same text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    templates.filters |= {"unbroken": unbroken, "data": as_data}
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8").strip()
    css = (TEMPLATES / "page.css").read_text(encoding="utf-8").strip()
    digest = hashlib.sha256(f"\n{script}\n".encode()).digest()  # as it stands between <script> and </script>
    page = templates.get_template("page.html").render(
        report=report, css=css, script=script, script_hash=base64.b64encode(digest).decode()
    )
    return page.strip() + "\n"


def unbroken(text: str) -> str:
    """The text with hard spaces in "p < .001" and "95 %", which no line should break."""
    return re.sub(r"(?<=p) ([<=≥]) (?=[.\d])", "\u00a0\\1\u00a0", re.sub(r"(?<=\d) (?=%)", "\u00a0", text))


def as_data(svg: str) -> str:
    """The SVG as an address that holds it: an image of its own, whose ids and styles meet no others."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
