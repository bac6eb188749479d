"""update: what may change of containers that exist.

Owns its options.
"""

from __future__ import annotations

from wherry.cli.limit_options import add_lifting_note, add_limit_options, lifting_limits_from
from wherry.cli.log_options import add_log_options, log_options_from
from wherry.cli.parser import Command
from wherry.cli.restart_options import add_restart_options, policy_from, requires_from
from wherry_protocol.errors import Conflict
from wherry_protocol.limits import UNLIMITED
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _configure(parser: Parser) -> None:
    parser.usage = f"{parser.prog} [OPTIONS] CONTAINER…"
    add = parser.add_argument
    add("--label", metavar="KEY[=VALUE]", action="append", default=[], help="add or replace a label")
    add("--label-rm", metavar="KEY", action="append", default=[], help="remove a label")
    add("--stop-signal", metavar="SIGNAL", help="what `stop` sends from now on")
    add("--stop-timeout", metavar="SECONDS", type=float, help="until SIGKILL, from now on")
    add_restart_options(parser)
    add_log_options(parser)
    parser.section("limits")
    add_limit_options(parser)
    add_lifting_note(parser)
    add("refs", metavar="CONTAINER", nargs="+", help="a name, an id, or the start of an id")


def _update(client: Client, args: Namespace) -> int:
    from wherry.cli.lifecycle import for_each
    from wherry.cli.options import labels

    given, limits = labels(args.label), lifting_limits_from(args)
    restart, requires, log = policy_from(args), requires_from(args), log_options_from(args)

    def act(ref: str) -> str:
        details = client.update(
            ref,
            labels=given,
            remove_labels=args.label_rm,
            stop_signal=args.stop_signal,
            stop_timeout=args.stop_timeout,
            limits=limits,
            restart=restart,
            requires=requires,
            log=log,
        )
        if limits.pids is not None and details.summary.state == "running":
            _tell_of_processes(client, ref, limits.pids)
        return ref

    return for_each(args.refs, act)


def _tell_of_processes(client: Client, ref: str, limit: int) -> None:
    """Say that there are more than there may be now: the kernel ends none of them."""
    from wherry.cli.main import complain

    try:
        found = client.stats(ref).pids
    except Conflict:
        return  # it has ended meanwhile, and all of them with it
    if found is not None and UNLIMITED < limit < found.current:
        complain(
            f"{ref} has {found.current} processes, more than {limit}: they go on, and no other can start"
        )


COMMANDS = {"update": Command(configure=_configure, execute=_update)}
