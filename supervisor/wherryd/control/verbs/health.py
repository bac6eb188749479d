"""What requests about the health of containers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.health import WaitHealthy

if TYPE_CHECKING:
    from wherryd.control.context import Answers, Context, Streams


async def wait_healthy(context: Context, call: WaitHealthy) -> str:
    container = context.manager.find(call.ref)
    return await context.manager.services.health.wait_known(container)


ANSWERS: Answers = {
    WaitHealthy: wait_healthy,
}

STREAMS: Streams = {}
