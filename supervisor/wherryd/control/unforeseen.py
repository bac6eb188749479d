"""What a client hears of a failure that its verb did not foresee: we are short of something, or a defect.

Owns these words. Must never hide a defect: what is no shortage goes to the journal with its traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.connection import Connection, Role
from wherry_protocol.errors import InternalError
from wherryd import journal, no_memory
from wherryd.kernel.shortage import shortage
from wherryd.shortage import refusal

if TYPE_CHECKING:
    import socket

    from wherry_protocol.errors import WherryError


def told(operation: str, error: Exception) -> WherryError:
    """Return the answer to a request that failed so."""
    no_memory.ends_us(error)
    short = refusal(operation, error)
    if short is not None:
        journal.error("request refused", error=error, op=operation)
        return short
    journal.defect("request failed", error, op=operation)
    return InternalError(f"{operation}: {error!r}", hint="see the supervisor's log")


def advised(error: WherryError) -> WherryError:
    """Return an error with what to do about it, if it is a shortage and nobody has said."""
    no_memory.ends_us(error)
    if error.hint is None and shortage(error) is not None and (short := refusal("", error)) is not None:
        error.hint = short.hint
    return error


def farewell(sock: socket.socket, reason: WherryError) -> None:
    """Tell a client that was just accepted why it is hung up on, if it listens. Raises OSError."""
    connection = Connection(Role.SERVER)
    sock.send(connection.send_hello() + connection.send_error(None, reason))
