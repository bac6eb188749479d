"""What the tests of restarts share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from support.forms import within
from support.waiting import wait_for

from wherry import RestartPolicy, RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from wherry import Client
    from wherry_protocol.restarts import PolicyName

PATIENCE = within(20.0)
SERVE = "trap 'exit 0' TERM; trap 'exit 5' USR1; echo up; while :; do read -t 9 x; done"
"""Runs until it is stopped, and ends with 0 then; with 5 after SIGUSR1. Needs stdin."""


def policy(name: PolicyName, retries: int = 0) -> RestartPolicy:
    return RestartPolicy(name=name, max_retries=retries)


def spec(image: Path, script: str, **more: object) -> RunSpec:
    command = ("sh", "-c", script)
    return RunSpec(image=str(image), command=command, stdin=True, **more)  # type: ignore[arg-type]  # its fields


def state(client: Client, name: str) -> str:
    return client.inspect(name).summary.state


def wait_up(client: Client, name: str) -> None:
    """Wait until it has said that it is up: a first process is deaf to signals that it has not asked for."""
    assert wait_for(lambda: client.logs(name).endswith(b"up\n")), f"{name} is {client.inspect(name)}"


def wait_state(client: Client, name: str, wanted: str) -> None:
    assert wait_for(lambda: state(client, name) == wanted), f"{name} is {client.inspect(name)}"


def actions(client: Client, place: int, name: str) -> list[str]:
    """What was told of a container after a place in the event log."""
    with client.events(after=place, until=time.time(), filters=[("container", name)]) as events:
        return [each.action for each in events if hasattr(each, "action")]
