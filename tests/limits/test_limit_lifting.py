"""Limits that are taken away while the container runs: the kernel's own default is there again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from support.groupkit import group_of, said

from wherry import RunSpec
from wherry_protocol.limits import UNLIMITED, DeviceRate, Limits
from wherryd.cgroups.lifting import lifts
from wherryd.cgroups.limits import writes

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

MIB = 1 << 20
NO_BOUND = 1 << 62
"""v1 says "no limit" by the largest multiple of a page."""


def is_unbounded(text: str | None) -> bool:
    return text in ("max", "-1") or int(text or 0) >= NO_BOUND


def swap_said(daemon: Daemon, container: str) -> str | None:
    """What bounds swap; None where the kernel does not count it."""
    found = group_of(daemon, container).path_of("memory")
    assert found is not None
    path, version = found
    file = path / ("memory.memsw.limit_in_bytes" if version == 1 else "memory.swap.max")
    return file.read_text(encoding="ascii").strip() if file.exists() else None


def test_minus_one_takes_a_limit_of_a_running_container_away(wherryd: Daemon, busybox: Path) -> None:
    """Memory with its swap, cpu time, processes; and there can be a limit again."""
    asked = Limits(memory=64 * MIB, memory_reservation=32 * MIB, cpu_quota=20_000, cpu_period=50_000, pids=50)
    spec = RunSpec(image=str(busybox), command=("sleep", "100"), network="none", limits=asked)
    with wherryd.client() as client:
        made = client.run_detached(spec).id
        options = ("-m", "-1", "--memory-reservation", "-1", "--cpus", "0", "--pids-limit", "-1")
        done = wherryd.cli("update", *options, made)
        assert (done.exit_code, done.stderr) == (0, "")
        for what in ("memory", "cpu", "pids"):
            assert is_unbounded(said(wherryd, made, what)), what
        swap = swap_said(wherryd, made)
        assert swap is None or is_unbounded(swap)
        details = client.inspect(made)
        assert details.spec.limits == Limits(pids=UNLIMITED)
        assert details.summary.state == "running"
        client.update(made, limits=asked)
        found = {what: said(wherryd, made, what) for what in ("memory", "pids", "cpu")}
        assert found == {"memory": str(64 * MIB), "pids": "50", "cpu": "20000"}
        client.remove(made, force=True)


def test_swap_is_lifted_alone(wherryd: Daemon, busybox: Path) -> None:
    """The bound on memory stays."""
    asked = Limits(memory=64 * MIB, memory_swap=64 * MIB)
    spec = RunSpec(image=str(busybox), command=("sleep", "100"), network="none", limits=asked)
    with wherryd.client() as client:
        made = client.run_detached(spec).id
        client.update(made, limits=Limits(memory_swap=UNLIMITED))
        swap = swap_said(wherryd, made)
        assert swap is None or is_unbounded(swap)
        assert said(wherryd, made, "memory") == str(64 * MIB)
        client.remove(made, force=True)


def test_what_is_lifted_is_not_there_at_the_next_start(wherryd: Daemon, busybox: Path) -> None:
    """A container that does not run forgets it as well."""
    spec = RunSpec(
        image=str(busybox), command=("sleep", "100"), network="none", limits=Limits(memory=64 * MIB)
    )
    with wherryd.client() as client:
        made = client.create(spec).id
        client.update(made, limits=Limits(memory=UNLIMITED))
        client.start(made)
        assert is_unbounded(said(wherryd, made, "memory"))
        client.remove(made, force=True)


@pytest.mark.parametrize("options", [("-m", "-1"), ("--cpus", "0"), ("--memory-reservation", "-1")])
def test_a_container_is_not_made_with_what_only_update_takes(
    wherryd: Daemon, busybox: Path, options: tuple[str, str]
) -> None:
    done = wherryd.cli("create", *options, busybox, "true")
    assert done.exit_code == 125
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("version", [1, 2])
def test_each_devices_bound_is_lifted_by_itself(version: int) -> None:
    """What is bounded anew, on another device, leaves no bound on the first."""

    def found(**limits: Any) -> Any:
        return writes(Limits(**limits), lambda _: version, {"/dev/a": "8:0", "/dev/b": "8:16"})

    one = (DeviceRate(path="/dev/a", rate=10),)
    other = (DeviceRate(path="/dev/b", rate=20),)
    both = found(device_read_bps=one, device_write_bps=one)
    after = found(device_read_bps=other, device_write_bps=one)
    lifted = [(write.file, write.text) for write in lifts(both, after)]
    expected = {1: ("blkio.throttle.read_bps_device", "8:0 0"), 2: ("io.max", "8:0 rbps=max")}
    assert lifted == [expected[version]]
