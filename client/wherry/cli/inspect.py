"""inspect: everything about containers, in docker's form.

Owns its options; docker_form has the document.
"""

from __future__ import annotations

import json

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry.docker_form import container_document
from wherry_protocol.errors import NotFound
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence
    from typing import Any

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _configure(parser: Parser) -> None:
    parser.add_argument("-f", "--format", help="a template such as {{.State.ExitCode}}, or json")
    parser.add_argument("refs", metavar="CONTAINER", nargs="+")


def _inspect(client: Client, args: Namespace) -> int:
    return show_documents(args.refs, lambda ref: container_document(client.inspect(ref)), args.format)


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


COMMANDS = {"inspect": Command(configure=_configure, execute=_inspect)}
