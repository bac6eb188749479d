"""What requests of clients mean that lost another supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.again import AttachAgain
from wherry_protocol.errors import BadRequest
from wherryd.containers.attachment import Attachment
from wherryd.containers.manager import told
from wherryd.control.verbs.containers import send_output

if TYPE_CHECKING:
    from wherry_protocol.container_state import ExitStatus
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.control.emitter import Emitter


async def attach_again(context: Context, call: AttachAgain, emitter: Emitter) -> ExitStatus:
    container = context.manager.find(call.ref)
    if call.after < 0:
        raise BadRequest(f"attach: {call.after} is no place in a log")
    with Attachment() as attachment:
        attachment.reopen(container, call.after)
        await send_output(attachment.output(), emitter)
        return told(await attachment.wait_ended(), container)


ANSWERS: Answers = {}

STREAMS: Streams = {AttachAgain: attach_again}
