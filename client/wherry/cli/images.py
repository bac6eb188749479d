"""images, import, rmi: the image store.

Owns their options and columns.
"""

from __future__ import annotations

import time

from wherry.cli.parser import Command
from wherry.cli.progress import ProgressBar
from wherry.cli.table import show_rows
from wherry.image_form import image_rows, matches
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

_COLUMNS = (
    ("REPOSITORY", "Repository"), ("TAG", "Tag"), ("IMAGE ID", "ID"), ("CREATED", "CreatedSince"),
    ("SIZE", "Size"),
)  # fmt: skip


def _configure_images(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="as docker; every image is listed anyway")
    parser.add_argument("-q", "--quiet", action="store_true", help="digests only")
    parser.add_argument("--no-trunc", action="store_true", help="whole digests")
    parser.add_argument("--format", default="table", help="table, json, or a template such as {{.Name}}")
    parser.add_argument(
        "-f", "--filter", action="append", default=[], metavar="KEY=VALUE",
        help="reference=PATTERN, label=KEY[=VALUE], dangling=true",
    )  # fmt: skip
    parser.add_argument("pattern", metavar="NAME", nargs="?", help="only this name, or pattern of names")


def _images(client: Client, args: Namespace) -> int:
    now = time.time()
    filters = [(key, value) for key, _, value in (each.partition("=") for each in args.filter)]
    if args.pattern is not None:
        filters.append(("reference", args.pattern))
    rows = [
        row
        for image in client.images()
        for row in image_rows(image, now, whole=args.no_trunc)
        if matches(image, row, filters)
    ]
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
