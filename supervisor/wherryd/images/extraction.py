"""The supervisor's hold on a worker process: starts it, listens to its records, ends it.

Never looks into an archive itself. Whatever happens, the worker is gone when `extract` returns or raises.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgpack
import trio

from wherry_protocol.errors import ImageError, InternalError, KernelFailure, NoSpace, WherryError

_RECORD_LIMIT = 64 << 10
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    """What the worker made: number of entries, bytes of file data, and the archive's SHA-256 in hex."""

    entries: int
    bytes: int
    digest: str


async def extract(archive: int, folder: Path, on_read: Callable[[int], None]) -> Extracted:
    """Fill the empty `folder` from the archive open at descriptor `archive`.

    `on_read` is told how many bytes of the archive have been read, at most ten times a second.
    Raises ImageError, NoSpace, KernelFailure or InternalError, all without the archive's name.
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


async def _listen(process: trio.Process, folder: Path, on_read: Callable[[int], None]) -> Extracted:
    assert process.stdout is not None  # noqa: S101 - asked for by the caller
    unpacker = msgpack.Unpacker(max_buffer_size=_RECORD_LIMIT)
    async for data in process.stdout:
        unpacker.feed(data)
        for record in unpacker:
            match record:
                case {"read": int(done)}:
                    on_read(done)
                case {"done": {"entries": int(entries), "bytes": int(size), "digest": str(digest)}}:
                    if _HEX_DIGEST.fullmatch(digest):
                        return Extracted(entries=entries, bytes=size, digest=digest)
                case {"failed": dict(failure)}:
                    raise _error(failure, folder)
                case _:
                    raise InternalError(f"the unpacking process sent {record!r:.80}")
    await process.wait()
    raise InternalError(
        f"the unpacking process ended without a word ({process.returncode})",
        hint="if the machine is short of memory the kernel may have killed it",
    )


def _error(failure: dict[str, Any], folder: Path) -> WherryError:
    message = str(failure.get("message"))
    number = failure.get("errno")
    errno = number if isinstance(number, int) else None
    match failure.get("kind"):
        case "archive":
            hint = failure.get("hint")
            return ImageError(message, hint=hint if isinstance(hint, str) else None, errno=errno)
        case "no_space":
            return NoSpace(f"no room to unpack it in {folder.parent.parent}: {message}", errno=errno)
        case "kernel":
            return KernelFailure(f"the kernel refused to unpack it: {message}", errno=errno)
        case _:
            return InternalError(f"the unpacking process failed: {message}")


def _command(folder: Path) -> list[str]:
    """Return an interpreter that sees our package and two others, but no site, user or current directory."""
    code = f"import sys; sys.path[:0] = {_import_paths()!r}; from wherryd.images import worker; worker.main(sys.argv[1])"
    return [sys.executable, "-I", "-S", "-c", code, str(folder)]


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
