"""The front door: `python run.py --model=HRNNFeat --dataset=diginetica-demo`."""

import sys

from recbole_ext.cli import command

if __name__ == "__main__":
    raise SystemExit(command("run", sys.argv[1:], "python run.py"))
