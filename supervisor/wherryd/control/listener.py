"""The control socket: bound in the run directory, peers checked, one session task a client.

Owns the socket's path, the limit on clients, and a descriptor in reserve: with none left whoever comes is
told so, rather than left to wait. A squatted path is refused, a living peer's socket never unlinked: the
directory is 0700 and locked by this supervisor before this module runs.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING, Self, cast

import trio

from wherry_protocol.errors import Conflict
from wherryd import journal, no_memory
from wherryd.control.session import Session
from wherryd.control.unforeseen import farewell
from wherryd.kernel.shortage import DESCRIPTORS, MEMORY, shortage
from wherryd.shortage import refusal
from wherryd.tasks import start_soon

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.control.verbs import Verbs

BACKLOG = 512

MAX_CLIENTS = 8192
"""Sessions at once. Each costs some 20 KiB; beyond, new ones wait in the backlog."""

PAUSE = 0.1
"""Seconds to wait when nobody can be accepted, not even to be refused: accept would fail again at once."""

TELL_EVERY = 10.0
"""Seconds between two words in the journal about those who are refused."""

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
    with _Door(listening) as door:
        while True:
            await room.acquire()
            client = await door.accept()
            if not _allowed(client):
                client.close()
                room.release()
                continue
            start_soon(nursery, _session, client, verbs, room)


class _Door:
    """Where clients come in. Keeps a descriptor to let one in with when there is no other."""

    def __init__(self, listening: socket.socket) -> None:
        self._listening = listening
        self._reserve: int | None = None
        self._told_at = -TELL_EVERY

    def __enter__(self) -> Self:
        self._keep_one()
        return self

    def __exit__(self, *_: object) -> None:
        self._give_one_up()

    async def accept(self) -> socket.socket:
        """Return the next client; those that there is no descriptor for are told so."""
        while True:
            try:
                return self._take()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._listening)
            except OSError as error:
                if error.errno in (*DESCRIPTORS, *MEMORY):
                    await self._refuse(error)
                elif error.errno != errno.ECONNABORTED:
                    raise

    def _take(self) -> socket.socket:
        client, _ = self._listening.accept()
        client.setblocking(False)
        return client

    async def _refuse(self, error: OSError) -> None:
        if trio.current_time() - self._told_at >= TELL_EVERY:
            self._told_at = trio.current_time()
            journal.error("clients refused", error=error)
        self._give_one_up()
        try:
            with self._take() as client:
                if (reason := refusal("request", error)) is not None:
                    farewell(client, reason)
        except BlockingIOError:
            # Nobody is there: accept(2) looks for a descriptor before it looks for a client.
            await trio.lowlevel.wait_readable(self._listening)
        except OSError as again:
            # Somebody else has got it, or the client has gone.
            journal.debug("no client to be refused", error=again)
            await trio.sleep(PAUSE)
        self._keep_one()
        await trio.lowlevel.checkpoint()

    def _give_one_up(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _keep_one(self) -> None:
        if self._reserve is not None:
            return
        try:
            self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            journal.debug("no descriptor in reserve", error=error)


def _allowed(client: socket.socket) -> bool:
    pid, uid, _gid = _UCRED.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid in (0, os.geteuid()):
        return True
    journal.warning("client refused: not root", pid=pid, uid=uid)
    return False


def _first(error: BaseException) -> BaseException:
    """Return the failure, or the first of several."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


async def _session(client: socket.socket, verbs: Verbs, room: trio.Semaphore) -> None:
    try:
        await Session(client, verbs).run()
    except Exception as error:  # noqa: BLE001 - one session's defect must not end the others
        no_memory.ends_us(error)
        if shortage(_first(error)) is None:
            journal.defect("session failed", error)
        else:
            journal.error("a client was hung up on without a word", error=repr(error))
    finally:
        room.release()
