"""info, version, help.

Owns their options and wording. Must stay light: `version` is what a prompt or a script calls first.
"""

from __future__ import annotations

import sys

from wherry.cli.main import help_text, load
from wherry.cli.parser import Command
from wherry_protocol import PROTOCOL_VERSION, SOFTWARE_VERSION
from wherry_protocol.errors import ConnectionFailed
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from wherry.cli.parser import Parser
    from wherry.client import Client
    from wherry_protocol.system import SystemInfo


def _configure_version(parser: Parser) -> None:
    parser.add_argument(
        "--client", action="store_true", help="of the client only, without asking the supervisor"
    )
    parser.add_argument("--format", help="json, or a template such as {{.Server.Version}}")


def _version(client: Client, args: Namespace) -> int:
    document = {"Client": _client_versions(), "Server": None if args.client else _server_versions(client)}
    if args.format:
        _show_formatted(document, args.format)
        return 0
    if args.client:
        print(f"wherry {SOFTWARE_VERSION}")
        return 0
    for side, versions in document.items():
        print(f"{side}:" if versions else f"{side}: not running")
        for name, value in (versions or {}).items():
            print(f"  {name + ':':<10}{value}")
    return 0


def _client_versions() -> dict[str, Any]:
    return {
        "Version": SOFTWARE_VERSION, "Protocol": PROTOCOL_VERSION, "Python": sys.version.partition(" ")[0],
    }  # fmt: skip


def _server_versions(client: Client) -> dict[str, Any] | None:
    try:
        server = client.version()
    except ConnectionFailed:
        return None
    return {
        "Version": server.version,
        "Protocol": server.protocol,
        "Python": server.python,
        "Kernel": server.kernel,
    }


def _configure_info(parser: Parser) -> None:
    parser.add_argument("--format", help="json, or a template such as {{.Containers}}")


def _info(client: Client, args: Namespace) -> int:
    document = _info_document(client.info())
    if args.format:
        _show_formatted(document, args.format)
        return 0
    warnings = document.pop("Warnings")
    controllers = document.pop("Controllers")
    for name, value in document.items():
        print(f"{name + ':':<16}{_words(value)}")
    for number, (name, place) in enumerate(controllers.items()):
        print(f"{'' if number else 'Controllers:':<16}{name:<12}{place}")
    for warning in warnings:
        print(f"warning: {warning}")
    return 0


def _info_document(info: SystemInfo) -> dict[str, Any]:
    from wherry.rfc3339 import rfc3339_seconds

    return {
        "ServerVersion": info.version, "Pid": info.pid, "LauncherPid": info.launcher_pid,
        "StartedAt": rfc3339_seconds(info.started_at), "StateDir": info.state_dir, "RunDir": info.run_dir,
        "KernelVersion": info.kernel, "Python": info.python, "CgroupMode": info.cgroup_mode,
        "CgroupPath": info.cgroup_path,
        "Controllers": {each.name: f"{each.hierarchy} {each.mountpoint}" for each in info.controllers},
        "Containers": dict(info.containers), "Images": info.images, "Warnings": list(info.warnings),
    }  # fmt: skip


def _words(value: Any) -> str:
    if isinstance(value, dict):
        items: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(f"{name} {each}" for name, each in items.items()) or "none"
    return "none" if value is None else str(value)


def _show_formatted(document: dict[str, Any], format_: str) -> None:
    if format_ == "json":
        import json

        print(json.dumps(document))
        return
    from wherry.cli.template import compile_template

    print(compile_template(format_).render(document))


def _configure_help(parser: Parser) -> None:
    parser.add_argument("command", metavar="COMMAND", nargs="?")


def _help(_client: Client, args: Namespace) -> int:
    if args.command is None:
        print(help_text())
    else:
        load(args.command)[1].print_help()
    return 0


COMMANDS = {
    "info": Command(configure=_configure_info, execute=_info),
    "version": Command(configure=_configure_version, execute=_version),
    "help": Command(configure=_configure_help, execute=_help),
}
