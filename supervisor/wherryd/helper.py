"""Questions that a process of its own answers: what may hang on somebody's files, or take long to count.

Owns asking one question and reading the one answer; workers.py starts and ends the process, answering.py is
its other end.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

from wherry_protocol.errors import InternalError, KernelFailure, NoSpace
from wherryd.workers import worker

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

MAX_ANSWER = 64 << 20
"""Bytes: the sizes of a million things."""

_FULL = (28, 30, 122)
"""ENOSPC, EROFS, EDQUOT."""


async def ask(module: str, question: Mapping[str, Any], *, what: str, timeout: float) -> dict[str, Any]:
    """Return what `main` of a module answers. `what` begins an error's text.

    Raises NoSpace or KernelFailure for what the kernel refused it or when it takes longer, InternalError.
    """
    with trio.move_on_after(timeout), _file(json.dumps(question).encode()) as data:
        async with worker(module, "", data=data) as process:
            return _checked(await _read(process, what), what)
    raise KernelFailure(
        f"{what}: not done after {timeout:.0f} s",
        hint="a file system that does not answer, or too much in it",
    )


@contextmanager
def _file(content: bytes) -> Generator[int]:
    memory = os.memfd_create("question", os.MFD_CLOEXEC)
    try:
        with open(memory, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(memory, 0, os.SEEK_SET)
        yield memory
    finally:
        os.close(memory)


async def _read(process: trio.Process, what: str) -> bytes:
    assert process.stdout is not None  # noqa: S101 - a worker has one
    answer = bytearray()
    async for data in process.stdout:
        answer += data
        if len(answer) > MAX_ANSWER:
            raise InternalError(f"{what}: an answer without an end")
    return bytes(answer)


def _checked(data: bytes, what: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(data)
    except ValueError:
        raise InternalError(
            f"{what}: the process that does it ended without a word",
            hint="if the machine is short of memory the kernel may have killed it",
        ) from None
    if "failed" not in answer:
        return answer
    number, text = answer["failed"]
    if number is None:
        raise InternalError(f"{what}: {text}")
    raise (NoSpace if number in _FULL else KernelFailure)(f"{what}: {text}", errno=number)
