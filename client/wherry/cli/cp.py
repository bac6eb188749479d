"""cp: files and directories into a container and out of it, as docker cp does.

Owns its options, and which argument is the container's. What a copy is called is the supervisor's affair.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.commit import STDOUT, tell_left_out
from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry.human import human_size
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.files import Packed
    from wherry_protocol.system import Progress

_STDIN = 0
_STREAM = "-"


def split(argument: str) -> tuple[str | None, str]:
    """Return (container, path) of an argument; without a container it is a path of this machine.

    As docker: what begins with "/" or "." is ours, so ./a:b is a file with a colon in its name.
    """
    if argument.startswith(("/", ".")) or ":" not in argument:
        return None, argument
    ref, _, path = argument.partition(":")
    return (ref, path) if ref else (None, argument)


def _configure(parser: Parser) -> None:
    parser.usage = (
        "wherry cp [OPTIONS] CONTAINER:PATH DEST|-\n       wherry cp [OPTIONS] SOURCE|- CONTAINER:PATH"
    )
    add = parser.add_argument
    add("-a", "--archive", action="store_true", help="keep owners (uid and gid) and special modes")
    add("-L", "--follow-link", action="store_true", help="of a symlink, copy what it leads to")
    add("-q", "--quiet", action="store_true", help="show no progress")
    add("source", metavar="SOURCE", help="what to copy; - reads a tar archive from standard input")
    add("target", metavar="DEST", help="where to; - writes a tar archive to standard output")


def _cp(client: Client, args: Namespace) -> int:
    (from_ref, source), (to_ref, target) = split(args.source), split(args.target)
    if from_ref is not None and to_ref is not None:
        hint = "wherry cp A:PATH - | wherry cp - B:PATH"
        raise BadRequest("cp: between two containers it goes through a tar archive", hint=hint)
    with ProgressBar() as bar:
        show = _nothing if args.quiet else bar.show
        if from_ref is not None:
            packed = _out(client, args, from_ref, source, show)
        elif to_ref is not None:
            packed = _in(client, args, to_ref, target, show)
        else:
            raise BadRequest("cp: neither path is in a container", hint="write it as CONTAINER:PATH")
    tell_left_out(packed)
    if sys.stderr.isatty() and not args.quiet:
        print(f"copied {human_size(packed.size)} to {args.target}", file=sys.stderr)
    return 0


def _out(client: Client, args: Namespace, ref: str, path: str, show: Callable[[Progress], None]) -> Packed:
    if args.target != _STREAM:
        return client.copy_out(
            ref, path, args.target, archive=args.archive, follow=args.follow_link, on_progress=show
        )
    if os.isatty(STDOUT):
        raise BadRequest("standard output is a terminal", hint="redirect it")
    return client.copy_out_to(ref, path, STDOUT, follow=args.follow_link, on_progress=show)


def _in(client: Client, args: Namespace, ref: str, path: str, show: Callable[[Progress], None]) -> Packed:
    if args.source != _STREAM:
        return client.copy_in(
            ref, args.source, path, archive=args.archive, follow=args.follow_link, on_progress=show
        )
    if os.isatty(_STDIN):
        raise BadRequest("standard input is a terminal", hint="pipe a tar archive into it")
    return client.copy_in_from(ref, _STDIN, path, on_progress=show)


def _nothing(_progress: Progress) -> None:
    """Nobody wants to see it."""


COMMANDS = {"cp": Command(configure=_configure, execute=_cp)}
