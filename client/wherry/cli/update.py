"""update: what may change of containers that exist.

Owns its options.
"""

from __future__ import annotations

from wherry.cli.limit_options import add_lifting_note, add_limit_options, lifting_limits_from
from wherry.cli.parser import Command
from wherry.cli.restart_options import add_restart_options, policy_from, requires_from
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("--label", metavar="KEY[=VALUE]", action="append", default=[], help="add or replace a label")
    add("--label-rm", metavar="KEY", action="append", default=[], help="remove a label")
    add("--stop-signal", metavar="SIGNAL", help="what `stop` sends from now on")
    add("--stop-timeout", metavar="SECONDS", type=float, help="until SIGKILL, from now on")
    add_restart_options(parser)
    add_limit_options(parser)
    add_lifting_note(parser)
    add("refs", metavar="CONTAINER", nargs="+", help="a name, an id, or the start of an id")


def _update(client: Client, args: Namespace) -> int:
    from wherry.cli.lifecycle import for_each
    from wherry.cli.options import labels

    given, limits = labels(args.label), lifting_limits_from(args)
    restart, requires = policy_from(args), requires_from(args)

    def act(ref: str) -> str:
        client.update(
            ref,
            labels=given,
            remove_labels=args.label_rm,
            stop_signal=args.stop_signal,
            stop_timeout=args.stop_timeout,
            limits=limits,
            restart=restart,
            requires=requires,
        )
        return ref

    return for_each(args.refs, act)


COMMANDS = {"update": Command(configure=_configure, execute=_update)}
