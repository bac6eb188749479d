"""A launcher without a descriptor for who wants to connect: it waits, and keeps nobody busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from launching import TIMEOUT, finish
from support.starving import busy, no_descriptor

from wherryd.launcher import wire
from wherryd.launcher.handle import open_launcher
from wherryd.launcher.start import connect

if TYPE_CHECKING:
    from launching import Ground


async def test_whoever_cannot_be_let_in_is_later_and_costs_nothing(ground: Ground) -> None:
    """The next supervisor is greeted as soon as there is a descriptor for it."""
    async with open_launcher(ground.run_dir) as first:
        assert first.pid is not None
        await finish(first, await first.spawn(ground.plan("true")))  # it has what it needs from its start on
        sock = None
        try:
            with no_descriptor(first.pid):
                sock = connect(ground.run_dir / "launcher.sock")
                assert sock is not None
                used = busy(first.pid)
                assert used < 0.2, f"it uses {used:.0%} of a processor"
                with pytest.raises(BlockingIOError):
                    wire.receive(sock)
            with trio.fail_after(TIMEOUT):
                await trio.lowlevel.wait_readable(sock)
            greeting = wire.receive(sock)
            assert greeting is not None
            assert greeting[0][0] == "hello"
        finally:
            if sock is not None:
                sock.close()
