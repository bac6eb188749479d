"""inspect: everything about containers, images, networks and volumes, in docker's form.

Owns its options; docker_form, image_form, network_form and volume_form have the documents.
"""

from __future__ import annotations

import json
from contextlib import suppress

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry_protocol.errors import BadRequest, NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence
    from typing import Any

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _configure(parser: Parser) -> None:
    _configure_format(parser)
    parser.add_argument(
        "--type",
        choices=("container", "image", "volume", "network"),
        help="of what kind; default: the first of these that has the name",
    )
    parser.add_argument("refs", metavar="NAME", nargs="+", help="a name or id, an image's digest")


def _configure_image(parser: Parser) -> None:
    _configure_format(parser)
    parser.add_argument("refs", metavar="IMAGE", nargs="+", help="a name or a digest")
    parser.set_defaults(type="image")


def _configure_volume(parser: Parser) -> None:
    _configure_format(parser)
    parser.add_argument("refs", metavar="VOLUME", nargs="+")
    parser.set_defaults(type="volume")


def _configure_network(parser: Parser) -> None:
    _configure_format(parser)
    parser.add_argument("refs", metavar="NETWORK", nargs="+")
    parser.set_defaults(type="network")


def _configure_format(parser: Parser) -> None:
    parser.add_argument("-f", "--format", help="a template such as {{.State.ExitCode}}, or json")


def _inspect(client: Client, args: Namespace) -> int:
    find = {"container": _container, "image": _image, "volume": _volume, "network": _network, None: _either}[
        args.type
    ]
    return show_documents(args.refs, lambda ref: find(client, ref), args.format)


def show_documents(refs: Sequence[str], find: Callable[[str], dict[str, Any]], format_: str | None) -> int:
    """Print what is found of each reference, and complain of those that are not there."""
    documents: list[dict[str, Any]] = []
    missing: list[NotFound] = []
    for ref in refs:
        try:
            documents.append(find(ref))
        except NotFound as error:
            missing.append(error)
    _show(documents, format_)
    for each in missing:
        complain(str(each))
    return missing[0].exit_code if missing else 0


def _container(client: Client, ref: str) -> dict[str, Any]:
    from wherry.docker_form import container_document

    return container_document(client.inspect(ref))


def _image(client: Client, ref: str) -> dict[str, Any]:
    from wherry.image_form import image_document

    return image_document(client.inspect_image(ref))


def _volume(client: Client, ref: str) -> dict[str, Any]:
    from wherry.volume_form import volume_document

    return volume_document(client.inspect_volume(ref))


def _network(client: Client, ref: str) -> dict[str, Any]:
    from wherry.network_form import network_document

    return network_document(client.inspect_network(ref))


def _either(client: Client, ref: str) -> dict[str, Any]:
    try:
        return _container(client, ref)
    except (NotFound, BadRequest) as error:
        # an image's name may be none that a container can have
        not_there = error
    for find in (_image, _volume, _network):
        with suppress(NotFound, BadRequest):
            return find(client, ref)
    raise not_there


def _show(documents: list[dict[str, Any]], format_: str | None) -> None:
    if format_ is None:
        print(json.dumps(documents, indent=4))
    elif format_ == "json":
        print(json.dumps(documents))
    else:
        from wherry.cli.template import compile_template

        template = compile_template(format_)
        for document in documents:
            print(template.render(document))


COMMANDS = {
    "inspect": Command(configure=_configure, execute=_inspect),
    "image inspect": Command(configure=_configure_image, execute=_inspect),
    "network inspect": Command(configure=_configure_network, execute=_inspect),
    "volume inspect": Command(configure=_configure_volume, execute=_inspect),
}
