"""save: images of the store as one archive, or as a directory, which appears when it is whole.

Owns its options, and that no terminal gets the bytes. A directory is made here from the archive.
"""

from __future__ import annotations

import os
import sys

from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry_protocol.errors import BadRequest, WherryError
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from tarfile import TarFile, TarInfo

    from wherry.cli.parser import Parser
    from wherry.client import Client

_FORMATS = ("oci-archive", "oci-dir")


def _configure(parser: Parser) -> None:
    parser.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")
    parser.add_argument(
        "--format", choices=_FORMATS, default=_FORMATS[0],
        help="an archive that docker and podman load, or an OCI layout's directory (with -o)",
    )  # fmt: skip
    parser.add_argument("refs", metavar="IMAGE", nargs="+", help="a name (which goes along) or a digest")


def _save(client: Client, args: Namespace) -> int:
    if args.format == "oci-dir":
        if args.output is None:
            raise BadRequest(
                "save: a directory cannot be written to standard output", hint="give -o DIRECTORY"
            )
        _save_directory(client, args.refs, args.output)
    elif args.output is None:
        if sys.stdout.isatty():
            raise BadRequest("save: standard output is a terminal", hint="give -o FILE, or a pipe")
        _write(client, args.refs, sys.stdout.fileno())
    else:
        from wherry.local_files import archive_file

        with archive_file(args.output) as file:
            _write(client, args.refs, file.fd)
            file.keep()
    return 0


def _write(client: Client, refs: list[str], fd: int) -> None:
    with ProgressBar() as bar:
        client.save_images(refs, fd, on_progress=bar.show)


def _save_directory(client: Client, refs: list[str], path: str) -> None:
    """Unpack the archive beside `path` while it comes, and give the directory its name in the end."""
    import shutil
    import tempfile

    if os.path.lexists(path):
        raise BadRequest(f"{path}: it is there already", hint="give the name of a new directory", path=path)
    above, name = os.path.split(os.path.abspath(path))
    try:
        folder = tempfile.mkdtemp(prefix=f".{name}.", dir=above)
    except OSError as error:
        raise BadRequest(f"{path}: {(error.strerror or '').lower()}", errno=error.errno, path=path) from None
    try:
        _unpack(client, refs, folder)
        os.chmod(folder, 0o755)  # noqa: S103 - as any directory that somebody makes
        os.rename(folder, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(client: Client, refs: list[str], folder: str) -> None:
    import tarfile
    from threading import Thread

    failures: list[WherryError] = []
    reading, writing = os.pipe()

    def write() -> None:
        try:
            _write(client, refs, writing)
        except WherryError as error:
            failures.append(error)
        finally:
            os.close(writing)

    writer = Thread(target=write)
    writer.start()
    try:
        with os.fdopen(reading, "rb") as pipe, tarfile.open(fileobj=pipe, mode="r|") as archive:
            for entry in archive:
                if entry.isfile():
                    _write_file(archive, entry, folder)
    except tarfile.TarError as error:
        failures.append(WherryError(f"save: {error}"))
    finally:
        writer.join()
    if failures:
        raise failures[0]


def _write_file(archive: TarFile, entry: TarInfo, folder: str) -> None:
    import shutil

    if os.path.isabs(entry.name) or ".." in entry.name.split("/"):
        raise BadRequest(f"save: {entry.name!r} is no name of a file in a layout")
    path = os.path.join(folder, entry.name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    data = archive.extractfile(entry)
    if data is not None:
        with open(path, "wb") as file:
            shutil.copyfileobj(data, file)


COMMANDS = {"save": Command(configure=_configure, execute=_save)}
