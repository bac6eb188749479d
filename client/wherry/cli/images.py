"""images, import, rmi: the image store.

Owns their options and columns.
"""

from __future__ import annotations

import time

from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry.cli.table import show_rows
from wherry.docker_form import image_rows
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_COLUMNS = (
    ("NAME", "Name"), ("DIGEST", "ID"), ("CREATED", "CreatedSince"), ("SIZE", "Size"), ("FILES", "Files"),
)  # fmt: skip


def _configure_images(parser: Parser) -> None:
    parser.add_argument("-q", "--quiet", action="store_true", help="digests only")
    parser.add_argument("--no-trunc", action="store_true", help="whole digests")
    parser.add_argument("--format", default="table", help="table, json, or a template such as {{.Name}}")


def _images(client: Client, args: Namespace) -> int:
    now = time.time()
    rows = [row for image in client.images() for row in image_rows(image, now, whole=args.no_trunc)]
    if args.quiet:
        for digest in dict.fromkeys(row["ID"] for row in rows):
            print(digest)
    else:
        show_rows(rows, args.format, _COLUMNS)
    return 0


def _configure_import(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE", help="a tar archive: plain, gz, bz2, xz or zstd")
    parser.add_argument("name", metavar="NAME", nargs="?", help="(the file's name without its suffixes)")


def _import(client: Client, args: Namespace) -> int:
    with ProgressBar() as bar:
        image = client.import_image(args.file, args.name, on_progress=bar.show)
    print(image.digest)
    return 0


def _configure_rmi(parser: Parser) -> None:
    parser.add_argument(
        "-f", "--force", action="store_true", help="drop the name even if a container uses it"
    )
    parser.add_argument("refs", metavar="IMAGE", nargs="+", help="a name or a digest")


def _rmi(client: Client, args: Namespace) -> int:
    from wherry.cli.lifecycle import for_each

    return for_each(args.refs, lambda ref: "\n".join(client.remove_image(ref, force=args.force)))


COMMANDS = {
    "images": Command(configure=_configure_images, execute=_images),
    "import": Command(configure=_configure_import, execute=_import),
    "rmi": Command(configure=_configure_rmi, execute=_rmi),
}
