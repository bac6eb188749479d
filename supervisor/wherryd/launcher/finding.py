"""Which launchers there are: one that takes new work, and those that keep what they hold until it has ended.

    RUN_DIR/launcher.sock        the current one: of our own version, or found so and about to make room
    RUN_DIR/launcher-PID.sock    one that drains: another release started it, or it was current once

Supervisor side. Owns who has which name. Must never start two for one directory: the supervisor holds that
directory's lock. Nothing is changed before it is known that every one of them can be talked to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import trio

from wherryd import journal
from wherryd.launcher import wire
from wherryd.launcher.link import Hello, Link
from wherryd.launcher.start import LauncherUnavailable, connect, start

if TYPE_CHECKING:
    import socket
    from pathlib import Path

CURRENT = "launcher.sock"
_DRAINING = "launcher-*.sock"
_HELLO_TIMEOUT = 10.0  # seconds; a launcher never waits for anything, so a silent one is broken


class Found(NamedTuple):
    """Links to all launchers that live. `same`: the one that took new work until now is among them."""

    links: tuple[Link, ...]
    same: bool


async def find(run_dir: Path, nursery: trio.Nursery) -> Found:
    """Look for launchers; those that cannot take our starts drain from now on. Raises LauncherUnavailable."""
    links: list[Link] = []
    try:
        for path in _paths(run_dir):
            link = await _greet(path, nursery)
            if link is not None:
                links.append(link)
    except BaseException:
        for link in links:
            link.close()
        raise
    same = any(link.path.name == CURRENT for link in links)
    _name(links, run_dir)
    return Found(tuple(links), same)


async def renew(run_dir: Path, nursery: trio.Nursery) -> Link:
    """Return a link to the current launcher, if it only hung up, or start one. Raises LauncherUnavailable."""
    link = await _greet(run_dir / CURRENT, nursery)
    if link is not None and link.version == wire.VERSION:
        return link
    if link is not None:
        link.close()
        raise LauncherUnavailable(f"launcher {link.pid} of another release came: start wherryd again")
    sock = await trio.to_thread.run_sync(start, run_dir)
    hello = await _hello(sock)
    if hello is None:
        raise LauncherUnavailable("the launcher ended as soon as it was started: see the lines above")
    return Link(sock, run_dir / CURRENT, nursery, hello)


def _paths(run_dir: Path) -> list[Path]:
    return [run_dir / CURRENT, *sorted(run_dir.glob(_DRAINING))]


def _name(links: list[Link], run_dir: Path) -> None:
    """Give the name of the current one to the first of our version, and other names to the others."""
    ours = [link for link in links if link.version == wire.VERSION]
    for link in links:
        link.drains = link not in ours[:1]
        if link.drains and link.path.name == CURRENT:
            _rename(link, run_dir / f"launcher-{link.pid}.sock")
        if link.drains:
            journal.info("launcher drains", pid=link.pid, version=link.version, ours=wire.VERSION)
    for link in ours[:1]:
        _rename(link, run_dir / CURRENT)


def _rename(link: Link, path: Path) -> None:
    if link.path != path:
        link.path.rename(path)
        link.path = path


async def _greet(path: Path, nursery: trio.Nursery) -> Link | None:
    """Return a link to the launcher that listens at a path; None if there is none."""
    sock = connect(path)
    hello = await _hello(sock) if sock is not None else None
    if sock is None or hello is None:
        # None, or one that was about to end when we came.
        _sweep(path)
        return None
    if wire.common(hello.version, hello.since) is None:
        sock.close()
        raise LauncherUnavailable(
            f"launcher {hello.pid} holds containers and speaks version {hello.version} of its protocol, we "
            f"speak {wire.HOLDING_SINCE} to {wire.VERSION}: start the release that it came from to stop them"
        )
    return Link(sock, path, nursery, hello)


def _sweep(path: Path) -> None:
    """Remove a dead one's name, but the current one's, which the next one takes over."""
    if path.name != CURRENT:
        path.unlink(missing_ok=True)


async def _hello(sock: socket.socket) -> Hello | None:
    try:
        with trio.fail_after(_HELLO_TIMEOUT):
            await trio.lowlevel.wait_readable(sock)
        received = wire.receive(sock)
    except trio.TooSlowError as error:
        sock.close()
        raise LauncherUnavailable("the launcher does not answer: is it stopped (SIGSTOP)?") from error
    except ConnectionResetError:
        received = None
    except BaseException:
        sock.close()
        raise
    if received is None:
        sock.close()
        return None
    return Hello(*received[0][1:])
