"""start: containers that exist, in the background or (-a) in the foreground.

Owns its options.
"""

from __future__ import annotations

from wherry.cli.lifecycle import for_each
from wherry.cli.parser import Command
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _configure(parser: Parser) -> None:
    parser.add_argument("-a", "--attach", action="store_true", help="stay, and show its output")
    parser.add_argument("-i", "--interactive", action="store_true", help="stay, and pass standard input on")
    parser.add_argument("--detach-keys", metavar="KEYS", help="what leaves a terminal (ctrl-p,ctrl-q)")
    parser.add_argument("refs", metavar="CONTAINER", nargs="+", help="a name, an id, or the start of an id")


def _start(client: Client, args: Namespace) -> int:
    if args.attach or args.interactive:
        if len(args.refs) > 1:
            raise BadRequest("start -a: only one container at a time can be in the foreground")
        return _foreground(client, args.refs[0], args)

    def act(ref: str) -> str:
        client.start(ref)
        return ref

    return for_each(args.refs, act)


def _foreground(client: Client, ref: str, args: Namespace) -> int:
    from wherry.cli.attach import Attachment
    from wherry.cli.keys import parse_keys

    keys = parse_keys(args.detach_keys)
    spec = client.inspect(ref).spec
    if spec.tty:
        from wherry.cli.terminal import terminal_size

        terminal_size()
    stream = client.start_stream(ref)
    interactive = args.interactive and spec.stdin
    return Attachment(client, stream, interactive=interactive, tty=spec.tty, keys=keys).run()


COMMANDS = {"start": Command(configure=_configure, execute=_start)}
