"""The front door: `python run.py --model=HRNNFeat --dataset=diginetica-demo`."""

import sys

if __name__ == "__main__":
    try:
        from recbole_ext.cli import command

        code = command("run", sys.argv[1:], "python run.py")
    except KeyboardInterrupt:  # while the command line itself is imported
        print("interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code)
