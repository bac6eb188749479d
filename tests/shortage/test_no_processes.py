"""A supervisor and a launcher that can start no process and no thread: told, and what runs goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from shortagekit import Lives, one
from support import proc
from support.starving import no_process
from support.waiting import wait_for

from wherry import WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon


def ours(daemon: Daemon) -> list[int]:
    """Return the ids of the supervisor, its launcher and the workers of both."""
    found = proc.descendants(daemon.pid, daemon.launcher_pid)
    return [each.pid for each in found if each.name.startswith("wherryd")]


def test_without_processes_starts_are_refused_and_the_rest_goes_on(
    fresh_wherryd: Daemon, busybox: Path, busybox_tar: Archives
) -> None:
    """A limit of a cgroup around supervisor, launcher and workers."""
    with fresh_wherryd.client() as client, Lives(client, busybox) as lives:
        client.run(one(busybox)).check()
        before = len(client.list(all=True))
        with no_process(*ours(fresh_wherryd)):
            for _ in range(3):
                with pytest.raises(WherryError, match="Resource temporarily unavailable") as raised:
                    client.run(one(busybox))
                assert "\n" not in str(raised.value)
                with pytest.raises(WherryError, match="Resource temporarily unavailable"):
                    client.exec(lives.writing, ("true",))
            with pytest.raises(WherryError, match="Resource temporarily unavailable"):
                client.run(one(busybox_tar.tar))
            lives.go_on()
            client.kill(lives.ending)
            assert client.wait(lives.ending).signal == signal.SIGKILL
            assert client.ping().pid == fresh_wherryd.pid
            client.remove(lives.ending)
        assert len(client.list(all=True)) == before - 1
        client.run(one(busybox)).check()
        assert client.exec(lives.writing, ("true",)).exit_code == 0
        assert wait_for(lambda: not list((fresh_wherryd.state_dir / "trash").iterdir())), "the trash stays"
    assert "Traceback" not in fresh_wherryd.log
