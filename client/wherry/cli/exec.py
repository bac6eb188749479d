"""exec: a command in a running container.

Owns its options, and which of our standard streams the command may have itself.
"""

from __future__ import annotations

import os
import stat
from functools import partial

from wherry.cli.options import environment
from wherry.cli.parser import Command
from wherry.streams import DEVNULL, PIPE, STDOUT
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry.process import Process

_NULL = os.makedev(1, 3)


def stream_for(fd: int) -> int:
    """Return what the command gets for one of our standard streams: the descriptor itself, PIPE or DEVNULL.

    Itself is only a pipe or a socket, in which no more can be done than to read and write. A terminal could
    be read at any later time; a file could be given another mode or owner, or be opened again for writing.
    Those stay here, and we move the bytes.
    """
    try:
        status = os.fstat(fd)
    except OSError:
        return DEVNULL  # we were started without it
    if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
        return fd
    return DEVNULL if stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL else PIPE


def _output_streams() -> tuple[int, int]:
    out, err = stream_for(1), stream_for(2)
    if out == err == PIPE and os.path.sameopenfile(1, 2):
        err = STDOUT  # one pipe keeps the order
    return out, err


def _configure(parser: Parser) -> None:
    parser.stop_at_operand("CONTAINER COMMAND [ARG…]")
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="pass standard input on")
    add("-t", "--tty", action="store_true", help="give the command a terminal")
    add("-d", "--detach", action="store_true", help="in the background: what it prints is dropped")
    add(
        "-e",
        "--env",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="set a variable, or pass ours on",
    )
    add("--env-file", metavar="FILE", action="append", default=[], help="set variables from a file's lines")
    add("-w", "--workdir", metavar="DIR", help="working directory (the container's)")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="who runs it (the container's)")
    add("--detach-keys", metavar="KEYS", help="with -t, what leaves it running (ctrl-p,ctrl-q)")


def _exec(client: Client, args: Namespace) -> int:
    if not args.operands:
        raise BadRequest("exec: a container is missing", hint="see 'wherry exec --help'")
    ref, *command = args.operands
    if not command:
        raise BadRequest("exec: a command is missing", hint=f"write it after {ref}")
    env = environment(args.env_file, args.env, os.environ)
    if args.detach:
        client.exec_detached(ref, command, env=env, workdir=args.workdir, user=args.user, tty=args.tty)
        return 0
    from wherry.cli.exec_loop import ExecLoop
    from wherry.cli.keys import parse_keys

    keys = parse_keys(args.detach_keys)
    start = partial(_start, client, ref, command, env, args)
    return ExecLoop(start, ref, interactive=args.interactive, tty=args.tty, keys=keys).run()


def _start(client: Client, ref: str, command: list[str], env: dict[str, str], args: Namespace) -> Process:
    if args.tty:
        from wherry.cli.terminal import terminal_size

        return client.popen(
            ref, command, env=env, workdir=args.workdir, user=args.user, tty=True, tty_size=terminal_size()
        )
    out, err = _output_streams()
    stdin = stream_for(0) if args.interactive else DEVNULL
    return client.popen(
        ref, command, stdin=stdin, stdout=out, stderr=err, env=env, workdir=args.workdir, user=args.user
    )


COMMANDS = {"exec": Command(configure=_configure, execute=_exec)}
