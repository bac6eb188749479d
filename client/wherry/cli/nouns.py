"""container, image, network, system, volume: docker's nouns, each with the commands that belong to it.

Owns the one table of which command is which. What is not a noun's alone is the verb of the same meaning.
"""

from __future__ import annotations

from wherry.cli.main import GROUPS, UsageError, load, load_from
from wherry.cli.parser import Command
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from wherry.cli.parser import Parser
    from wherry.client import Client


def _same(names: str) -> dict[str, str]:
    return {name: name for name in names.split()}


VERBS: dict[str, dict[str, str]] = {
    "container": {
        "ls": "ps", "list": "ps", "ps": "ps",
        **_same(
            "attach commit cp create diff exec export inspect kill logs pause port rename restart rm run "
            "start stats stop top unpause update wait"
        ),
    },
    "image": {
        "ls": "images", "list": "images", "rm": "rmi", "remove": "rmi",
        **_same("history import load save tag"),
    },
    "network": {},
    "system": _same("events info"),
    "volume": {},
}  # fmt: skip
"""By noun: its command → the verb that it is; a verb that there is not yet is passed over."""

OWN: dict[str, dict[str, tuple[str, str]]] = {
    "container": {"prune": ("prune", "Remove every container that does not run")},
    "image": {
        "inspect": ("inspect", "Print everything about images, as JSON"),
        "prune": ("prune", "Remove images that no container uses"),
    },
    "network": {
        "create": ("network", "Make a network"),
        "ls": ("network", "List networks"),
        "list": ("network", "List networks"),
        "inspect": ("inspect", "Print everything about networks, as JSON"),
        "rm": ("network", "Remove networks that no container is on"),
        "remove": ("network", "Remove networks that no container is on"),
        "connect": ("network", "Put a container on one more network, also while it runs"),
        "disconnect": ("network", "Take a container off a network, also while it runs"),
        "prune": ("prune", "Remove all networks that no container is on"),
    },
    "system": {
        "df": ("df", "Show what takes room"),
        "prune": ("prune", "Remove what nobody needs: containers, images, volumes"),
        "reload": ("unit", "Have the supervisor read its settings again"),
        "install-unit": ("unit", "Make the supervisor a systemd service"),
        "uninstall-unit": ("unit", "Remove the systemd units again"),
    },
    "volume": {
        "create": ("volume", "Make a volume"),
        "ls": ("volume", "List volumes"),
        "inspect": ("inspect", "Print everything about volumes, as JSON"),
        "prune": ("prune", "Remove all volumes that no container has"),
        "rm": ("volume", "Remove volumes that no container has, by name"),
    },
}
"""By noun: the commands that are its alone → their module and what they do."""


def _texts(noun: str) -> dict[str, str]:
    known = {name: text for _title, verbs in GROUPS for name, _module, text in verbs}
    found = {name: text for name, (_module, text) in OWN[noun].items()}
    found |= {name: known[verb] for name, verb in VERBS[noun].items() if verb in known}
    return found


def _configure(noun: str) -> Callable[[Parser], None]:
    def configure(parser: Parser) -> None:
        parser.stop_at_operand("COMMAND …")
        lines = [f"  {name:<15}{text}" for name, text in sorted(_texts(noun).items())]
        parser.list_below(["commands:", *lines, "", f"See 'wherry {noun} COMMAND --help' for its options."])

    return configure


def _execute(noun: str) -> Callable[[Client, Namespace], int]:
    def execute(client: Client, args: Namespace) -> int:
        if not args.operands:
            raise UsageError(f"{noun}: a command is missing", hint=f"see 'wherry {noun} --help'")
        name, *arguments = args.operands
        if name not in _texts(noun):
            raise UsageError(f"{noun} {name}: there is no such command", hint=f"see 'wherry {noun} --help'")
        if name in OWN[noun]:
            command, parser = load_from(*OWN[noun][name], f"{noun} {name}")
        else:
            command, parser = load(VERBS[noun][name])
        code: int = command.execute(client, parser.parse(arguments))
        return code

    return execute


COMMANDS = {noun: Command(configure=_configure(noun), execute=_execute(noun)) for noun in VERBS}
