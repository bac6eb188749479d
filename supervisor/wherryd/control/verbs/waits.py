"""What requests mean that wait for more than the end of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.waits import WaitNextExit, WaitRemoved
from wherryd.containers import waits

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherryd.control.context import Answers, Context, Streams


async def wait_next_exit(context: Context, call: WaitNextExit) -> ExitStatus:
    manager = context.manager
    return await waits.wait_next_exit(manager.find(call.ref), manager.services, call.after)


async def wait_removed(context: Context, call: WaitRemoved) -> ExitStatus:
    return await waits.wait_removed(call.container_id, context.manager.services)


ANSWERS: Answers = {
    WaitNextExit: wait_next_exit,
    WaitRemoved: wait_removed,
}

STREAMS: Streams = {}
