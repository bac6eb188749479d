"""What a worker makes while nobody waits is what the next container gets, if it is of that shape."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from launching import children, finish, settled

from wherryd.launcher.handle import open_launcher

if TYPE_CHECKING:
    from launching import Ground

pytestmark = pytest.mark.alone  # on a busy machine a second worker takes the order, and has nothing ready

NETWORK = ("readlink", "/proc/self/ns/net")


def network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


async def test_the_next_container_gets_the_namespace_that_was_made_for_it(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        assert launcher.pid is not None
        await finish(launcher, await launcher.spawn(ground.plan("true")))
        await settled(launcher.pid)
        (worker,) = children(launcher.pid)
        ready = network_of(worker)
        assert ready != network_of(launcher.pid), "nothing was made ahead"
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
