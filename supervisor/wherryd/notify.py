"""Tells the service manager what we are doing (sd_notify(3)); does nothing when there is none."""

from __future__ import annotations

import os
import socket

from wherryd import journal


def sd_notify(state: str) -> None:
    """Send e.g. "READY=1" or "STOPPING=1" to $NOTIFY_SOCKET."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.send(state.encode())
    except OSError as error:
        journal.warning("the service manager was not told", state=state, error=error)
