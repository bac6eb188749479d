"""The options of `run`, `create` and `update` that say when a container is started: again, and after whom.

Owns their grammar. Must never check what the supervisor checks.
"""

from __future__ import annotations

from wherry_protocol.restarts import parse_policy
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry_protocol.restarts import RestartPolicy


def add_restart_options(parser: Parser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--restart",
        metavar="POLICY",
        help="when it has ended: no, on-failure[:N], always or unless-stopped (no)",
    )
    add(
        "--requires",
        metavar="CONTAINER",
        action="append",
        help="start that one first, and wait until it is healthy if it has a healthcheck",
    )


def policy_from(args: Namespace) -> RestartPolicy | None:
    """Return the policy, None when none is given. Raises BadRequest."""
    return None if args.restart is None else parse_policy(args.restart)


def requires_from(args: Namespace) -> tuple[str, ...] | None:
    """Return what is required, None when nothing is said; '' says that nothing is."""
    return None if args.requires is None else tuple([name for name in args.requires if name])
