"""Forms that a table of events or items comes in: delimited text, JSON lines, parquet and Arrow files, frames.

One file a form, each a `Table`; `find` makes tables of what the user names: files, folders, globs, frames.
"""

from __future__ import annotations
