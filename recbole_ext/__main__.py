"""`python -m recbole_ext …`: the same as `recbole-ext …`."""

from recbole_ext.cli import main

if __name__ == "__main__":
    raise SystemExit(main(prog="python -m recbole_ext"))
