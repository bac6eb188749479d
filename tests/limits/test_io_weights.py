"""I/O weights: what shares a busy disk by them, and that none is taken where no disk would heed it."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.forms import within
from support.groupkit import group_of, tree_of
from support.loopdisk import load_module, loop_disk

from wherry import RunSpec, Volume
from wherry.errors import Unsupported
from wherry_protocol.limits import Limits
from wherryd.cgroups.weights import check_heeded
from wherryd.kernel import cgroups
from wherryd.kernel.hierarchies import find_hierarchies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon
    from support.loopdisk import LoopDisk

    from wherry import Client

FOUND = find_hierarchies()
IO_VERSION = 2 if "io" in FOUND.v2_controllers else 1 if "blkio" in FOUND.v1 else None
LIGHT, HEAVY = 10, 1000
ENOUGH = 2
"""Times as much: a hundred would be the weights' own proportion, were the disk all that they wait for."""

TRIES = 5
READERS = 4
RATE = 8 << 20
"""Bytes a second of the disk that io.cost is told of: so slow that every reader has to wait."""

READ = "while :; do dd if=/disk/file of=/dev/null bs=64k iflag=direct 2>/dev/null; done"
SCRIPT = f"for i in {' '.join(map(str, range(READERS)))}; do {READ} & done; wait"

pytestmark = pytest.mark.skipif(
    IO_VERSION is None, reason="no io controller: neither io in cgroup.controllers nor a blkio hierarchy"
)


@pytest.fixture
def disk(wherryd: Daemon) -> Iterator[LoopDisk]:
    with tempfile.TemporaryDirectory(dir=wherryd.root) as folder, loop_disk(Path(folder)) as made:
        (made.mounted / "file").write_bytes(os.urandom(16 << 20))
        os.sync()
        yield made


@contextmanager
def bfq(disk: LoopDisk) -> Iterator[None]:
    """Have the disk's requests scheduled by BFQ, by nothing but the weights."""
    load_module("bfq")
    if "bfq" not in disk.scheduler.read_text():
        pytest.skip("this kernel has no BFQ scheduler (CONFIG_IOSCHED_BFQ)")
    disk.scheduler.write_text("bfq")
    (disk.scheduler.parent / "iosched/low_latency").write_text("0")
    try:
        yield
    finally:
        disk.scheduler.write_text("none")


@contextmanager
def io_cost(disk: LoopDisk) -> Iterator[None]:
    """Have the disk's time shared by io.cost, which is told that it is a slow one."""
    if IO_VERSION == 1:
        pytest.skip("io.cost is of cgroup v2: here the io controller is the blkio hierarchy of v1")
    qos = Path(FOUND.v2 or "", "io.cost.qos")
    if not qos.exists():
        pytest.skip("this kernel has no io.cost (CONFIG_BLK_CGROUP_IOCOST)")
    cost = qos.with_name("io.cost.model")
    speed = f"rbps={RATE} rseqiops=4096 rrandiops=4096 wbps={RATE} wseqiops=4096 wrandiops=4096"
    cgroups.write(str(cost), f"{disk.number} ctrl=user model=linear {speed}")
    cgroups.write(str(qos), f"{disk.number} enable=1 ctrl=user min=100 max=100")
    try:
        yield
    finally:
        cgroups.write(str(qos), f"{disk.number} enable=0")


@pytest.mark.parametrize("share", [bfq, io_cost])
def test_a_busy_disk_is_shared_by_weight(
    wherryd: Daemon, busybox: Path, disk: LoopDisk, share: type[bfq]
) -> None:
    """Two that read all the time: the heavy one gets more than twice as much, until both weigh the same."""
    with share(disk), wherryd.client() as client:
        light, heavy = (reader(client, busybox, disk, weight) for weight in (LIGHT, HEAVY))
        ratio = max(tries(wherryd, disk, light, heavy, lambda found: found > ENOUGH))
        client.update(heavy, limits=Limits(io_weight=LIGHT))
        even = min(tries(wherryd, disk, light, heavy, lambda found: found < ratio / 2))
        for each in (light, heavy):
            client.remove(each, force=True)
    print(f"{share.__name__}: {LIGHT} to {HEAVY}: 1 to {ratio:.1f}; {LIGHT} to {LIGHT}: 1 to {even:.1f}")
    assert ratio > ENOUGH, f"{LIGHT} to {HEAVY} had 1 to {ratio:.2f}"
    assert even < ratio / 2, f"the same weight had 1 to {even:.2f}, where {LIGHT} to {HEAVY} had {ratio:.2f}"


def reader(client: Client, image: Path, disk: LoopDisk, weight: int) -> str:
    spec = RunSpec(
        image=str(image),
        command=("sh", "-c", SCRIPT),
        network="none",
        stop_timeout=0,
        volumes=(Volume(source=str(disk.mounted), target="/disk"),),
        limits=Limits(io_weight=weight),
    )
    return client.run_detached(spec).id


def tries(
    daemon: Daemon, disk: LoopDisk, light: str, heavy: str, enough: Callable[[float], bool]
) -> Iterator[float]:
    """Look until it is as it shall be: the processor may be what both wait for, not the disk."""
    for _ in range(TRIES):
        found = shared(daemon, disk, light, heavy)
        yield found
        if enough(found):
            return


def shared(daemon: Daemon, disk: LoopDisk, light: str, heavy: str) -> float:
    """Return how many times as much the heavy one reads, once both do."""
    for each in (light, heavy):
        deadline, before = time.monotonic() + within(10), read_bytes(daemon, disk, each)
        while read_bytes(daemon, disk, each) == before:
            assert time.monotonic() < deadline, "it reads nothing"
            time.sleep(0.02)
    before = {each: read_bytes(daemon, disk, each) for each in (light, heavy)}
    time.sleep(2)
    light_read, heavy_read = (read_bytes(daemon, disk, each) - before[each] for each in (light, heavy))
    return heavy_read / max(light_read, 1)


def read_bytes(daemon: Daemon, disk: LoopDisk, container: str) -> int:
    """Return what a container has read of a disk, by the scheduler's count."""
    found = group_of(daemon, container).path_of("io")
    assert found is not None
    path, version = found
    if version == 1:
        words = [line.split() for line in (path / "blkio.bfq.io_service_bytes").read_text().splitlines()]
        return sum(int(line[2]) for line in words if line[:2] == [disk.number, "Read"])
    for line in (path / "io.stat").read_text().splitlines():
        number, *fields = line.split()
        if number == disk.number:
            return int(dict(field.split("=") for field in fields).get("rbytes", "0"))
    return 0


def test_a_weight_that_no_disk_would_heed_is_refused(wherryd: Daemon, tmp_path: Path) -> None:
    """The kernel would take it, and it would do nothing."""
    tree = tree_of(wherryd)
    scheduler = tmp_path / "sda/queue/scheduler"
    scheduler.parent.mkdir(parents=True)
    check_heeded(tree, tmp_path)  # nothing is to be seen there
    scheduler.write_text("none mq-deadline [bfq]\n")
    check_heeded(tree, tmp_path)
    scheduler.write_text("none [mq-deadline] bfq\n")
    with pytest.raises(Unsupported, match="no disk has the bfq scheduler"):
        check_heeded(tree, tmp_path)
