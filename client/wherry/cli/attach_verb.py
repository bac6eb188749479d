"""attach: a running container in the foreground.

Owns its options; attach.py has the loop.
"""

from __future__ import annotations

import os

from wherry.cli.keys import parse_keys
from wherry.cli.parser import Command
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_STDIN = 0


def _configure(parser: Parser) -> None:
    add = parser.add_argument
    add("--logs", action="store_true", help="first what it has printed since its start")
    add("--no-stdin", action="store_true", help="look only: pass no input on")
    add("--detach-keys", metavar="KEYS", help="what leaves a terminal (ctrl-p,ctrl-q)")
    add("--sig-proxy", choices=("true", "false"), default="true", help="pass signals on (true)")
    add("ref", metavar="CONTAINER")


def _attach(client: Client, args: Namespace) -> int:
    from wherry.cli.attach import Attachment

    keys = parse_keys(args.detach_keys)
    spec = client.inspect(args.ref).spec
    interactive = spec.stdin and not args.no_stdin
    if spec.tty and interactive and not os.isatty(_STDIN):
        raise BadRequest(
            f"container {args.ref} has a terminal, and standard input is none",
            hint="use --no-stdin, or a terminal",
        )
    return Attachment(
        client,
        client.attach_stream(args.ref, logs=args.logs),
        interactive=interactive,
        tty=spec.tty,
        keys=keys,
        joining=True,
        sig_proxy=args.sig_proxy == "true",
    ).run()


COMMANDS = {"attach": Command(configure=_configure, execute=_attach)}
