"""The entry of the command: which module has which verb, global options, errors and exit codes.

Owns the one place where an exception becomes a line and a code. Must import nothing that a command
which is not asked for needs.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from wherry_protocol.errors import WherryError
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

    from wherry.cli.parser import Command, Parser

GROUPS = (
    ("Run", (
        ("run", "run", "Run a command in a new container"),
        ("exec", "exec", "Run a command in a running container"),
        ("attach", "attach_verb", "Show a running container in the foreground"),
        ("create", "run", "Make a container without starting it"),
        ("start", "start", "Start containers that exist"),
        ("stop", "lifecycle", "Stop containers: a signal, then SIGKILL"),
        ("restart", "lifecycle", "Stop and start containers"),
        ("kill", "lifecycle", "Send a signal to containers"),
        ("pause", "lifecycle", "Freeze every process of containers"),
        ("unpause", "lifecycle", "Let paused containers go on"),
        ("wait", "lifecycle", "Wait until containers end, or are healthy, and print how"),
        ("rm", "lifecycle", "Remove containers"),
        ("rename", "lifecycle", "Give a container another name"),
        ("update", "update", "Change limits, labels, and how they stop, of containers"),
    )),
    ("Look", (
        ("ps", "ps", "List containers"),
        ("top", "top", "List the processes of a container"),
        ("stats", "stats", "Show what containers use: processors, memory, network, disk"),
        ("port", "port", "List the ports of the host that lead to a container"),
        ("logs", "logs", "Print what a container has printed"),
        ("inspect", "inspect", "Print everything about containers or images, as JSON"),
        ("events", "events", "Print what happens, as it happens or since a time"),
    )),
    ("Files", (
        ("cp", "cp", "Copy files into a container and out of it"),
        ("diff", "diff", "List what a container changed in its root file system"),
        ("export", "commit", "Write a container's root file system as a tar archive"),
        ("commit", "commit", "Keep a container's root file system as an archive to run from"),
    )),
    ("Images", (
        ("images", "images", "List images in the store"),
        ("import", "images", "Put the archive of a root file system into the store"),
        ("load", "load", "Put the images of an archive (docker save, OCI) into the store"),
        ("save", "save", "Write images as one archive, which docker and podman load, too"),
        ("tag", "load", "Give an image another name"),
        ("history", "load", "Print how an image came to be, layer by layer"),
        ("rmi", "images", "Remove images from the store"),
    )),
    ("Nouns", (
        ("container", "nouns", "Containers: ls, run, stop, prune, …"),
        ("image", "nouns", "Images: ls, import, rm, prune, …"),
        ("network", "nouns", "Networks: create, ls, inspect, rm, connect, disconnect, prune"),
        ("system", "nouns", "This supervisor: df, info, prune, …"),
        ("volume", "nouns", "Volumes: create, ls, inspect, rm, prune"),
    )),
    ("System", (
        ("info", "system", "Print the supervisor's directories, host facts and counts"),
        ("doctor", "doctor", "Look whether containers can run on this machine, and what to do"),
        ("version", "system", "Print versions of client and supervisor"),
        ("help", "system", "Print help, of a command if one is named"),
    )),
)  # fmt: skip

HEAD = """usage: wherry [--run-dir DIR] [--state-dir DIR] COMMAND …

Run and look after containers on this machine.
"""

TAIL = """
options:
  --run-dir DIR     the supervisor's sockets (WHERRY_RUN_DIR; default /run/wherry)
  --state-dir DIR   where a supervisor that has to be started keeps its state (WHERRY_STATE_DIR)
  --version         print the client's version
  -h, --help        print this

logs -f, events, wait and what is attached go on when the supervisor is restarted meanwhile; they wait
WHERRY_RECONNECT seconds for it (600; 0: not at all).

