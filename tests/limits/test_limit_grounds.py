"""Limits hold wherever a supervisor may stand: in what systemd delegates, in a container, without v2.

Each is made as its maker makes it, of real hierarchies; the supervisor is started in it and does its work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.forms import within
from support.groupkit import withdraw

from wherry import ExitStatus, RunSpec
from wherry_protocol.limits import Limits
from wherryd.kernel import cgroups
from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
HOG = "tail -c 2000000000 /dev/zero"
FOUND = find_hierarchies()
V2 = Path(FOUND.v2 or "")
ENTER = 'echo $$ >"$0/cgroup.procs"; exec "$@"'
NAMESPACES = ("unshare", "--cgroup", "--mount", "--propagation", "private")
MOUNT_ANEW = f'umount {V2}; mount -t cgroup2 cgroup2 {V2}; exec "$0" "$@"'
WITHOUT_V2 = f'umount {V2}; exec "$0" "$@"'

pytestmark = pytest.mark.skipif(
    not {"memory", "pids"} <= {*FOUND.v2_controllers, *FOUND.v1},
    reason="no memory or pids controller in any cgroup hierarchy",
)


@pytest.fixture
def unit() -> Iterator[Path]:
    """A v2 group as systemd makes one for a unit: its parents give it every controller that there is."""
    part = V2 / f"wherry-test-{os.getpid()}.slice"
    path = part / "unit.service"
    before = cgroups.read(f"{V2}/cgroup.subtree_control").split()
    cgroups.create(str(part))
    for each in (V2, part):
        for name in FOUND.v2_controllers:
            cgroups.write(f"{each}/cgroup.subtree_control", f"+{name}")
    cgroups.create(str(path))
    yield path
    deadline = time.monotonic() + within(5)
    while cgroups.populated(str(part)) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [str(each) for each in path.iterdir() if each.is_dir()]
    cgroups.remove(str(part))
    withdraw(V2, {*FOUND.v2_controllers} - {*before})
    assert not left, "the supervisor left groups in what was delegated to it"


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    try:
        yield made
    finally:
        made.close()


def assert_limits_hold(daemon: Daemon, image: Path) -> None:
    """Memory with the verdict on it, processes, and a change of both while it runs."""
    plain = RunSpec(image=str(image), command=("sh", "-c", f"exec {HOG}"), auto_remove=True, network="none")
    with daemon.client() as client:
        ended = client.run(plain.replace(limits=Limits(memory=8 * MIB))).exit
        assert ended == ExitStatus(signal=9, oom_killed=True, oom_kills=1, oom_victim="init")
        forks = plain.replace(command=("sh", "-c", "sleep 9 & sleep 9 & sleep 9 & echo no"))
        done = client.run(forks.replace(limits=Limits(pids=3)))
        assert (done.exit_code, done.stdout) == (2, b"")
        assert b"fork" in done.stderr
        live = client.run_detached(plain.replace(command=("sleep", "1000"), stop_timeout=0))
        client.update(live.id, limits=Limits(memory=8 * MIB, pids=20, cpu_quota=50_000))
        assert client.exec(live.id, ["sh", "-c", f"exec {HOG}"]).exit.oom_killed is True
        client.remove(live.id, force=True)


def test_a_delegated_unit_has_its_containers_below_it(unit: Path, daemon: Daemon, busybox: Path) -> None:
    """Delegate=yes: the service manager's groups stay as they are, the supervisor's are its own."""
    os.setxattr(unit, "user.delegate", b"1")
    daemon.prefix = ("sh", "-c", ENTER, str(unit))
    daemon.start()
    assert daemon.cgroup.parent == unit
    assert_limits_hold(daemon, busybox)
    assert not (V2 / daemon.cgroup.name).exists()
    assert [each.name for each in unit.parent.iterdir() if each.is_dir()] == [unit.name]
    if "memory" in FOUND.v2_controllers:
        own = cgroups.read(f"/proc/{daemon.pid}/cgroup").splitlines()[-1]
        leaf = f"/{unit.name}/{daemon.instance}.self"
        assert own.endswith(leaf), "a group that has processes gives no controllers"


def test_containers_from_before_it_was_a_unit_keep_their_groups(
    unit: Path, daemon: Daemon, busybox: Path
) -> None:
    """As after `wherry system install-unit --now`: they are entered and bounded as ever; others move."""
    daemon.start()
    before = daemon.cgroup
    plain = RunSpec(image=str(busybox), command=("sleep", "1000"), stop_timeout=0, limits=Limits(pids=20))
    with daemon.client() as client:
        live = client.run_detached(plain)
    daemon.kill()
    os.setxattr(unit, "user.delegate", b"1")
    daemon.prefix = ("sh", "-c", ENTER, str(unit))
    daemon.start()
    assert daemon.cgroup == before
    with daemon.client() as client:
        assert client.exec(live.id, ["true"]).exit.code == 0, (
            "it is taken for one whose group somebody removed"
        )
        client.update(live.id, limits=Limits(pids=30))
        client.remove(live.id, force=True)
    assert daemon.terminate() == 0
    daemon.start()
    assert daemon.cgroup.parent == unit


def test_in_a_container_its_containers_are_below_it(unit: Path, daemon: Daemon, busybox: Path) -> None:
    """With a cgroup namespace: the root that it sees is the container's own group."""
    enter = ("sh", "-c", ENTER, str(unit))
    daemon.prefix = (*enter, *NAMESPACES, "sh", "-c", MOUNT_ANEW)
    daemon.start()
    assert daemon.cgroup.parent == V2
    assert (unit / daemon.cgroup.name).is_dir()
    assert_limits_hold(daemon, busybox)


def test_where_v2_is_mounted_nowhere_it_is_mounted_privately(daemon: Daemon, busybox: Path) -> None:
    """In a place of the supervisor's own, gone at its end."""
    daemon.prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", WITHOUT_V2)
    daemon.start()
    own = daemon.run_dir / "cgroup2"
    assert daemon.cgroup.parent == own
    assert any(f" {own} " in line for line in Path(f"/proc/{daemon.pid}/mountinfo").read_text().splitlines())
    assert_limits_hold(daemon, busybox)
    daemon.remove_containers()
    assert daemon.terminate() == 0
    assert not own.exists()


def test_where_v2_cannot_be_mounted_it_says_so(tmp_path: Path) -> None:
    """As without the right to: what failed, and what its owner can do."""
    refused = ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin")
    prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", WITHOUT_V2, *refused)
    where = ("--state-dir", tmp_path / "state", "--run-dir", tmp_path / "run")
    command = (*prefix, sys.executable, "-m", "wherryd.main", *where)
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    own = tmp_path / "run/cgroup2"
    assert (done.returncode, done.stdout, own.exists()) == (1, "", False)
    assert done.stderr == (
        f"wherryd: cgroup v2 is mounted nowhere, and cannot be mounted on {own}: Operation not permitted "
        "(mount it as root of the machine: mount -t cgroup2 cgroup2 DIRECTORY)\n"
    )
