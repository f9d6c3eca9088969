"""`python -m recbole_ext --model=… --dataset=…`: the same as run.py, from an installed package."""

from recbole_ext.quick_start import main

if __name__ == "__main__":
    raise SystemExit(main())
