"""The control socket: bound in the run directory, peers checked, one session task a client.

Owns the socket's path and the limit on clients. A squatted path is refused, a living peer's socket never
unlinked: the directory is 0700 and locked by this supervisor before this module runs.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict
from wherryd import journal
from wherryd.control.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.control.verbs import Verbs

BACKLOG = 512

MAX_CLIENTS = 8192
"""Sessions at once. Each costs some 20 KiB; beyond, new ones wait in the backlog."""

EMFILE_PAUSE = 0.1
"""Seconds to wait when no descriptor is left, as accept would fail again at once."""

_UCRED = struct.Struct("3i")


def bind(path: Path) -> socket.socket:
    """Return a listening socket at `path`, mode 0600. The caller holds the directory's lock.

    Raises Conflict when something that is no socket is in its place.
    """
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict(f"{path} is in the way: it is not a socket", hint="remove it", path=str(path))
        path.unlink()
    except FileNotFoundError:
        pass
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    mask = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
    finally:
        os.umask(mask)
    sock.listen(BACKLOG)
    return sock


async def serve(listening: socket.socket, verbs: Verbs, nursery: trio.Nursery) -> None:
    """Accept clients until cancelled; their sessions run in `nursery`."""
    room = trio.Semaphore(MAX_CLIENTS)
    while True:
        await room.acquire()
        client = await _accept(listening)
        if not _allowed(client):
            client.close()
            room.release()
            continue
        nursery.start_soon(_session, client, verbs, room)


async def _accept(listening: socket.socket) -> socket.socket:
    while True:
        try:
            client, _ = listening.accept()
        except BlockingIOError:
            await trio.lowlevel.wait_readable(listening)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                if error.errno != errno.ECONNABORTED:
                    raise
                continue
            journal.warning("no client accepted", error=error)
            await trio.sleep(EMFILE_PAUSE)
        else:
            client.setblocking(False)
            return client


def _allowed(client: socket.socket) -> bool:
    pid, uid, _gid = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid in (0, os.geteuid()):
        return True
    journal.warning("client refused: not root", pid=pid, uid=uid)
    return False


async def _session(client: socket.socket, verbs: Verbs, room: trio.Semaphore) -> None:
    try:
        await Session(client, verbs).run()
    except Exception as error:  # noqa: BLE001 - one session's defect must not end the others
        journal.defect("session failed", error)
    finally:
        room.release()