See 'wherry COMMAND --help' for a command's options.
"""

RECONNECT = 600.0
"""Seconds that `logs -f`, `events`, `wait` and what is attached wait for the next supervisor: an upgrade, and
whoever has to look at it first."""

_told = [""]

USAGE_EXIT = 125
INTERRUPTED_EXIT = 130


class UsageError(WherryError):
    """The command line cannot be understood."""

    code = "bad_request"


def main() -> NoReturn:
    """Run the command line of this process."""
    # A name or label that is not UTF-8 comes out as the bytes that it is.
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]  # a TextIOWrapper at start
    code = guarded(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        die_of_broken_pipe()
    except OSError as error:
        code = unwritten(error)
    sys.stderr.flush()
    # No destructor matters any more, and waiting for them takes 3 ms.
    os._exit(code)


def guarded(argv: list[str]) -> int:
    """Run a command line and return its exit code; every error becomes one line on stderr."""
    try:
        return dispatch(argv)
    except WherryError as error:
        complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED_EXIT
    except BrokenPipeError:
        die_of_broken_pipe()
    except OSError as error:
        return unwritten(error)


def dispatch(argv: list[str]) -> int:
    """Find the command, parse its options and run it."""
    options, rest = global_options(argv)
    if options.get("--version"):
        rest = ["version", "--client"]
    if not rest or options.get("--help"):
        print(help_text())
        return 0 if options.get("--help") else USAGE_EXIT
    name, *arguments = rest
    command, parser = load(name)
    args = parser.parse(arguments)
    from wherry.client import Client  # after parsing: a usage error needs no client

    autostart = name not in {"version", "doctor", "system install-unit"}
    with Client(
        options.get("--run-dir"),
        state_dir=options.get("--state-dir"),
        autostart=autostart,
        reconnect=_patience(),
        on_away=tell_away,
    ) as client:
        code: int = command.execute(client, args)
    return code


def _patience() -> float:
    """Return how long what follows a container waits for the next supervisor."""
    text = os.environ.get("WHERRY_RECONNECT", "")
    if not text:
        return RECONNECT
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"WHERRY_RECONNECT={text[:40]}: expected a number of seconds, 0 for never")
    return float(text)


def tell_away(away: bool, *, raw: bool = False) -> None:
    """Say that the supervisor has been gone for a while, or that there is one again; once, not per thread."""
    how = "the detach keys end" if raw else "ctrl-C ends"  # there ctrl-C is the container's
    text = f"the supervisor is away: waiting for it, {how} that" if away else "the supervisor is back"
    if _told[-1] != text:
        _told.append(text)
        complain(text, raw=raw)


def global_options(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split the options before the command from the rest."""
    found: dict[str, str] = {}
    rest = [*argv]
    while rest and rest[0].startswith("-"):
        name, has_value, value = rest.pop(0).partition("=")
        name = "--help" if name == "-h" else name
        if name in {"--help", "--version"} and not has_value:
            found[name] = "yes"
        elif name in {"--run-dir", "--state-dir"} and (has_value or rest):
            found[name] = value if has_value else rest.pop(0)
        else:
            raise UsageError(f"{name}: unknown option, or without its value", hint="see 'wherry --help'")
    return found, rest


def load(name: str) -> tuple[Command, Parser]:
    """Return a command and its parser. Raises UsageError for an unknown name."""
    for _title, commands in GROUPS:
        for known, module, text in commands:
            if known == name:
                return load_from(module, text, name)
    raise UsageError(f"{name}: there is no such command", hint="see 'wherry --help'")


def load_from(module: str, text: str, name: str) -> tuple[Command, Parser]:
    """Return a command of a module, and its parser."""
    from wherry.cli.parser import Parser

    command: Command = import_module(f"wherry.cli.{module}").COMMANDS[name]
    parser = Parser(name, text)
    command.configure(parser)
    return command, parser


def help_text() -> str:
    """Return the help of the whole command, by groups."""
    lines = [HEAD]
    for title, commands in GROUPS:
        lines.append(f"{title}:")
        lines += [f"  {name:<10}{text}" for name, _module, text in commands]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n" + TAIL.rstrip()


def complain(text: str, *, raw: bool = False) -> None:
    """Print an error as one line. A `raw` terminal does no carriage return by itself."""
    turn = "\r" if raw else ""
    print(f"{turn}wherry: " + " ".join(text.split("\n")), file=sys.stderr, end=f"{turn}\n")


def unwritten(error: OSError) -> int:
    """Say that output was lost, as on a full disk: what the supervisor did stays done."""
    complain(f"output could not be written: {error.strerror or error}")
    return USAGE_EXIT


def die_of_broken_pipe() -> NoReturn:
    """End as a program ends that writes to a closed pipe."""
    import signal

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGPIPE)
    os._exit(128 + signal.SIGPIPE)


if __name__ == "__main__":
    main()
