"""`python -m recbole_ext.convert SOURCE …`: a subcommand a source, a summary, one sentence for an error."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from recbole_ext.arguments import Arguments, exit_code
from recbole_ext.convert import converted, sources
from recbole_ext.errors import UsageError
from recbole_ext.interrupts import program
from recbole_ext.wording import several

PROG = "python -m recbole_ext.convert"
LONGEST = 300  # of a line of names
MOST_FILES = 8  # whose accounts are shown one by one; the manifest has all of them
SYNTHETIC = (
    "Generated raw logs in an owner's schema, with planted signals that a model can be caught missing."
)


def summary(manifest: Mapping[str, Any], out: Any) -> str:
    """What was done, for people: rows by file and reason, notes, counts and where the files are."""
    lines = []
    for file, rows in _by_file(manifest["rows"]).items():
        dropped = "".join(f"\n  dropped, {reason}: {count:,}" for reason, count in rows["dropped"].items())
        lines.append(f"{file}: {several(rows['read'], 'row')} read, {rows['kept']:,} kept{dropped}")
    lines += [f"guessed, {what}: {guess}" for what, guess in manifest.get("guessed", {}).items()]
    unread = manifest.get("unread", [])
    if unread:
        columns = "column" if len(unread) == 1 else "columns"
        lines.append(f"not read: {columns} {', '.join(map(repr, unread))}"[:LONGEST])
    lines += [f"note, {note}: {count:,}" for note, count in manifest["notes"].items()]
    lines.append(", ".join(_counted(name, count) for name, count in manifest["counts"].items()))
    files = ", ".join(output["name"] for output in manifest["outputs"])
    lines.append(f"written to {out}: {files}")
    return "\n".join(lines)


def _by_file(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The account of each file; of many parts, which are read alike, one of all."""
    if len(rows) <= MOST_FILES:
        return dict(rows)
    dropped: Counter[str] = Counter()
    for account in rows.values():
        dropped.update(account["dropped"])
    sums = {what: sum(account[what] for account in rows.values()) for what in ("read", "kept")}
    return {f"{len(rows)} files": {**sums, "dropped": dict(sorted(dropped.items()))}}


def _counted(name: str, count: Any) -> str:
    """A count with its plural `name`, which one has without its s: 1 session."""
    if isinstance(count, Mapping):
        return f"{_counted(name, sum(count.values()))} ({', '.join(f'{n:,} {kind}' for kind, n in count.items())})"
    one = f"{name.removesuffix('ies')}y" if name.endswith("ies") else name.removesuffix("s")
    return several(count, one, name) if isinstance(count, int) else f"{name} {count}"


def main(arguments: Sequence[str] | None = None, prog: str = PROG) -> int:
    """Run one converter; returns 0, or 2 after one sentence on stderr for an error that the user can mend.

    prog: what the user called, for the usage text. SystemExit(2) for a wrong command line, SystemExit(0) for --help.
    """
    words = sys.argv[1:] if arguments is None else arguments
    words = [*map(sources.new_name, words[:1]), *words[1:]]
    return exit_code(lambda: _main(words, prog))


def _main(words: Sequence[str], prog: str) -> int:
    given = _parser(prog, words).parse_args(words)
    try:
        given.run(given)
    except (UsageError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted: what was there before is unchanged, the same command begins anew", file=sys.stderr
        )
        return 130
    return 0


def _parser(prog: str, words: Sequence[str]) -> Arguments:
    """All sources as subcommands, with the options of those that the `words` of the command line name: to load a
    source takes a tenth of a second.
    """
    parser = Arguments(prog=prog, description="Raw logs to RecBole's atomic files.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="SOURCE")
    for source in sources.names():
        said = sources.sentence(source).replace("%", "%%")
        subparser = subparsers.add_parser(source, help=said, description=said)
        if source in words:
            _add_source(subparser, source)
    subparser = subparsers.add_parser("synthetic", help=SYNTHETIC, description=SYNTHETIC)
    if "synthetic" in words:
        from recbole_ext.convert import synthetic

        synthetic.add_arguments(subparser)
    return parser


def _add_source(parser: argparse.ArgumentParser, source: str) -> None:
    """RAW, --out and the source's options; a stranger's source that cannot be loaded says so when it is run."""
    parser.set_defaults(run=partial(_convert, source))
    try:
        options = sources.load(source).Options
    except UsageError:
        parser.add_argument("ignored", nargs=argparse.REMAINDER)
        return
    metavar, what = options.raw
    parser.add_argument("raw", type=Path, metavar=metavar, help=what, nargs="+" if options.several else None)
    default = options.out.format(source=source, name="NAME")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"the atomic files (default {default})")
    options.add_arguments(parser)


def _convert(source: str, given: argparse.Namespace) -> None:
    options = sources.load(source).Options.of_arguments(given)
    out = given.out or options.default_out(source, options.named_raw(given.raw))
    print(summary(converted(source, given.raw, out, options), out))


if __name__ == "__main__":
    sys.exit(program(main))
