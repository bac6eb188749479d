"""Clients that die, at any moment and in any way: containers do not care, and nothing of the client stays."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

import pytest
from rig import connection, descriptors, spec, wait_for

from wherry import BadRequest, RunSpec
from wherry.wire import Wire
from wherry_protocol.connection import Connection, Role
from wherry_protocol.containers import Logs, RunAttached
from wherry_protocol.system import Ping

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from support.daemon import Daemon

SCRIPT = "echo one; read -t 0.15 x; echo two; exit 7"
KILLED = 24
HUNG_UP = 150


def assert_all_ran_to_their_end(daemon: Daemon, before: frozenset[str], least: int) -> None:
    """Every container that came to be printed everything and ended with its code."""
    with daemon.client() as client:
        made = daemon.container_ids() - before
        assert len(made) >= least, f"only {len(made)} of the runs came to be: the test proves little"
        for container in made:
            assert client.wait(container).code == 7
            assert client.logs(container) == b"one\ntwo\n"


def test_a_killed_run_leaves_its_container_running(wherryd: Daemon, busybox: Path) -> None:
    """SIGKILL at a random moment of `wherry run -i`, from before it connects to after the end."""
    chance, before, held = random.Random(3), wherryd.container_ids(), descriptors(wherryd.pid)

    def four() -> list[subprocess.Popen[bytes]]:
        return [wherryd.popen("run", "-i", busybox, "sh", "-c", SCRIPT) for _ in range(4)]

    began = time.monotonic()
    some = four()
    assert wait_for(lambda: len(wherryd.container_ids() - before) == len(some))
    took = time.monotonic() - began  # to what comes to be, on the machine as it is
    for _ in range(KILLED // 4):
        for process in some:
            with process:
                time.sleep(chance.uniform(0.0, took))
                process.kill()
        some = four()
    for process in some:
        with process:
            process.kill()
    assert_all_ran_to_their_end(wherryd, before, KILLED // 4)
    assert wait_for(lambda: descriptors(wherryd.pid) <= held + 2), "descriptors of dead clients stay"


def test_killed_followers_and_attached_clients_change_nothing(wherryd: Daemon, busybox: Path) -> None:
    chance = random.Random(4)
    script = "i=0; while [ $i -lt 60 ]; do echo $i; read -t 0.02 x; i=$((i+1)); done; exit 7"
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, script, stdin=True))
        for number in range(12):
            command = ["logs", "-f", made.id] if number % 2 else ["logs", "-f", "-n", "3", made.id]
            with wherryd.popen(*command) as process:
                time.sleep(chance.uniform(0.0, 0.1))
                process.kill()
        assert client.wait(made.id).code == 7
        assert client.logs(made.id).split() == [str(number).encode() for number in range(60)]


def test_hanging_up_at_any_byte_of_a_run_changes_nothing(wherryd: Daemon, busybox: Path) -> None:
    """The request is cut anywhere, or the answer is not read to its end: a whole request is carried out."""
    chance, before, held = random.Random(5), wherryd.container_ids(), descriptors(wherryd.pid)
    one = RunSpec(image=str(busybox), command=("sh", "-c", SCRIPT), stdin=True)
    client = Connection(Role.CLIENT)
    greeting = client.send_hello()
    _, request = client.send_request(RunAttached(spec=one))
    for number in range(HUNG_UP):
        with connection(wherryd) as sock:
            cut = len(request) if number % 3 == 0 else chance.randrange(len(request))
            sock.sendall(greeting + request[:cut])
            if number % 2:
                sock.recv(chance.randrange(1, 400))
    assert_all_ran_to_their_end(wherryd, before, HUNG_UP // 6)
    assert wait_for(lambda: descriptors(wherryd.pid) <= held + 2), "descriptors of dead clients stay"


def test_who_waits_for_a_stop_may_go(wherryd: Daemon, busybox: Path) -> None:
    """The stop is carried out all the same, to its end."""
    script = "trap 'echo told' TERM; echo up; while :; do read -t 9 x; done"
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, script, stdin=True))
        with client.log_stream(made.id, follow=True) as lines:
            assert next(lines).data == b"up\n"
            with wherryd.popen("stop", "-t", "1", made.id) as process:
                assert next(lines).data == b"told\n"
                process.kill()
        assert client.wait(made.id).signal == 9


def test_descriptors_that_no_request_asked_for_are_closed(wherryd: Daemon) -> None:
    """A request that takes none is refused with them, and the connection lives on."""
    held = descriptors(wherryd.pid)
    reader, writer = os.pipe()
    wire = Wire(str(wherryd.run_dir / "control.sock"), 20)
    try:
        for call in (Ping(), Logs(ref="nobody")):
            wire.begin(call, (writer, writer))
            while not wire.done:
                wire.receive()
            with pytest.raises(BadRequest, match=f"{call.op}: 2 descriptors came along, at most 0 are taken"):
                wire.result()
        assert wire.call(Ping()).pid == wherryd.pid
        os.close(writer)
        assert os.read(reader, 1) == b"", "the supervisor kept a descriptor"
        assert descriptors(wherryd.pid) <= held + 1
    finally:
        wire.close()
        os.close(reader)
