"""What limits come to in either version of cgroups, and what they may say: values only, no kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from wherry_protocol.errors import BadRequest
from wherry_protocol.limits import NO_LIMITS, DeviceRate, Limits
from wherryd.cgroups.checks import MEMORY_MIN, Machine, check_values, parse_list
from wherryd.cgroups.limits import controllers_of, writes
from wherryd.cgroups.tree import Tree
from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from pathlib import Path

DISK = (DeviceRate(path="/dev/x", rate=1000),)
MACHINE = Machine(cpus=2, memory=8 << 30, cpuset_cpus=frozenset({0, 1}), cpuset_mems=frozenset({0}))


def texts(limits: Limits, version: int) -> dict[str, str]:
    found = writes(limits, lambda _controller: version, {"/dev/x": "8:0"})
    return {write.file: write.text for write in found if not write.wish}


@pytest.mark.parametrize(
    ("limits", "v1", "v2"),
    [
        ({"cpu_quota": 20_000}, "cpu.cfs_period_us 100000 cpu.cfs_quota_us 20000", "cpu.max 20000,100000"),
        (
            {"cpu_quota": 500, "cpu_period": 5000},
            "cpu.cfs_period_us 5000 cpu.cfs_quota_us 500",
            "cpu.max 500,5000",
        ),
        ({"cpu_weight": 100}, "cpu.shares 1024", "cpu.weight 100"),
        ({"cpu_weight": 1}, "cpu.shares 10", "cpu.weight 1"),
        ({"cpu_weight": 10_000}, "cpu.shares 102400", "cpu.weight 10000"),
        ({"cpu_shares": 2}, "cpu.shares 2", "cpu.weight 1"),
        ({"cpu_shares": 512}, "cpu.shares 512", "cpu.weight 50"),
        ({"cpu_shares": 262_144}, "cpu.shares 262144", "cpu.weight 10000"),
        ({"cpuset_cpus": "0-1", "cpuset_mems": "0"},) + ("cpuset.mems 0 cpuset.cpus 0-1",) * 2,
        ({"memory": 819_200}, "memory.limit_in_bytes 819200", "memory.max 819200"),
        (
            {"memory": 100, "memory_swap": 150},
            "memory.limit_in_bytes 100 memory.memsw.limit_in_bytes 150",
            "memory.swap.max 50 memory.max 100",
        ),
        (
            {"memory": 100, "memory_swap": -1},
            "memory.limit_in_bytes 100 memory.memsw.limit_in_bytes -1",
            "memory.swap.max max memory.max 100",
        ),
        ({"memory_reservation": 50}, "memory.soft_limit_in_bytes 50", "memory.low 50"),
        ({"oom_group": True}, "memory.oom.group 1", "memory.oom.group 1"),
        ({"pids": 50}, "pids.max 50", "pids.max 50"),
        ({"pids": -1}, "pids.max max", "pids.max max"),
        ({"io_weight": 200}, "blkio.bfq.weight 200", "io.weight default,200"),
        ({"device_read_bps": DISK}, "blkio.throttle.read_bps_device 8:0,1000", "io.max 8:0,rbps=1000"),
        ({"device_write_bps": DISK}, "blkio.throttle.write_bps_device 8:0,1000", "io.max 8:0,wbps=1000"),
        ({"device_read_iops": DISK}, "blkio.throttle.read_iops_device 8:0,1000", "io.max 8:0,riops=1000"),
        ({"device_write_iops": DISK}, "blkio.throttle.write_iops_device 8:0,1000", "io.max 8:0,wiops=1000"),
    ],
)
def test_a_limit_is_written_as_each_version_wants_it(limits: dict[str, Any], v1: str, v2: str) -> None:
    """Files and texts of both versions, in the order in which they are to be written."""
    for version, expected in ((1, v1), (2, v2)):
        words = expected.split(" ")
        pairs = dict(zip(words[::2], (word.replace(",", " ") for word in words[1::2]), strict=True))
        assert texts(Limits(**limits), version) == pairs


def test_without_a_word_processes_are_bounded_and_nothing_else_is() -> None:
    """The one default is that of pids; memory's group is there to be told of."""
    for version in (1, 2):
        found = writes(NO_LIMITS, lambda _controller, here=version: here, {})
        assert [(write.file, write.text, write.wish) for write in found] == [("pids.max", "4096", True)]
    assert controllers_of(NO_LIMITS) == ("memory", "pids")


