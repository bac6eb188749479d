"""container prune, image prune, network prune, volume prune, system prune: remove what nobody needs.

Owns their options, the question before, and the sum after.
"""

from __future__ import annotations

import os
import sys
import time

from wherry.cli.parser import Command
from wherry.human import human_size, parse_time
from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.housekeeping import Pruned

_KEYS = "until=24h, label=KEY[=VALUE], label!=KEY[=VALUE]"
_STDIN = 0
DECLINED_EXIT = 1


def _configure_containers(parser: Parser) -> None:
    _common(parser)


def _configure_images(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="those with a name too")
    _common(parser)


def _configure_volumes(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="those with a name too")
    _common(parser)


def _configure_system(parser: Parser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="every unused image, not the nameless only")
    parser.add_argument("--volumes", action="store_true", help="unused volumes without a name too")
    _common(parser)


def _common(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument("--filter", metavar="KEY=VALUE", action="append", default=[], help=_KEYS)


def _prune_containers(client: Client, args: Namespace) -> int:
    filters = _filters(args.filter)
    if not _agreed(["all containers that do not run"], args):
        return DECLINED_EXIT
    return _tell(_containers(client, filters))


def _prune_images(client: Client, args: Namespace) -> int:
    filters = _filters(args.filter)
    if not _agreed([_images_word(all_=args.all)], args):
        return DECLINED_EXIT
    return _tell(_images(client, filters, all_=args.all))


def _prune_volumes(client: Client, args: Namespace) -> int:
    filters = _filters(args.filter)
    word = "all volumes that no container has" if args.all else "all nameless volumes that no container has"
    if not _agreed([word], args):
        return DECLINED_EXIT
    return _tell(_volumes(client, filters, all_=args.all))


def _prune_networks(client: Client, args: Namespace) -> int:
    filters = _filters(args.filter)
    if not _agreed(["all networks that no container is on"], args):
        return DECLINED_EXIT
    _networks(client, filters)
    return 0


def _prune_system(client: Client, args: Namespace) -> int:
    filters = _filters(args.filter)
    words = ["all containers that do not run"]
    words.append("all networks that no container is on")
    words += ["all nameless volumes that no container has"] if args.volumes else []
    words.append(_images_word(all_=args.all))
    if not _agreed(words, args):
        return DECLINED_EXIT
    freed = _containers(client, filters)
    _networks(client, filters)
    if args.volumes:
        freed += _volumes(client, filters, all_=False)
    return _tell(freed + _images(client, filters, all_=args.all))


def _images_word(*, all_: bool) -> str:
    return "all images that no container uses" if all_ else "all nameless images that no container uses"


def _containers(client: Client, filters: Sequence[tuple[str, str]]) -> int:
    return _listed("Deleted Containers:", client.prune_containers(filters=filters))


def _images(client: Client, filters: Sequence[tuple[str, str]], *, all_: bool) -> int:
    return _listed("Deleted Images:", client.prune_images(all=all_, filters=filters))


def _volumes(client: Client, filters: Sequence[tuple[str, str]], *, all_: bool) -> int:
    return _listed("Deleted Volumes:", client.prune_volumes(all=all_, filters=filters))


def _networks(client: Client, filters: Sequence[tuple[str, str]]) -> None:
    gone = client.prune_networks(filters=filters)
    if gone:
        print("\n".join(["Deleted Networks:", *gone, ""]), flush=True)


def _listed(title: str, pruned: Pruned) -> int:
    if pruned.removed:
        print("\n".join([title, *pruned.removed, ""]), flush=True)
    return pruned.reclaimed


def _tell(freed: int) -> int:
    print(f"Total reclaimed space: {human_size(freed)}")
    return 0


def _filters(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Read KEY=VALUE and label!=VALUE; a time becomes seconds since the epoch, as we know what it is now."""
    found: list[tuple[str, str]] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not value:
            raise BadRequest(f"--filter {text!r}: expected KEY=VALUE", hint=_KEYS)
        if key == "until":
            value = repr(parse_time(value, time.time(), f"--filter {text!r}"))
        found.append((key, value))
    return found


def _agreed(words: Sequence[str], args: Namespace) -> bool:
    """Ask on the terminal; nobody there to ask is an error, not a yes."""
    if args.force:
        return True
    if not os.isatty(_STDIN):
        raise BadRequest("standard input is no terminal, so nobody can be asked", hint="use --force")
    lines = ["This will remove:", *(f"  - {word}" for word in words)]
    if args.filter:
        lines.append(f"of which only those with: {', '.join(args.filter)}")
    sys.stdout.write("\n".join([*lines, "Are you sure? [y/N] "]))
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


COMMANDS = {
    "container prune": Command(configure=_configure_containers, execute=_prune_containers),
    "image prune": Command(configure=_configure_images, execute=_prune_images),
    "network prune": Command(configure=_configure_containers, execute=_prune_networks),
    "volume prune": Command(configure=_configure_volumes, execute=_prune_volumes),
    "system prune": Command(configure=_configure_system, execute=_prune_system),
}
