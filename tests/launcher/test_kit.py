"""What a worker makes while nobody waits is what the next container gets, if it is of that shape."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from launching import children, finish, settled
from support.netns import Place

from wherryd.launcher.handle import open_launcher

if TYPE_CHECKING:
    from launching import Ground

pytestmark = pytest.mark.alone  # on a busy machine a second worker takes the order, and has nothing ready

NETWORK = ("readlink", "/proc/self/ns/net")


def network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def networks_held(pid: int) -> list[str]:
    """The network namespaces that a process has descriptors of."""
    links = (os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir())
    return [link for link in links if link.startswith("net:")]


async def test_the_next_container_gets_the_namespace_that_was_made_for_it(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        await settled(launcher.pid)
        (worker,) = children(launcher.pid)
        (ready,) = networks_held(worker)
        for expected_ready in (True, False):
            _, out, _ = await finish(launcher, await launcher.spawn(ground.plan(*NETWORK)))
            assert (out.strip() == ready) is expected_ready, "one namespace for one container"


async def test_a_container_of_another_shape_gets_none_of_it(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        await settled(launcher.pid)
        plan = ground.plan(*NETWORK, network="host")
        _, out, _ = await finish(launcher, await launcher.spawn(plan))
        assert out.strip() == network_of(launcher.pid)


async def test_one_that_joins_a_network_leaves_the_namespace_to_the_next(ground: Ground) -> None:
    """Each sees its own network in /sys, whichever was the last one's."""
    script = "readlink /proc/self/ns/net; ls /sys/class/net"
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        await settled(launcher.pid)
        (worker,) = children(launcher.pid)
        (ready,) = networks_held(worker)
        with Place.new() as place:
            place.ip("link add probe type veth peer name other")
            joined = f"net:[{os.fstat(place.fd).st_ino}]"
            for network, netns, expected in (
                ("bridge", place.fd, [joined, "lo", "other", "probe"]),
                ("none", None, [ready, "lo"]),
            ):
                plan = ground.plan("sh", "-c", script, network=network)
                ended, out, err = await finish(launcher, await launcher.spawn(plan, netns))
                assert (ended.code, out.split()) == (0, expected), err
                await settled(launcher.pid)
                assert children(launcher.pid) == [worker]
