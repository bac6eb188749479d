"""The supervisor's hold on a worker process: starts it, listens to its records, ends it.

Never looks into an archive itself. Whatever happens, the worker and its children are gone when a function
here returns or raises.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from wherry_protocol.errors import ImageError, InternalError, KernelFailure, NoSpace, WherryError
from wherryd.images.manifests import Found
from wherryd.images.records import Contents, Done, Failed, Opaque, Read, decode
from wherryd.workers import records, worker

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wherryd.images.records import Record


class Images(NamedTuple):
    """An image archive; `unpacked`: its files are in the folder that was given."""

    found: tuple[Found, ...]
    unpacked: bool


class LayerJob(NamedTuple):
    """A layer's archive, `size` bytes at `offset` of `fd` (-1: all of it), and its empty folder.

    `name` begins an error about it.
    """

    fd: int
    offset: int
    size: int
    folder: Path
    name: str


class Unpacked(NamedTuple):
    """A layer that is whole, and its opaque folders."""

    done: Done
    opaque: tuple[bytes, ...]


async def extract(
    archive: int, folder: Path, on_read: Callable[[int], None], *, plain: bool = True
) -> Done | Images:
    """Fill the empty `folder` from the archive open at descriptor `archive`, or say which images it holds.

    `on_read` is told how many bytes of the archive have been read, at most ten times a second. Without
    `plain` a root's archive is refused.
    Raises ImageError, NoSpace, KernelFailure or InternalError, all without the archive's name; ValueError if
    the worker breaks the protocol.
    """
    found: list[Found] = []
    outcome: list[Done | Images] = []

    def hear(_job: int, record: Record) -> None:
        if isinstance(record, Read):
            on_read(record.total)
        elif isinstance(record, Found):
            found.append(record)
        elif isinstance(record, Contents):
            outcome.append(Images(tuple(found), record.unpacked))
        elif isinstance(record, Done):
            outcome.append(record)
        elif isinstance(record, Failed):
            raise error_of(record, _room(folder))

    await _work(["open", str(folder), plain], archive, (), hear, lambda: bool(outcome))
    return outcome[0]


async def look_into(folder: str) -> Images:
    """Say which images an OCI layout, or an unpacked `docker save`, holds. Raises as `extract`."""
    found: list[Found] = []
    ended: list[Contents] = []

    def hear(_job: int, record: Record) -> None:
        if isinstance(record, Found):
            found.append(record)
        elif isinstance(record, Contents):
            ended.append(record)
        elif isinstance(record, Failed):
            raise error_of(record, folder)

    await _work(["layout", folder], None, (), hear, lambda: bool(ended))
    return Images(tuple(found), unpacked=False)


async def extract_layers(jobs: Sequence[LayerJob], on_read: Callable[[int], None]) -> list[Unpacked]:
    """Fill the folder of each job. `on_read` is told the bytes read for all of them. Raises as `extract`."""
    read = [0] * len(jobs)
    opaque: list[list[bytes]] = [[] for _ in jobs]
    done: dict[int, Done] = {}

    def hear(job: int, record: Record) -> None:
        if isinstance(record, Read):
            read[job] = record.total
            on_read(sum(read))
        elif isinstance(record, Opaque):
            opaque[job].append(record.path)
        elif isinstance(record, Done):
            done[job] = record
            read[job] = max(jobs[job].size, read[job])
            on_read(sum(read))
        elif isinstance(record, Failed):
            failed = record._replace(message=f"{jobs[job].name}: {record.message}")
            raise error_of(failed, _room(jobs[job].folder))

    task = [(job.fd, job.offset, job.size, str(job.folder)) for job in jobs]
    fds = tuple({job.fd for job in jobs})
    await _work(["layers", "", False, task], None, fds, hear, lambda: len(done) == len(jobs))
    return [Unpacked(done[index], tuple(opaque[index])) for index in range(len(jobs))]


async def _work(
    task: list[object],
    archive: int | None,
    fds: tuple[int, ...],
    hear: Callable[[int, Record], None],
    ended: Callable[[], bool],
) -> None:
    """Run a worker until it has said all; `hear` raises what it does not like."""
    async with (
        worker("wherryd.images.worker", json.dumps(task), data=archive, fds=fds) as process,
        aclosing(records(process, decode, "unpacking")) as told,
    ):
        async for job, record in told:
            hear(job, record)
            if ended():
                return


def _room(folder: Path) -> str:
    """Return the folder whose disk a layer's root directory fills."""
    return str(folder.parent.parent)


def error_of(failed: Failed, room: str, done: str = "unpacked") -> WherryError:
    """Return the exception for a worker's failure; `room` is where there was none, if that was it."""
    match failed.kind:
        case "archive":
            return ImageError(failed.message, hint=failed.hint, errno=failed.errno)
        case "no_space":
            return NoSpace(f"no room in {room}: {failed.message}", errno=failed.errno)
        case "kernel":
            return KernelFailure(f"it could not be {done}: {failed.message}", errno=failed.errno)
        case _:
            return InternalError(f"it could not be {done}: {failed.message}")
