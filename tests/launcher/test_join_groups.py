"""What a worker has open of a container's last run: its cgroups, of which the next run has others."""

from __future__ import annotations

import _socket
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherryd.kernel.hierarchies import find_hierarchies
from wherryd.launcher.bounding import Bounding
from wherryd.launcher.exec_plan import Sandbox, beside
from wherryd.launcher.join import Groups, GroupsGone, Join
from wherryd.launcher.oom import OomScore
from wherryd.launcher.plan import Plan

if TYPE_CHECKING:
    from launching import Ground

V1 = find_hierarchies().v1


def outcome(plan: Plan, known: Groups) -> str:
    """Have a fork join, in our own namespaces, with cgroups that were open from before; say how it went."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ours, status = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            exec_plan = beside(
                plan, id="e" * 64, args=("/bin/true",), streams=(), cwd="/", sandbox=known.sandbox
            )
            fds = [status.detach(), os.pidfd_open(os.getpid())]
            Join(exec_plan, fds, OomScore(), known).build(Bounding())
            os.write(write, b"joined")
            ours.close()
        except GroupsGone:
            os.write(write, b"gone")
        except BaseException as error:  # noqa: BLE001 - told
            os.write(write, repr(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as told:
        said = told.read().decode()
    os.waitpid(pid, 0)
    return said


def test_those_of_the_present_run_are_joined_again(ground: Ground) -> None:
    plan = ground.plan("true")
    assert outcome(plan, Groups(Sandbox.of(plan))) == "joined"


def test_those_of_the_last_run_are_not_joined(ground: Ground) -> None:
    plan = ground.plan("true")
    known = Groups(Sandbox.of(plan))
    Path(plan.cgroup).rmdir()
    Path(plan.cgroup).mkdir()
    assert outcome(plan, known) == "gone"


@pytest.mark.skipif("pids" not in V1, reason="no pids controller in a v1 hierarchy")
def test_nor_are_those_of_v1(ground: Ground) -> None:
    group = Path(V1["pids"], f"{ground.cgroup.name}-v1")
    group.mkdir()
    plan = ground.plan("true")
    plan = Plan(**{**plan.__dict__, "v1_cgroups": (str(group),)})
    known = Groups(Sandbox.of(plan))
    group.rmdir()
    group.mkdir()
    try:
        assert outcome(plan, known) == "gone"
    finally:
        group.rmdir()
