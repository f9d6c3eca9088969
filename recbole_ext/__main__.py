"""`recbole-ext …` and `python -m recbole_ext …`."""

from recbole_ext.interrupts import program


def main(prog: str = "recbole-ext") -> int:
    """The exit code of the command that sys.argv names."""
    return program(lambda: _main(prog))


def _main(prog: str) -> int:
    from recbole_ext.cli import main  # takes a while, and an interrupt then is one of the program

    return main(prog=prog)


if __name__ == "__main__":
    raise SystemExit(main("python -m recbole_ext"))