def test_a_memory_limit_bounds_swap_too_where_the_kernel_counts_it() -> None:
    """As docker: as much swap again; a kernel that does not count swap is no error then."""
    swap = [write for write in writes(Limits(memory=100), lambda _: 1, {}) if "memsw" in write.file]
    assert [(write.text, write.wish) for write in swap] == [("200", True)]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpu_quota": 0}, "0 cpus is too small"),
        ({"cpu_quota": -5}, "too small"),
        ({"cpu_quota": 999}, "0.00999 cpus is too small"),
        ({"cpu_quota": 200_001}, "above the machine"),
        ({"cpu_period": 50_000}, "without a quota"),
        ({"cpu_quota": 5000, "cpu_period": 999}, "cpu period 999"),
        ({"cpu_quota": 5000, "cpu_period": 1_000_001}, "cpu period 1000001"),
        ({"cpu_weight": 0}, "cpu weight 0"),
        ({"cpu_weight": 10_001}, "cpu weight 10001"),
        ({"cpu_shares": 1}, "cpu shares 1"),
        ({"cpu_weight": 5, "cpu_shares": 5}, "the same thing"),
        ({"cpuset_cpus": ""}, "malformed"),
        ({"cpuset_cpus": "1-0"}, "malformed"),
        ({"cpuset_cpus": "0,,1"}, "malformed"),
        ({"cpuset_cpus": "²"}, "malformed"),
        ({"cpuset_cpus": "0-2"}, "not available"),
        ({"cpuset_mems": "1"}, "not available"),
        ({"memory": 0}, str(MEMORY_MIN)),
        ({"memory": -1}, str(MEMORY_MIN)),
        ({"memory": MEMORY_MIN - 1}, str(MEMORY_MIN)),
        ({"memory": 1 << 63}, "above the machine .it has 8589934592"),
        ({"memory_reservation": (8 << 30) + 1}, "above the machine"),
        ({"memory": 1 << 20, "memory_swap": 1 << 63}, "above what any machine has"),
        ({"memory_reservation": 0}, "is no size"),
        ({"memory": MEMORY_MIN, "memory_reservation": MEMORY_MIN + 1}, "above the memory limit"),
        ({"memory_swap": 1 << 20}, "without a memory limit"),
        ({"memory": 1 << 20, "memory_swap": 1 << 19}, "below the memory limit"),
        ({"memory": 1 << 20, "memory_swap": 0}, "is no size"),
        ({"memory": 1 << 20, "memory_swap": -2}, "is no size"),
        ({"pids": 0}, "pids limit 0"),
        ({"pids": -2}, "pids limit -2"),
        ({"pids": 1 << 32}, "pids limit"),
        ({"io_weight": 0}, "io weight 0"),
        ({"io_weight": 10_001}, "io weight 10001"),
        ({"oom_score_adj": 1001}, "oom_score_adj 1001"),
        ({"device_read_bps": (DeviceRate(path="/dev/x", rate=0),)}, "/dev/x"),
        ({"device_read_bps": (DeviceRate(path="/dev/x", rate=-1),)}, "/dev/x"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_by_name(limits: dict[str, Any], words: str) -> None:
    """Zero, negative, malformed, above the machine, below what works: one line that says what would do."""
    with pytest.raises(BadRequest, match=words):
        check_values(Limits(**limits), MACHINE)


@pytest.mark.parametrize(
    "limits",
    [
        {"cpu_quota": 1000},
        {"cpu_quota": 200_000},
        {"memory": MEMORY_MIN, "memory_swap": MEMORY_MIN},
        {"memory": MEMORY_MIN, "memory_swap": -1},
        {"memory_swap": -1},
        {"pids": -1},
        {"pids": 1},
        {"cpuset_cpus": "0,1", "cpuset_mems": "0"},
        {"oom_score_adj": -1000},
    ],
)
def test_a_limit_at_its_very_bound_is_taken(limits: dict[str, Any]) -> None:
    check_values(Limits(**limits), MACHINE)


def test_lists_are_read_as_the_kernel_writes_them() -> None:
    assert parse_list("0-2,7\n") == {0, 1, 2, 7}
    assert parse_list("\n") == frozenset()


# -- where controllers are -----


class Ground:
    """A fixture of cgroup mounts: files only."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.lines: list[str] = []
        self.own: list[str] = []

    def mount(self, name: str, fstype: str, options: str, *, root: str = "/", flags: str = "rw") -> Path:
        where = self.base / name
        where.mkdir()
        number = len(self.lines) + 30
        self.lines.append(f"{number} 1 0:{number} {root} {where} {flags} - {fstype} {fstype} {options}")
        if fstype == "cgroup2":
            (where / "cgroup.controllers").write_text("hugetlb\n")
        return where

    def tree(self) -> Tree:
        mounts, own = self.base / "mountinfo", self.base / "cgroup"
        mounts.write_text("".join(f"{line}\n" for line in self.lines))
        own.write_text("".join(f"{line}\n" for line in self.own))
        found = find_hierarchies(str(mounts), str(own))
        assert found.v2 is not None
        v1 = {name: self.base / path / "w" for name, path in found.v1.items()}
        return Tree("w", found, self.base / found.v2, v1, self.base / "own")


@pytest.fixture
def mounts(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_controllers_that_share_a_hierarchy_are_both_found_there(mounts: Ground) -> None:
    mounts.mount("unified", "cgroup2", "rw,nsdelegate")
    shared = mounts.mount("cpu,cpuacct", "cgroup", "rw,cpu,cpuacct")
    mounts.mount("systemd", "cgroup", "rw,xattr,name=systemd")
    tree = mounts.tree()
    assert tree.hierarchies.v1 == {"cpu": str(shared), "cpuacct": str(shared)}
    assert (tree.version_of("cpu"), tree.version_of("hugetlb"), tree.version_of("memory")) == (1, 2, None)


def test_a_group_inside_another_containers_mount_is_found_below_it(mounts: Ground) -> None:
    """Nested without a cgroup namespace, the mount shows a part of the hierarchy only."""
    mounts.mount("unified", "cgroup2", "rw", root="/docker/abc")
    mounts.own = ["0::/docker/abc/inner"]
    unified = mounts.tree().hierarchies.unified
    assert unified is not None
    assert unified.own == "/inner"


def test_a_controller_that_cannot_be_used_is_named_with_the_reason(mounts: Ground) -> None:
    mounts.mount("unified", "cgroup2", "rw")
    mounts.mount("memory", "cgroup", "rw,memory", flags="ro")
    tree = mounts.tree()
    assert "mounted read-only" in tree.why_missing("memory")
    assert tree.why_missing("memory").startswith("cgroup controller memory cannot be used: ")
    assert "in no cgroup hierarchy" in tree.why_missing("io")
