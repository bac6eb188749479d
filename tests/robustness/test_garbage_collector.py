"""What is over is freed at once, not when the collector comes: what has become old hardly ever is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import uncollected

from wherry import HealthCheck, RestartPolicy, RunSpec, WherryError
from wherry_protocol.ports import PublishedPort

if TYPE_CHECKING:
    from support.daemon import Daemon

    from wherry import Client

LIVES = 8
TAKEN = PublishedPort(host_port=4711, container_port=80)


def live(client: Client, image: Path) -> None:
    """Have containers that end, are stopped, killed, entered, started again, published, and that fail."""
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
    for fails in (spec.replace(command=("nosuch",)), spec.replace(network="bridge", ports=(TAKEN,))):
        with pytest.raises(WherryError):
            client.run(fails)


def test_nothing_of_what_is_over_waits_for_the_collector(
    fresh_wherryd: Daemon, busybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, told = fresh_wherryd, tmp_path / "told"
    (tmp_path / "sitecustomize.py").write_text(uncollected.CODE)
    daemon.terminate()
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{Path(uncollected.__file__).parents[1]}")
        patch.setenv(uncollected.VARIABLE, str(told))
        daemon.start()
    with daemon.client() as client:
        command = ("sleep", "1000")
        spec = RunSpec(image=os.fspath(busybox), command=command, network="bridge", ports=(TAKEN,))
        client.run_detached(spec)
        for _ in range(LIVES):
            live(client, busybox)
    daemon.terminate()
    counts = json.loads(told.read_text())
    print(counts)
    assert counts, "nobody told"
    left = {name: count for name, count in counts.items() if count >= LIVES and name.startswith("wherryd.")}
    assert not left, left
    daemon.start()
