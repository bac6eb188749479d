"""The network process: does one thing after another to the kernel's network, as it is asked to.

    question   number op arguments…       with descriptors
    answer     number "done" value        with descriptors
               number "refused" what errno
               number "defect" text

The argument is two descriptors' numbers: its socket's, and a pipe's whose other end the supervisor has. It
keeps no state and ends when the socket does. Must never wait for anything but the kernel, nor import trio.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wherryd.kernel.process import set_title
from wherryd.launcher import wire
from wherryd.network.process.made import Made

if TYPE_CHECKING:
    from collections.abc import Callable

MODULES = ("links", "nft", "flows")
"""Modules of this package with a table OPS: what each operation's name stands for.

An operation takes its arguments, and `fds=`, a list of descriptors that are closed after it; it returns a
plain value, or Made. OSError is a refusal, its filename says of what.
"""


def main(argument: str) -> None:
    """Answer until the supervisor hangs up."""
    set_title("wherryd: network")
    number, lifeline = map(int, argument.split())
    _go_on_at_the_end_of(lifeline)
    ops: dict[str, Callable[..., Any]] = {}
    for name in MODULES:
        ops |= import_module(f"wherryd.network.process.{name}").OPS
    with socket.socket(fileno=number) as sock:
        while (received := _receive(sock)) is not None:
            (asked, op, *args), fds = received
            try:
                _answer(sock, asked, ops[op], args, fds)
            finally:
                for fd in fds:
                    os.close(fd)


def _go_on_at_the_end_of(lifeline: int) -> None:
    """Have the kernel send SIGCONT when the supervisor ends: one that was stopped would stay for ever."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGCONT)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)


def _receive(sock: socket.socket) -> tuple[tuple[Any, ...], list[int]] | None:
    try:
        return wire.receive(sock)
    except ConnectionResetError:
        return None


def _answer(
    sock: socket.socket, number: int, op: Callable[..., Any], args: list[Any], fds: list[int]
) -> None:
    try:
        result = op(*args, fds=fds)
    except OSError as error:
        what = f"{error.filename}" if error.filename else op.__name__
        _send(sock, number, "refused", what, error.errno or errno.EIO)
        return
    except Exception as error:  # noqa: BLE001 - one operation must not end the others
        traceback.print_exc(file=sys.stderr)
        _send(sock, number, "defect", repr(error))
        return
    answer = result if isinstance(result, Made) else Made(result, ())
    try:
        _send(sock, number, "done", answer.value, fds=answer.fds)
    finally:
        for fd in answer.fds:
            os.close(fd)


def _send(sock: socket.socket, *message: Any, fds: tuple[int, ...] = ()) -> None:
    try:
        wire.send(sock, wire.pack(*message), fds)
    except (BrokenPipeError, ConnectionResetError):
        return  # nobody waits for it; the next question is the end of the socket
