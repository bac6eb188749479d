"""How containers end when something is in the way: a deaf process, a held pipe, a full disk."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from typing import TYPE_CHECKING

import pytest
from rig import fill_disk, spec, wait_for
from support.forms import within
from support.pings import pinging

from wherry import NoSpace, RunSpec
from wherry_protocol.run_spec import Volume

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def test_a_deaf_process_is_killed_at_the_timeout_and_pings_go_on(wherryd: Daemon, busybox: Path) -> None:
    """In one of three tries to the moment: the machine has moments of its own."""
    deaf = spec(busybox, "trap '' TERM; echo up; while :; do read -t 9 x; done", stdin=True)
    for _ in range(3):
        with wherryd.client() as client:
            made = client.run_detached(deaf)
            with client.log_stream(made.id, follow=True) as lines:
                assert next(iter(lines)).data == b"up\n"
            with pinging(wherryd) as took:
                began = time.monotonic()
                status = client.stop(made.id, 1.0)
                seconds = time.monotonic() - began
        assert status.signal == 9
        assert seconds >= 1.0
        if seconds < 1.2 and max(took) < 0.1:
            return
    slow = f"a ping took {max(took):.3f} s, half of them {statistics.median(took):.4f} s"
    raise AssertionError(f"SIGKILL came after {seconds:.2f} s; {slow}")


def test_a_child_that_keeps_the_output_open_does_not_delay_the_end(wherryd: Daemon, busybox: Path) -> None:
    """In a session of its own; it dies with the container's process 1."""
    script = f"setsid sh -c 'echo child; sleep 1000' & read -t {within(0.1)} x; exit 5"
    with wherryd.client() as client:
        began = time.monotonic()
        result = client.run(spec(busybox, script, stdin=True, auto_remove=True))
    assert (result.exit_code, result.stdout) == (5, b"child\n")
    assert time.monotonic() - began < within(1.1)


def test_an_output_held_open_outside_does_not_delay_the_end(wherryd: Daemon, busybox: Path) -> None:
    """Somebody outside of the container holds the pipe, and writes to it when all is over."""
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, "echo up; read x; echo last; exit 5", stdin=True))
        pid = client.inspect(made.id).pid
        holder = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
        try:
            began = time.monotonic()
            client.close_stdin(made.id)
            assert client.wait(made.id).code == 5
            assert time.monotonic() - began < within(1.0)
            assert client.logs(made.id) == b"up\nlast\n"
            client.remove(made.id)
        finally:
            os.close(holder)


def test_a_full_disk_refuses_runs_and_leaves_nothing_of_them(small_disk: Daemon, busybox: Path) -> None:
    """Again and again, with every verb that needs room; and all is well when there is some."""
    filler = small_disk.state_dir.parent / "filler"
    one = RunSpec(image=str(busybox), command=("true",), auto_remove=True)
    with small_disk.client() as client:
        assert client.run(one).exit_code == 0
        fill_disk(filler)
        for _ in range(5):
            with pytest.raises(NoSpace):
                client.run(one)
            fill_disk(filler)  # with what the run had taken
            with pytest.raises(NoSpace):
                client.create(one)
        assert client.list(all=True) == ()
        assert client.ping().pid == small_disk.pid
        filler.unlink()
        assert client.run(one).exit_code == 0
    assert wait_for(lambda: list((small_disk.state_dir / "containers").iterdir()) == [])


def test_output_waits_for_a_full_disk_and_none_is_lost(small_disk: Daemon, busybox: Path) -> None:
    """The container waits, `ps` says why, and it goes on by itself."""
    filler, data = small_disk.state_dir.parent / "filler", os.urandom(6 << 20)
    (small_disk.root / "data").write_bytes(data)
    volume = Volume(source=str(small_disk.root / "data"), target="/data", read_only=True)
    script = "read go; cat /data; exit 3"
    with small_disk.client() as client:
        made = client.run_detached(spec(busybox, script, stdin=True, volumes=(volume,)))
        fill_disk(filler, leave=1 << 20)
        client.close_stdin(made.id)
        assert wait_for(lambda: client.list(all=True)[0].log_trouble is not None), "nobody is told"
        assert client.list(all=True)[0].state == "running", "it does not wait"
        filler.unlink()
        assert client.wait(made.id).code == 3
        assert hashlib.sha256(client.logs(made.id)).digest() == hashlib.sha256(data).digest()
        assert client.list(all=True)[0].log_trouble is None
