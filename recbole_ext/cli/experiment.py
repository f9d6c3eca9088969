"""`experiment FILE [--key=value …]`: what `run --experiment=FILE …` does, with the usage of its own."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_ext.cli import run
from recbole_ext.errors import UsageError

USAGE = """usage: {prog} FILE [--key=value ...]

  FILE                       a yaml file, or the name of one in configs/experiment/ (docs/experiments.md)
  --test=False               searches and choices only; a later call reads the test part
  --workers=4                processes side by side; --gpu_id=0,1 shares GPUs out among them
  --ray=ADDRESS              cells on the machines of a Ray cluster (docs/scale.md); --gpus_per_cell=.5
  --name=NAME                another folder for its records and its page
  --model=A,B --dataset=C --seed=1,2   only these of its models, data sets, seeds
  --key=value                any other key: of every run, over what the file says

A second call goes on where the first was stopped; a finished cell is not run again.
"""


def main(arguments: Sequence[str], prog: str = "recbole-ext experiment") -> int:
    """Run the experiment that the first argument names; the exit code, 1 where a cell has failed."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE.format(prog=prog))
        return 0 if arguments else 2
    file, *rest = arguments
    if file.startswith("--"):
        raise UsageError(f"the first argument names the experiment: {prog} demo {file}")
    return run.main([f"--experiment={file}", *rest], prog)
