"""What the request to read the settings again means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.reload import Reload, Reloaded

if TYPE_CHECKING:
    from wherryd.control.context import Answers, Context, Streams


async def reload(context: Context, _call: Reload) -> Reloaded:
    return context.reloader.reload()


ANSWERS: Answers = {
    Reload: reload,
}

STREAMS: Streams = {}
