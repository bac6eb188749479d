"""Requests of a client that comes back: its supervisor has gone, another one has taken over."""

from __future__ import annotations

from wherry_protocol.call import Stream
from wherry_protocol.container_state import ExitStatus
from wherry_protocol.containers import Output


class AttachAgain(Stream[ExitStatus]):
    """Stream what a container printed after a place in its log (see Output); answered at the end of its run.

    For whoever was attached to it: its descriptors are still good, so none rides along. It may have ended.
    """

    op = "attach_again"
    answer = ExitStatus
    events = (Output,)
    repeatable = True
    ref: str
    after: int
