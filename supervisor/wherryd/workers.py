"""Processes of ours for what must not happen in the supervisor: starts one, hears its records, ends it.

Owns how such a process begins: an interpreter that sees our package and two others, without site, user or
current directory, without environment. Whatever happens, it and its children are gone when the `with` block
is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio

from wherry_protocol.errors import InternalError
from wherryd import journal
from wherryd.images.records import Decoder

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from typing import Any

R = TypeVar("R")

KILL_TIMEOUT = 10.0
"""Seconds for a killed process to go; one that waits for a dead file system may take for ever."""

_CODE = """\
import sys
sys.path[:0] = sys.argv[3:]
from importlib import import_module
import_module(sys.argv[1]).main(sys.argv[2])
"""


@asynccontextmanager
async def worker(
    module: str, argument: str, *, data: int | None, fds: Sequence[int] = ()
) -> AsyncGenerator[trio.Process]:
    """Run `main(argument)` of a module; descriptor 0 is a copy of `data`, 1 a pipe for its records.

    Without `data` 0 is /dev/null. `fds` keep their numbers.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, "-I", "-S", "-c", _CODE, module, argument, *_import_paths()],
        stdin=subprocess.DEVNULL if data is None else data,
        stdout=-1,
        env={},
        cwd="/",
        start_new_session=True,
        pass_fds=fds,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdout is not None  # noqa: S101 - asked for above
        with trio.move_on_after(KILL_TIMEOUT, shield=True) as waiting:
            await process.wait()
            # its children have the pipe too: the end of it is the end of the last one
            while await process.stdout.receive_some():
                pass
        if waiting.cancelled_caught:
            journal.error("a worker process is stuck in the kernel", pid=process.pid, module=module)
        with trio.CancelScope(shield=True):
            await process.stdout.aclose()


async def records(process: trio.Process, decode: Callable[[Any], R], what: str) -> AsyncGenerator[R]:
    """Yield the records of a worker; the caller stops at the last. Raises InternalError if none is the last.

    ValueError means that the worker broke the protocol. `what` names the process in the error.
    """
    assert process.stdout is not None  # noqa: S101 - `worker` asked for it
    decoder = Decoder(decode)
    async for data in process.stdout:
        for record in decoder.feed(data):
            yield record
    returncode: int = await process.wait()
    raise InternalError(
        f"the {what} process ended without a word ({returncode})",
        hint="if the machine is short of memory the kernel may have killed it",
    )


def _import_paths() -> list[str]:
    found: list[str] = []
    for package in ("wherryd", "msgpack", "zstandard", "pyroute2"):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise InternalError(f"the package {package} is not installed")
        path = str(Path(spec.origin).parents[1])
        if path not in found:
            found.append(path)
    return found
