"""Clients that hear of an exec's end from the launcher: what is told, to whom, and to whom it is not."""

from __future__ import annotations

import os
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import trio
from launching import TIMEOUT, Ground, finish

from wherryd.launcher.exec_plan import beside
from wherryd.launcher.handle import Exit, open_launcher

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wherryd.launcher.asked import Asked
    from wherryd.launcher.handle import Launcher
    from wherryd.launcher.plan import Plan

NAME = "e" * 64


class Inside:
    """A container, and execs in it."""

    def __init__(self, launcher: Launcher, plan: Plan, pidfd: int) -> None:
        self.launcher = launcher
        self._plan = plan
        self._pidfd = pidfd

    async def ask(self, script: str, lifeline: int, *, brief: bool = True, terminal: bool = False) -> Asked:
        """Ask for a command, and return what is answered."""
        own = beside(self._plan, id=NAME, args=("sh", "-c", script), streams=(), terminal=terminal)
        asked = self.launcher.ask_join(own, b"a note", self._pidfd, (), lifeline, brief=brief)
        assert asked is not None
        with trio.fail_after(TIMEOUT):
            await asked.answered.wait()
        return asked

    async def exit_of(self, asked: Asked) -> Exit:
        """Return how it ended, and have the launcher forget it."""
        assert asked.failure is None, asked.failure
        if asked.ran is not None:
            ended = asked.ran.exit
        else:
            assert asked.spawned is not None
            with trio.fail_after(TIMEOUT):
                ended = await self.launcher.wait_exit(NAME)
            asked.spawned.close()
        self.launcher.release(NAME)
        return ended


@asynccontextmanager
async def container(ground: Ground) -> AsyncGenerator[Inside]:
    async with open_launcher(ground.run_dir) as launcher:
        plan = ground.plan("cat", stdin=True)
        spawned = await launcher.spawn(plan)
        yield Inside(launcher, plan, spawned.pidfd)
        await finish(launcher, spawned)


def pair(kind: int = socket.SOCK_SEQPACKET) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.setblocking(False)
    return ours, theirs


def heard(ours: socket.socket) -> Any:
    """What was told; None for nothing."""
    with suppress(BlockingIOError):
        return msgpack.unpackb(ours.recv(100))
    return None


@pytest.mark.parametrize(
    ("script", "code", "signal"), [("exit 0", 0, None), ("sleep 0.1; exit 7", 7, None), ("kill $$", None, 15)]
)
@pytest.mark.parametrize("brief", [True, False])
async def test_a_client_hears_of_the_end_before_the_supervisor_does(
    ground: Ground, script: str, code: int | None, signal: int | None, brief: bool
) -> None:
    async with container(ground) as inside:
        ours, theirs = pair()
        with ours, theirs:
            asked = await inside.ask(script, theirs.fileno(), brief=brief)
            ended = await inside.exit_of(asked)
            assert ended == Exit(code=code, signal=signal, told=True)
            process = asked.ran or asked.spawned
            assert process is not None
            assert heard(ours) == [process.pid, code, signal], "the supervisor knew first"


async def test_only_what_is_certain_is_told(ground: Ground) -> None:
    """Not what SIGKILL ended, nor of a terminal that is on its way, nor of a client that went on."""
    async with container(ground) as inside:
        ours, theirs = pair()
        with ours, theirs:
            asked = await inside.ask("kill -9 $$", theirs.fileno())
            assert await inside.exit_of(asked) == Exit(signal=9)
            asked = await inside.ask("exit 3", theirs.fileno(), brief=False, terminal=True)
            assert await inside.exit_of(asked) == Exit(code=3)
            asked = await inside.ask("sleep 0.2; exit 4", theirs.fileno())
            inside.launcher.drop_lifeline(NAME)
            assert await inside.exit_of(asked) == Exit(code=4)
            asked = await inside.ask("exec /no/such", theirs.fileno())
            assert await inside.exit_of(asked) == Exit(code=127, told=True), "a shell's own end is one"
            assert heard(ours)[1] == 127
            assert heard(ours) is None, "told what was not certain"


async def test_nothing_but_a_pair_of_a_clients_own_is_written_to(ground: Ground) -> None:
    """The launcher is root: it must not say a word on whatever a client hands over."""
    async with container(ground) as inside:
        reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for lifeline in (reader, writer):
            assert await inside.exit_of(await inside.ask("exit 5", lifeline)) == Exit(code=5)
        with pytest.raises(BlockingIOError):
            os.read(reader, 100)
        os.close(writer)
        os.close(reader)
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            ours, theirs = pair(kind)
            with ours, theirs:
                assert await inside.exit_of(await inside.ask("exit 5", theirs.fileno())) == Exit(code=5)
                assert heard(ours) is None, "another kind of socket was written to"
        server = socket.create_server(("127.0.0.1", 0))
        theirs = socket.create_connection(server.getsockname())
        with server, theirs, server.accept()[0] as ours:
            ours.setblocking(False)
            assert await inside.exit_of(await inside.ask("exit 5", theirs.fileno())) == Exit(code=5)
            assert heard(ours) is None, "an internet socket was written to"


async def test_a_full_or_deserted_lifeline_holds_nobody_up(ground: Ground) -> None:
    async with container(ground) as inside:
        ours, theirs = pair()
        with ours, theirs:
            theirs.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    theirs.send(b"x")
            theirs.setblocking(True)
            assert await inside.exit_of(await inside.ask("exit 5", theirs.fileno())) == Exit(code=5)
        ours, theirs = pair()
        with theirs:
            ours.close()
            assert await inside.exit_of(await inside.ask("exit 6", theirs.fileno())) == Exit(code=6)
