"""Every kind of a short life, one after the other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wherry import HealthCheck, RestartPolicy, RunSpec, WherryError
from wherry_protocol.ports import PublishedPort

if TYPE_CHECKING:
    from pathlib import Path

    from wherry import Client

TAKEN = PublishedPort(host_port=4711, container_port=80)


def live(client: Client, image: Path) -> None:
    """Have containers that end, are stopped, killed, entered, started again, published, and that fail.

    Somebody else has to have the port TAKEN.
    """
    polite = ("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do read x; done")
    spec = RunSpec(image=os.fspath(image), command=("echo", "hi"), auto_remove=True)
    client.run(spec)
    made = client.run_detached(spec.replace(command=polite, stdin=True, auto_remove=False))
    with client.log_stream(made.id, follow=True) as log:
        next(iter(log))
    client.exec(made.id, ("true",))
    for fails in (("nosuch",), ("/etc",)):
        with pytest.raises(WherryError):
            client.exec(made.id, fails)
        with pytest.raises(WherryError):
            client.exec_detached(made.id, fails)
    client.update(made.id, stop_timeout=5.0)
    with pytest.raises(WherryError):
        client.remove(made.id)
    client.stop(made.id)
    client.update(made.id, restart=RestartPolicy(name="on-failure", max_retries=1))
    client.start(made.id)
    client.pause(made.id)
    client.unpause(made.id)
    client.remove(made.id, force=True)
    health = HealthCheck(test=("CMD", "true"), interval=0.01, retries=1)
    again = RestartPolicy(name="on-failure", max_retries=1)
    made = client.run_detached(spec.replace(command=("false",), auto_remove=False, restart=again))
    sick = client.run_detached(spec.replace(command=("sleep", "1000"), health=health, stop_timeout=0.0))
    assert client.wait_healthy(sick.id)
    client.stop(sick.id)
    client.create_network("lan")
    client.run(spec.replace(network="lan"))
    client.remove_network("lan")
    while client.inspect(made.id).restart_count < 1:
        client.wait_next_exit(made.id)
    client.wait(made.id)
    client.remove(made.id, force=True)
    port = PublishedPort(host_port=None, container_port=80)
    client.run(spec.replace(network="bridge", ports=(port,)))
    for refused in (spec.replace(command=("nosuch",)), spec.replace(network="bridge", ports=(TAKEN,))):
        with pytest.raises(WherryError):
            client.run(refused)
