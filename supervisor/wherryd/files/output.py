"""An archive's bytes on their way out: gathered, compressed by a thread of its own if at all, written whole.

Owns the data descriptor's end of the work. Never holds more than a few pieces: when the reader of a pipe is
slow, whoever makes the archive waits.
"""

from __future__ import annotations

import os
import select
import zlib
from functools import partial
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 512 << 10
"""Bytes that are gathered before they are written: large enough to make calls rare."""

_AHEAD = 4  # pieces between the two threads
_GZIP = 31  # zlib's window bits for the gzip format
_ZSTD_THREADS = 4  # each has buffers of its own, and memory is bounded
_XZ_PRESET = 3  # four times as fast as the default of 6, and an eighth larger


class Compressor(Protocol):
    """What zlib, bz2, lzma and zstandard have in common."""

    def compress(self, data: bytes, /) -> bytes: ...  # noqa: D102 - as in the standard library
    def flush(self) -> bytes: ...  # noqa: D102 - as in the standard library


def compressor(name: str | None) -> Compressor | None:
    """Return a new compressor: "gzip", "bzip2", "xz" or "zstd". Imports what it needs."""
    if name == "gzip":
        return zlib.compressobj(wbits=_GZIP)
    if name == "bzip2":
        import bz2

        return bz2.BZ2Compressor()
    if name == "xz":
        import lzma

        return lzma.LZMACompressor(preset=_XZ_PRESET)
    if name == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(threads=min(_ZSTD_THREADS, os.cpu_count() or 1)).compressobj()
    return None


class Output:
    """Takes bytes; they are all in `fd` when `close` has returned.

    `on_bytes` is told how many bytes have been taken so far. Raises OSError, of the writing too.
    """

    def __init__(self, fd: int, compression: str | None, on_bytes: Callable[[int], None]) -> None:
        self._fd = fd
        # Without one there is no thread: two that take turns with the interpreter's lock are slower than one.
        self._compressor = compressor(compression)
        self._on_bytes = on_bytes
        self._parts: list[bytes] = []
        self._gathered = 0
        self._taken = 0
        self.written = 0
        self._error: OSError | None = None
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        self._room = Semaphore(_AHEAD)
        self._thread = Thread(target=self._work, daemon=True, name="output")

    def start(self) -> None:
        """Begin to write."""
        if self._compressor is not None:
            self._thread.start()

    def put(self, data: bytes) -> None:
        """Take bytes, which may be kept for a while."""
        self._parts.append(data)
        self._gathered += len(data)
        if self._gathered >= PIECE:
            self._pass_on()

    def close(self) -> None:
        """Wait until all is written."""
        self._pass_on()
        if self._compressor is not None:
            self._queue.put(None)
            self._thread.join()
        if self._error is not None:
            raise self._error

    def _pass_on(self) -> None:
        piece = b"".join(self._parts)
        if self._compressor is None:
            self._write(piece)
        else:
            self._room.acquire()
            if self._error is not None:
                raise self._error
            self._queue.put(piece)
        self._taken += self._gathered
        self._parts.clear()
        self._gathered = 0
        self._on_bytes(self._taken)

    def _work(self) -> None:
        assert self._compressor is not None  # noqa: S101 - else there is no thread
        while (piece := self._queue.get()) is not None:
            self._attempt(partial(self._compressor.compress, piece))
            self._room.release()
        self._attempt(self._compressor.flush)

    def _attempt(self, make: Callable[[], bytes]) -> None:
        """Write what `make` returns; after a failure nothing more, so that the other thread learns of it."""
        if self._error is not None:
            return
        try:
            self._write(make())
        except OSError as error:
            self._error = error

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                done = os.write(self._fd, view)
            except BlockingIOError:
                # the flag is the client's own, and of everybody who has the pipe: not ours to change
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
                continue
            self.written += done
            view = view[done:]
