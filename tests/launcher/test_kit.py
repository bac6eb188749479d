"""What a worker makes while nobody waits is what the next container gets, if it is of that shape."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from launching import children, finish, settled
from support.forms import within
from support.netns import Place

from wherryd.launcher.handle import open_launcher

if TYPE_CHECKING:
    from launching import Ground

    from wherryd.launcher.handle import Launcher

pytestmark = pytest.mark.alone  # on a busy machine a second worker takes the order, and has nothing ready

NETWORK = ("readlink", "/proc/self/ns/net")
TRIES = 5
"""On a busy machine there may be a second worker all the same; once undisturbed is enough."""

PATIENCE = within(1.0)


def network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


async def made_ahead(launcher: Launcher, ground: Ground) -> str:
    """Run a container; return the network namespace that a worker has for the next one, if it has one."""
    assert launcher.pid is not None
    await finish(launcher, await launcher.spawn(ground.plan("true")))
    await settled(launcher.pid)
    with trio.move_on_after(PATIENCE):
        while True:
            for worker in children(launcher.pid):
                with suppress(FileNotFoundError):  # it has just been dismissed
                    links = [os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir()]
                    found = [link for link in links if link.startswith("net:")]
                    if found:
                        return found[0]
            await trio.sleep(0.005)
    return ""


async def test_the_next_container_gets_the_namespace_that_was_made_for_it(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        for _ in range(TRIES):
            ready = await made_ahead(launcher, ground)
            outs = [
                (await finish(launcher, await launcher.spawn(ground.plan(*NETWORK))))[1] for _ in range(2)
            ]
            given = [out.strip() == ready for out in outs]
            if given == [True, False]:
                return
    assert given == [True, False], "one namespace for one container"


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
        with Place.new() as place:
            place.ip("link add probe type veth peer name other")
            joined = f"net:[{os.fstat(place.fd).st_ino}]"
            for _ in range(TRIES):
                ready = await made_ahead(launcher, ground)
                outs = []
                for network, netns in (("bridge", place.fd), ("none", None)):
                    plan = ground.plan("sh", "-c", script, network=network)
                    outs.append((await finish(launcher, await launcher.spawn(plan, netns)))[1].split())
                    await settled(launcher.pid or 0)
                expected = [[joined, "lo", "other", "probe"], [ready, "lo"]]
                if outs == expected:
                    return
    assert outs == expected
