"""`python -m recbole_ext.convert SOURCE …`: a subcommand a source, a summary, one sentence for an error."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from recbole_ext.convert import SOURCES, ConvertError, source_module


class _Parser(argparse.ArgumentParser):
    """argparse, but a wrong command line is answered in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (--help lists the options).\n")


def summary(manifest: Mapping[str, Any], out: Any) -> str:
    """What was done, for people: rows by file and reason, notes, counts and where the files are."""
    lines = []
    for file, rows in manifest["rows"].items():
        dropped = "".join(f"\n  dropped, {reason}: {count:,}" for reason, count in rows["dropped"].items())
        lines.append(f"{file}: {rows['read']:,} rows read, {rows['kept']:,} kept{dropped}")
    lines += [f"guessed, {what}: {guess}" for what, guess in manifest.get("guessed", {}).items()]
    lines += [f"note, {note}: {count:,}" for note, count in manifest["notes"].items()]
    lines.append(", ".join(_counted(name, count) for name, count in manifest["counts"].items()))
    files = ", ".join(output["name"] for output in manifest["outputs"])
    lines.append(f"written to {out}: {files}")
    return "\n".join(lines)


def _counted(name: str, count: Any) -> str:
    if isinstance(count, Mapping):
        return f"{sum(count.values()):,} {name} ({', '.join(f'{n:,} {kind}' for kind, n in count.items())})"
    return f"{count:,} {name}" if isinstance(count, int) else f"{name} {count}"


def main(arguments: Sequence[str] | None = None, prog: str = "python -m recbole_ext.convert") -> int:
    """Run one converter; returns 0, or 2 after one sentence on stderr for an error that the user can mend."""
    parser = _Parser(prog=prog, description="Raw logs to RecBole's atomic files.")
    subparsers = parser.add_subparsers(dest="source", required=True, metavar="SOURCE")
    for source in SOURCES:
        module = source_module(source)
        headline = (module.__doc__ or source).strip().splitlines()[0]
        module.add_arguments(subparsers.add_parser(source, help=headline, description=headline))
    options = vars(parser.parse_args(arguments))
    module = source_module(options.pop("source"))
    if hasattr(module, "default_out") and options["out"] is None:
        options["out"] = module.default_out(options["raw"])
    out = options["out"]
    try:
        if hasattr(module, "run"):  # a source that does something else than convert a folder, and says what
            module.run(argparse.Namespace(**options))
        else:
            print(summary(module.convert(options.pop("raw"), options.pop("out"), **options), out))
    except (ConvertError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted: what was there before is unchanged.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
