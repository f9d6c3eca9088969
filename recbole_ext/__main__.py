"""`python -m recbole_ext …`: the same as `recbole-ext …`."""

import sys

if __name__ == "__main__":
    try:
        from recbole_ext.cli import main

        code = main(prog="python -m recbole_ext")
    except KeyboardInterrupt:  # while the command line itself is imported
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
