"""The front door: `python run.py --model=HRNNFeat --dataset=diginetica-demo`."""

import sys

from recbole_ext.interrupts import program


def main() -> int:
    """The exit code of the run."""
    from recbole_ext.cli import command  # takes a while, and an interrupt then is one of the program

    return command("run", sys.argv[1:], "python run.py")


if __name__ == "__main__":
    raise SystemExit(program(main))
