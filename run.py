"""The front door: `python run.py --model=HRNNFeat --dataset=diginetica-demo`."""

from recbole_ext.quick_start import main

if __name__ == "__main__":
    raise SystemExit(main())
