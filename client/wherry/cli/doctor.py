"""doctor: what this machine lacks for containers, and what to do about it.

Owns the report and what a client can see: who answers on the socket, and the systemd unit. The rest is told
by `wherryd --doctor`, which looks at the machine without serving. Must start no supervisor.
"""

from __future__ import annotations

import os
import time

from wherry.autostart import find_wherryd
from wherry.cli.parser import Command
from wherry_protocol import SOFTWARE_VERSION
from wherry_protocol.errors import ConnectionFailed, WherryError
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from wherry.cli.parser import Parser
    from wherry.client import Client

    Finding = dict[str, str | None]
    """`subject`, `level` ("ok", "warning", "problem"), `text`, `advice`."""

TIMEOUT = 60.0
"""Seconds for all looks at the machine; each has a bound of its own."""


def _configure(parser: Parser) -> None:
    parser.add_argument(
        "--format", choices=["table", "json"], default="table", help="table, or a JSON object a line"
    )
    parser.list_below(
        [
            "It changes nothing, and works beside a running supervisor. It ends with 1 if there is a",
            "problem; warnings name what will be missed.",
        ]
    )


def _doctor(client: Client, args: Namespace) -> int:
    findings: list[Finding] = []
    for finding in (*_machine(client), *_supervisor(client), *_unit(client)):
        findings.append(finding)
        _print(finding, args.format)
    problems = sum(finding["level"] == "problem" for finding in findings)
    warnings = sum(finding["level"] == "warning" for finding in findings)
    if args.format == "table":
        print(f"\n{_summary(problems, warnings)}")
    return 1 if problems else 0


def _print(finding: Finding, format_: str) -> None:
    if format_ == "json":
        import json

        print(json.dumps(finding))
        return
    print(f"{finding['level']:<9}{finding['subject']:<13}{finding['text']}")
    if finding["advice"]:
        print(f"{'':<22}→ {finding['advice']}")


def _summary(problems: int, warnings: int) -> str:
    if problems:
        return f"Containers cannot run as they should: {problems} problem{'' if problems == 1 else 's'}."
    if warnings:
        return f"Containers can run; {warnings} thing{'' if warnings == 1 else 's'} will be missed."
    return "Containers can run; nothing is missing."


def _finding(level: str, subject: str, text: str, advice: str | None = None) -> Finding:
    return {"subject": subject, "level": level, "text": text, "advice": advice}


def _machine(client: Client) -> Iterator[Finding]:
    """What the supervisor's side finds."""
    import json
    import subprocess

    directories = client.directories
    command = [find_wherryd(), "--doctor", "--run-dir", directories.run_dir]
    if directories.state_dir is not None:
        command += ["--state-dir", directories.state_dir]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except OSError as error:
        yield _finding("problem", "wherryd", f"{command[0]} cannot be executed: {error.strerror}")
        return
    except subprocess.TimeoutExpired:
        yield _finding("problem", "wherryd", f"'{' '.join(command)}' did not end within {TIMEOUT:.0f} s")
        return
    yield from (json.loads(line) for line in done.stdout.splitlines())
    said = done.stderr.strip().splitlines()
    if said:
        yield _finding("problem", "wherryd", said[-1].removeprefix("wherryd: "))


def _supervisor(client: Client) -> Iterator[Finding]:
    place = client.directories.socket
    if os.geteuid() != 0:
        return  # the machine's side has said so
    try:
        began = time.monotonic()
        client.ping()
        took = time.monotonic() - began
        info = client.info()
    except ConnectionFailed as error:
        if os.path.exists(place) and error.errno is None:
            yield _finding("problem", "supervisor", error.message, error.hint)
        else:
            yield _finding("ok", "supervisor", f"none runs at {place}: the first command starts one")
        return
    except WherryError as error:
        yield _finding("problem", "supervisor", error.message, error.hint)
        return
    text = f"pid {info.pid}, version {info.version}, answers on {place} in {took * 1000:.1f} ms"
    if info.version != SOFTWARE_VERSION:
        advice = "restart the supervisor: containers go on"
        yield _finding("warning", "supervisor", f"{text}; this client is {SOFTWARE_VERSION}", advice)
    else:
        yield _finding("ok", "supervisor", text)
    if info.launcher_pid is None:
        yield _finding("warning", "launcher", "there is none at present", "the next start makes one")


def _unit(client: Client) -> Iterator[Finding]:
    from wherry.cli.unit import UNIT_DIR, unit_files

    path = f"{UNIT_DIR}/wherry.service"
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        installed = file.read()
    if installed == unit_files(client, "wherry")[path]:
        yield _finding("ok", "systemd", f"{path} is this release's")
    else:
        advice = "wherry system install-unit, then systemctl daemon-reload"
        yield _finding("warning", "systemd", f"{path} is not what this release would write", advice)


COMMANDS = {"doctor": Command(configure=_configure, execute=_doctor)}
