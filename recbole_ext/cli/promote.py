"""`promote NEW OLD`: may the new run's model take the place of the old one's? The exit code says it. numpy only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from recbole_ext.arguments import Arguments
from recbole_ext.errors import UsageError
from recbole_ext.evaluate.promotion import MARGIN, OPEN, PROMOTE, SLICE_MARGIN, WORSE, promotion
from recbole_ext.files import write_text
from recbole_ext.report.text import promotion_text

CODES = {PROMOTE: 0, WORSE: 3, OPEN: 4}


def _parser(prog: str) -> Arguments:
    parser = Arguments(
        prog=prog,
        description="Is the new run's model worse than the old one's on the same test targets? Exit code 0: promote "
        "it; 3: it is worse, or a slice has fallen; 4: the targets are too few to tell, so keep the old one.",
    )
    parser.add_argument("new", metavar="NEW", help="folder of the candidate's run")
    parser.add_argument("old", metavar="OLD", help="folder of the run whose model is in use")
    parser.add_argument(
        "--metric", default="ndcg@10", metavar="NAME@K", help="what must not fall (default ndcg@10)"
    )
    parser.add_argument(
        "--margin",
        type=float,
        default=MARGIN,
        metavar="SHARE",
        help=f"smallest fall that matters, a share of the old value; 0: new has to be better (default {MARGIN:g})",
    )
    parser.add_argument(
        "--slice",
        action="append",
        default=[],
        metavar="DIMENSION[=SLICE]",
        help="a slice that must be shown not to fall, as in item=cold or visitor; may be repeated",
    )
    parser.add_argument(
        "--slice-margin",
        type=float,
        default=SLICE_MARGIN,
        metavar="SHARE",
        help=f"smallest fall of a slice that matters (default {SLICE_MARGIN:g})",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext promote") -> int:
    """Print what was found; the exit code."""
    given = _parser(prog).parse_args(arguments)
    try:
        found = promotion(given.new, given.old, given.metric, given.margin, given.slice, given.slice_margin)
        print(promotion_text(found))
        if given.json is not None:
            write_text(given.json, json.dumps(found, indent=1, allow_nan=False) + "\n")
    except OSError as error:
        raise UsageError(str(error)) from error
    return CODES[found["verdict"]]
