"""The supervisor's hold on a worker process: starts it, listens to its records, ends it.

Never looks into an archive itself. Whatever happens, the worker is gone when `extract` returns or raises.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import ImageError, InternalError, KernelFailure, NoSpace, WherryError
from wherryd.images.records import Decoder, Done, Failed, Read

if TYPE_CHECKING:
    from collections.abc import Callable

_CODE = """\
import sys
sys.path[:0] = sys.argv[2:]
from wherryd.images import worker
worker.main(sys.argv[1])
"""


async def extract(archive: int, folder: Path, on_read: Callable[[int], None]) -> Done:
    """Fill the empty `folder` from the archive open at descriptor `archive`.

    `on_read` is told how many bytes of the archive have been read, at most ten times a second.
    Raises ImageError, NoSpace, KernelFailure or InternalError, all without the archive's name; ValueError if
    the worker breaks the protocol.
    """
    process = await trio.lowlevel.open_process(
        _command(folder), stdin=archive, stdout=-1, env={}, cwd="/", start_new_session=True
    )
    try:
        return await _listen(process, folder, on_read)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            assert process.stdout is not None  # noqa: S101 - asked for above
            await process.stdout.aclose()


async def _listen(process: trio.Process, folder: Path, on_read: Callable[[int], None]) -> Done:
    assert process.stdout is not None  # noqa: S101 - asked for by the caller
    decoder = Decoder()
    async for data in process.stdout:
        for record in decoder.feed(data):
            if isinstance(record, Read):
                on_read(record.total)
            elif isinstance(record, Failed):
                raise _error(record, folder)
            else:
                return record
    returncode: int = await process.wait()
    raise InternalError(
        f"the unpacking process ended without a word ({returncode})",
        hint="if the machine is short of memory the kernel may have killed it",
    )


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


def _command(folder: Path) -> list[str]:
    """Return an interpreter that sees our package and two others, but no site, user or current directory."""
    return [sys.executable, "-I", "-S", "-c", _CODE, str(folder), *_import_paths()]


def _import_paths() -> list[str]:
    found: list[str] = []
    for package in ("wherryd", "msgpack", "zstandard"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise InternalError(f"the package {package} is not installed")
        path = str(Path(spec.origin).parents[1])
        if path not in found:
            found.append(path)
    return found
