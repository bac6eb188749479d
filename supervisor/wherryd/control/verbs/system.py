"""What requests about the supervisor itself mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.system import Info, Ping, Pong, Version
from wherryd.control import facts

if TYPE_CHECKING:
    from wherry_protocol.system import SystemInfo, VersionInfo
    from wherryd.control.context import Answers, Context, Streams


async def ping(context: Context, _: Ping) -> Pong:
    return Pong(pid=context.facts.pid)


async def version(_context: Context, _: Version) -> VersionInfo:
    return facts.version_info()


async def info(context: Context, _: Info) -> SystemInfo:
    return facts.system_info(context.facts, context.manager)


ANSWERS: Answers = {
    Ping: ping,
    Version: version,
    Info: info,
}

STREAMS: Streams = {}
