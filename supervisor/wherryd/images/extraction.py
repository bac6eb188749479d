"""The supervisor's hold on a worker process: starts it, listens to its records, ends it.

Never looks into an archive itself. Whatever happens, the worker is gone when `extract` returns or raises.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from wherry_protocol.errors import ImageError, InternalError, KernelFailure, NoSpace, WherryError
from wherryd.images.records import Done, Failed, Read, decode
from wherryd.workers import records, worker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def extract(archive: int, folder: Path, on_read: Callable[[int], None]) -> Done:
    """Fill the empty `folder` from the archive open at descriptor `archive`.

    `on_read` is told how many bytes of the archive have been read, at most ten times a second.
    Raises ImageError, NoSpace, KernelFailure or InternalError, all without the archive's name; ValueError if
    the worker breaks the protocol.
    """
    async with (
        worker("wherryd.images.worker", str(folder), data=archive) as process,
        aclosing(records(process, decode, "unpacking")) as told,
    ):
        async for record in told:
            if isinstance(record, Read):
                on_read(record.total)
            elif isinstance(record, Failed):
                raise _error(record, folder)
            else:
                return record
    raise InternalError("the unpacking process told no end")


def _error(failed: Failed, folder: Path) -> WherryError:
    match failed.kind:
        case "archive":
            return ImageError(failed.message, hint=failed.hint, errno=failed.errno)
        case "no_space":
            room = folder.parent.parent
            return NoSpace(f"no room to unpack it in {room}: {failed.message}", errno=failed.errno)
        case "kernel":
            return KernelFailure(f"the kernel refused to unpack it: {failed.message}", errno=failed.errno)
        case _:
            return InternalError(f"the unpacking process failed: {failed.message}")
