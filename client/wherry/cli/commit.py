"""commit, export: a container's root file system as an archive or an image.

Owns their options, and what the last argument of commit means.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.files import Compression, Packed

STDOUT = 1

_SUFFIXES: tuple[tuple[str, Compression], ...] = (
    (".tar", "none"),
    (".tar.gz", "gzip"), (".tgz", "gzip"),
    (".tar.bz2", "bzip2"), (".tbz2", "bzip2"), (".tbz", "bzip2"),
    (".tar.xz", "xz"), (".txz", "xz"),
    (".tar.zst", "zstd"), (".tzst", "zstd"),
)  # fmt: skip


def compression_of(path: str) -> tuple[bool, Compression]:
    """Return whether a name is that of a tar archive, and the compression that its ending asks for."""
    for suffix, compression in _SUFFIXES:
        if path.endswith(suffix):
            return True, compression
    return False, "none"


def tell_left_out(packed: Packed) -> None:
    """Say what is not in the archive or copy."""
    if packed.left_out_count:
        more = packed.left_out_count - len(packed.left_out)
        rest = f" and {more} more" if more else ""
        complain(f"left out: {', '.join(packed.left_out)}{rest}")


def _configure_export(parser: Parser) -> None:
    add = parser.add_argument
    add("-o", "--output", metavar="FILE", help="instead of standard output; .tar.gz, .tar.xz … compress")
    add("--no-pause", action="store_true", help="let the container run on meanwhile")
    add("ref", metavar="CONTAINER")


def _export(client: Client, args: Namespace) -> int:
    if args.output is not None and args.output != "-":
        _, compression = compression_of(args.output)
        _write(client, args.ref, args.output, compression, pause=not args.no_pause)
        return 0
    if os.isatty(STDOUT):
        raise BadRequest("standard output is a terminal", hint="use -o FILE, or redirect it")
    sys.stdout.flush()
    with ProgressBar() as bar:
        packed = client.export_to(args.ref, STDOUT, pause=not args.no_pause, on_progress=bar.show)
    tell_left_out(packed)
    return 0


def _configure_commit(parser: Parser) -> None:
    parser.usage = "wherry commit [OPTIONS] CONTAINER [FILE|NAME]"
    add = parser.add_argument
    add("--no-pause", action="store_true", help="let the container run on meanwhile")
    add("-m", "--message", metavar="TEXT", default="", help="of an image: a word about what was done")
    add("-a", "--author", metavar="NAME", default="", help="of an image: who did it")
    add(
        "-c", "--change", metavar="INSTRUCTION", action="append", default=[],
        help="of an image: lay over its config, as in a Dockerfile: 'CMD [\"sh\"]', 'ENV A=b', 'USER 1000' …",
    )  # fmt: skip
    add("ref", metavar="CONTAINER")
    add(
        "target", metavar="FILE|NAME", nargs="?",
        help="a tar archive (.tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst), or an image in the store; "
        "default: CONTAINER.tar",
    )  # fmt: skip


def _commit(client: Client, args: Namespace) -> int:
    target = args.target or f"{client.inspect(args.ref).summary.name}.tar"
    is_archive, compression = compression_of(target)
    if is_archive:
        if args.message or args.author or args.change:
            raise BadRequest(f"commit {target}: an archive has no config: -m, -a and -c are for an image")
        _write(client, args.ref, target, compression, pause=not args.no_pause)
        print(target)
        return 0
    if target.startswith(("/", ".")):
        raise BadRequest(
            f"commit {target}: a file's name ends in .tar, .tar.gz, .tar.bz2, .tar.xz or .tar.zst"
        )
    with ProgressBar() as bar:
        image = client.commit(
            args.ref, target, pause=not args.no_pause, message=args.message, author=args.author,
            changes=args.change, on_progress=bar.show,
        )  # fmt: skip
    print(image.digest)
    return 0


def _write(client: Client, ref: str, path: str, compression: Compression, *, pause: bool) -> None:
    with ProgressBar() as bar:
        packed = client.export(ref, path, compression=compression, pause=pause, on_progress=bar.show)
    tell_left_out(packed)


COMMANDS = {
    "commit": Command(configure=_configure_commit, execute=_commit),
    "export": Command(configure=_configure_export, execute=_export),
}
