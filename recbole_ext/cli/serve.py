"""`serve RUN`: lists over HTTP, by the model of a finished run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from recbole_ext.arguments import Arguments
from recbole_ext.cli.own_class import add_option, meet_for_lists
from recbole_ext.errors import UsageError
from recbole_ext.records import check_folder
from recbole_ext.settings.limits import Limits


def _parser(prog: str) -> Arguments:
    most = Limits()
    parser = Arguments(
        prog=prog,
        description="Answer over HTTP by the model of a finished run. SIGTERM finishes what is under way and stops; "
        "SIGHUP reads RUN again, which may be a link that leads to another run by now, and loses no request.",
    )
    parser.add_argument(
        "run", metavar="RUN", type=Path, help="folder of a run, its model folder, or a link to one"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1)")
    parser.add_argument("--port", type=_number(0, 65535), default=8000, help="default 8000; 0: any free one")
    parser.add_argument("--workers", type=_number(1, 64), default=1, help="processes (default 1)")
    parser.add_argument(
        "--threads",
        type=_number(1, 256),
        help="threads of a process's model (default: the cores, shared out)",
    )
    parser.add_argument("--device", default="cpu", help="where the model computes (default cpu)")
    token = parser.add_mutually_exclusive_group()
    token.add_argument(
        "--token", metavar="TOKEN", help="what a request must carry; other users see it among the processes"
    )
    token.add_argument("--token-file", metavar="FILE", type=Path, help="a file that holds the token")
    for name, low, said in (
        ("sessions", 1, "sessions of a request"),
        ("events", 1, "events of a request, of all its sessions and their visitors' pasts"),
        ("k", 1, "items of a list"),
        ("body", 100, "bytes of a request"),
        ("queue", 1, "requests that wait for the model; more are answered 503"),
        ("batch", 1, "sessions that the model is asked at once"),
    ):
        default = getattr(most, name)
        parser.add_argument(
            f"--max-{name}",
            type=_number(low, 10**9),
            default=default,
            metavar="N",
            help=f"{said} (default {default:,})",
        )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=most.timeout,
        metavar="SECONDS",
        help=f"for a request (default {most.timeout:g})",
    )
    parser.add_argument(
        "--grace",
        type=_number(1, 3600),
        default=int(most.grace),
        metavar="SECONDS",
        help=f"for what is under way at SIGTERM (default {most.grace:g})",
    )
    add_option(parser)
    return parser


def main(arguments: Sequence[str], prog: str = "recbole-ext serve") -> int:
    """Serve until told to stop; the exit code."""
    given = _parser(prog).parse_args(arguments)
    check_folder(given.run)
    from recbole_ext.recommend import check
    from recbole_ext.recommend.serve import require_packages

    require_packages()
    limits = Limits(
        sessions=given.max_sessions,
        events=given.max_events,
        k=given.max_k,
        body=given.max_body,
        queue=given.max_queue,
        batch=given.max_batch,
        timeout=given.timeout,
        grace=given.grace,
    )
    token = _token(given.token, given.token_file)
    check(given.run)
    meet_for_lists(given.run, given.model)

    from recbole_ext.recommend.serve.door import Serving

    serving = Serving(
        folder=Path(os.path.abspath(given.run)),  # a link stays one
        host=given.host,
        port=given.port,
        workers=given.workers,
        threads=given.threads or max(1, _cores() // given.workers),
        device=given.device,
        token=token,
        limits=limits,
    )
    if given.workers == 1:
        from recbole_ext.recommend.serve.process import serve_alone as serve
    else:
        from recbole_ext.recommend.serve.workers import serve_together as serve
    serve(serving)
    return 0


def _token(token: str | None, file: Path | None) -> str | None:
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"--token-file {file} cannot be read: write the token into it as text"
            ) from error
    if token is not None and not (
        token.isascii() and token.isprintable() and token.strip() and " " not in token
    ):
        raise UsageError("the token is empty or not plain text: write letters and digits, without spaces")
    return token


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError
        return value

    number.__name__ = f"whole number from {low:,} to {high:,}"
    return number


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise ValueError
    return value


_seconds.__name__ = "number of seconds"
