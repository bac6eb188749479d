"""The archive's bytes: read once, hashed as they are and as they are decoded, and handed over in order.

A thread of its own reads, hashes and decodes (all without the interpreter's lock) while the caller writes
files. Never holds more than a few pieces: when the caller is slow the thread waits.
"""

from __future__ import annotations

import hashlib
import os
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TYPE_CHECKING

from wherryd.images import decompress
from wherryd.images.broken import BrokenArchive, TooShort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_AHEAD = 8  # pieces between the two threads
_READ_COMPRESSED = 64 << 10


class Feed:
    """Plain tar bytes of the archive open at `fd`: all of it, or the `place` (offset, size) in it.

    `digest`, `diff_id` and `tar_size` are known once `drain()` has returned. `on_read` is told, from the
    other thread, how many bytes of the archive have been read so far. `head` is what was read of a pipe
    already. `keep` is told of every plain byte
    but those that `pieces` gave out.
    """

    def __init__(
        self,
        fd: int,
        compression: str | None,
        on_read: Callable[[int], None],
        *,
        place: tuple[int, int] | None = None,
        head: bytes = b"",
        keep: Callable[[memoryview], None] | None = None,
    ) -> None:
        self._fd = fd
        self._compression = compression
        self._on_read = on_read
        self._place = place
        self._head = head
        self._keep = keep
        self._sha256 = hashlib.sha256()
        self._plain_sha256 = self._sha256 if compression is None else hashlib.sha256()
        self._pieces: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self._room = Semaphore(_AHEAD)
        self._piece = memoryview(b"")
        self._at = 0
        self._ended = False
        self.tar_size = 0

    def start(self) -> None:
        """Begin to read."""
        Thread(target=self._work, daemon=True, name="feed").start()

    @property
    def digest(self) -> str:
        """The SHA-256 of what has been read, as 64 hex digits."""
        return self._sha256.hexdigest()

    @property
    def diff_id(self) -> str:
        """The SHA-256 of the same, uncompressed."""
        return self._plain_sha256.hexdigest()

    def at_end(self) -> bool:
        """Say whether no byte is left."""
        return self._at == len(self._piece) and not self._next()

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer only at the end, and leave them to be taken."""
        waiting = bytes(self._piece[self._at :])
        while len(waiting) < size and self._next():
            waiting += self._piece
        self._piece, self._at = memoryview(waiting), 0
        return waiting[:size]

    def take(self, size: int) -> bytes:
        """Return exactly `size` bytes. Raises BrokenArchive if there are fewer."""
        end = self._at + size
        if end <= len(self._piece):
            taken = self._piece[self._at : end]
            self._at = end
            if self._keep is not None:
                self._keep(taken)
            return bytes(taken)
        return b"".join(self._kept(size))

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Yield exactly `size` bytes in pieces. Raises BrokenArchive if there are fewer."""
        while size:
            if self._at == len(self._piece) and not self._next():
                raise TooShort
            piece = self._piece[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def skip(self, size: int) -> None:
        """Pass over exactly `size` bytes. Raises BrokenArchive if there are fewer."""
        end = self._at + size
        if end <= len(self._piece):
            if self._keep is not None:
                self._keep(self._piece[self._at : end])
            self._at = end
            return
        for _ in self._kept(size):
            pass

    def drain(self) -> None:
        """Read to the end of the file, so that all of it is hashed and its compression proven whole."""
        while not self.at_end():
            for _ in self._kept(len(self._piece) - self._at):
                pass

    def _kept(self, size: int) -> Iterator[memoryview]:
        for piece in self.pieces(size):
            if self._keep is not None:
                self._keep(piece)
            yield piece

    def _next(self) -> bool:
        if self._ended:
            return False
        piece = self._pieces.get()
        self._room.release()
        if isinstance(piece, BaseException):
            raise piece
        if piece is None:
            self._ended = True
            return False
        self._piece, self._at = memoryview(piece), 0
        return True

    def _work(self) -> None:
        try:
            for piece in self._plain():
                self._room.acquire()
                self._pieces.put(piece)
                self.tar_size += len(piece)
            self._pieces.put(None)
        except BaseException as error:  # noqa: BLE001 - the other thread raises it
            self._pieces.put(error)

    def _plain(self) -> Iterable[bytes]:
        if self._compression is None:
            yield from self._read(decompress.PIECE)
            return
        for piece in decompress.decompress(self._read(_READ_COMPRESSED), self._compression):
            self._plain_sha256.update(piece)
            yield piece

    def _read(self, size: int) -> Iterator[bytes]:
        done = 0
        while data := self._read_some(size, done):
            self._sha256.update(data)
            done += len(data)
            self._on_read(done)
            yield data
        if self._place is not None and done < self._place[1]:
            raise BrokenArchive("the archive is truncated")

    def _read_some(self, size: int, done: int) -> bytes:
        try:
            if self._head:
                head, self._head = self._head, b""
                return head
            if self._place is None:
                return os.read(self._fd, size)
            # the descriptor is shared with other workers: its offset is nobody's
            offset, length = self._place
            return os.pread(self._fd, min(size, length - done), offset + done)
        except OSError as error:
            raise BrokenArchive(f"it cannot be read: {error.strerror}") from error
