"""run and create: a new container.

Owns the choice between foreground, background and a dry run, and the id file.
"""

from __future__ import annotations

import os

from wherry.cli.options import add_options, spec_from
from wherry.cli.parser import Command
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Self

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.run_spec import RunSpec


class IdFile:
    """The file that --cidfile names: new, filled once the container exists, else removed again."""

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._filled = False

    def __enter__(self) -> Self:
        if self._path is not None:
            try:
                os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            except OSError as error:
                hint = "remove it, or choose another" if isinstance(error, FileExistsError) else None
                raise BadRequest(f"--cidfile {self._path}: {error.strerror}", hint=hint) from None
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._path is not None and not self._filled:
            os.unlink(self._path)

    def fill(self, identity: str) -> None:
        """Write the container's id."""
        if self._path is not None:
            with open(self._path, "w", encoding="ascii") as file:
                file.write(identity)
            self._filled = True


def _configure_run(parser: Parser) -> None:
    parser.stop_at_operand("IMAGE [COMMAND [ARG…]]")
    parser.add_argument("-d", "--detach", action="store_true", help="in the background: print the id")
    parser.add_argument(
        "--detach-keys", metavar="KEYS", help="with -it, what leaves it running (ctrl-p,ctrl-q)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be done, do nothing")
    add_options(parser)


def _configure_create(parser: Parser) -> None:
    parser.stop_at_operand("IMAGE [COMMAND [ARG…]]")
    add_options(parser)


def _run(client: Client, args: Namespace) -> int:
    spec = spec_from(args)
    if args.dry_run:
        print(client.dry_run(spec))
        return 0
    with IdFile(args.cidfile) as id_file:
        if args.detach:
            created = client.run_detached(spec)
            id_file.fill(created.id)
            print(created.id)
            return 0
        return _foreground(client, spec, id_file, args.detach_keys)


def _foreground(client: Client, spec: RunSpec, id_file: IdFile, detach_keys: str | None) -> int:
    from wherry.cli.attach import Attachment
    from wherry.cli.keys import parse_keys

    keys = parse_keys(detach_keys)
    if spec.tty:
        from wherry.cli.terminal import terminal_size

        spec = spec.replace(tty_size=terminal_size())
    stream = client.run_stream(spec)
    return Attachment(
        client,
        stream,
        interactive=spec.stdin,
        tty=spec.tty,
        on_start=lambda started: id_file.fill(started.id),
        keys=keys,
    ).run()


def _create(client: Client, args: Namespace) -> int:
    spec = spec_from(args)
    with IdFile(args.cidfile) as id_file:
        created = client.create(spec)
        id_file.fill(created.id)
    print(created.id)
    return 0


COMMANDS = {
    "run": Command(configure=_configure_run, execute=_run),
    "create": Command(configure=_configure_create, execute=_create),
}
