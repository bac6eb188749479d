"""What the tests of endurance share: raw connections, crowds of clients, and what a process holds."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import trio
from support.forms import within

from wherry import AsyncClient, RunSpec
from wherry_protocol.connection import Connection, Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from support.daemon import Daemon

PATIENCE = within(20.0)
"""Seconds for what should take a moment, on a machine that has other things to do."""


def spec(image: Path, script: str, **more: object) -> RunSpec:
    """Return the specification of a shell script's run."""
    return RunSpec(image=str(image), command=("sh", "-c", script), **more)  # type: ignore[arg-type]  # its fields


@contextmanager
def connection(daemon: Daemon) -> Iterator[socket.socket]:
    """Connect to the control socket, and say nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(daemon.run_dir / "control.sock"))
        sock.settimeout(PATIENCE)
        yield sock


def hello() -> bytes:
    """Return a client's greeting."""
    return Connection(Role.CLIENT).send_hello()


def read_to_end(sock: socket.socket) -> bytes:
    """Return everything up to the end; a reset is one."""
    data = b""
    try:
        while chunk := sock.recv(1 << 16):
            data += chunk
    except ConnectionResetError:
        return data
    return data


def rss(pid: int) -> int:
    """Return a process's resident memory in KiB; the proportional one changes with who shares it."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Rss:"))


def anonymous(pid: int) -> int:
    """Return how much of that is a process's own: what it maps of files the kernel takes back at will."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith(("Anonymous:", "Swap:")))


def descriptors(pid: int) -> int:
    """Return how many descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until something that nobody announces is so; say whether it is."""
    deadline = time.monotonic() + seconds
    while not (so := condition()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return so


async def crowd(
    daemon: Daemon, total: int, at_once: int, work: Callable[[AsyncClient, int], Awaitable[None]]
) -> None:
    """Do `work` so many times, so many at once, over one client of many connections."""
    room = trio.CapacityLimiter(at_once)

    async def one(client: AsyncClient, number: int) -> None:
        async with room:
            await work(client, number)

    with trio.fail_after(100):
        async with AsyncClient(daemon.run_dir, autostart=False) as client, trio.open_nursery() as nursery:
            for number in range(total):
                nursery.start_soon(one, client, number)


def fill_disk(path: Path, *, leave: int = 0) -> None:
    """Write a file until its disk has only so many bytes left."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    os.truncate(path, path.stat().st_size - leave)
