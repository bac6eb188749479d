"""The options of `run`, `create` and `update` that say what is kept of a container's output.

Owns how they are written; what they mean, and which values there are, is the protocol's.
"""

from __future__ import annotations

from wherry_protocol.log_options import NO_LOG_OPTIONS, parse_log_options
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry_protocol.log_options import LogOptions


def add_log_options(parser: Parser) -> None:
    """Add the options."""
    parser.add_argument(
        "--log-opt",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="max-size (64m; 0: no limit), max-file (4), compress (true), mode (blocking), max-buffer-size",
    )


def log_options_from(args: Namespace) -> LogOptions:
    """Return what is said of the log. Raises BadRequest."""
    return parse_log_options(args.log_opt) if args.log_opt else NO_LOG_OPTIONS
