"""`python -m recbole_ext.evaluate FOLDER …`: the old name of `recbole-ext compare`."""

import sys

from recbole_ext.cli import command
from recbole_ext.interrupts import program

if __name__ == "__main__":
    sys.exit(program(lambda: command("compare", sys.argv[1:], "python -m recbole_ext.evaluate")))
