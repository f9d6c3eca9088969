"""`export RUN --onnx --out FOLDER`: a folder that answers without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_ext.arguments import Arguments
from recbole_ext.errors import UsageError
from recbole_ext.records import check_folder


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="The model of a finished run as a folder that recbole_ext.load opens and asks without torch and "
        "RecBole.",
    )
    parser.add_argument("run", metavar="RUN", help="folder of a run, runs/…, or its model folder")
    parser.add_argument("--onnx", action="store_true", help="for onnxruntime, the one format that there is")
    parser.add_argument("--int8", action="store_true", help="look through the item vectors in 8 bits")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="the folder to write (default RUN/onnx, RUN/onnx-int8)"
    )
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext export") -> int:
    """Write the folder and say what it is; the exit code."""
    given = _parser(prog).parse_args(arguments)
    if not given.onnx:
        raise UsageError("say the format: --onnx is the one that there is")
    check_folder(given.run)
    from recbole_ext.recommend import require_torch
    from recbole_ext.run.model_place import place_of

    require_torch("a run is exported")
    place_of(given.run)
    from recbole_ext.recommend.export import export

    out = given.out or Path(given.run) / ("onnx-int8" if given.int8 else "onnx")
    made = export(given.run, out, given.int8)
    same = f"{made.same} of {made.checked} lists of made-up sessions are the run's"
    print(f"{made.folder}: {made.size / 1e6:,.1f} MB; {same}")
    print(f"ask it: recbole-ext recommend {made.folder} --session ITEM,ITEM")
    return 0
