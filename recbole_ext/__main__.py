"""`python -m recbole_ext --model=… --dataset=…`: the same as run.py, from an installed package."""

from recbole_ext.run.run import main

if __name__ == "__main__":
    raise SystemExit(main())
