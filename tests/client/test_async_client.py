"""The async client against a scripted supervisor, on trio and on asyncio."""

from __future__ import annotations

import inspect
import os
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import anyio
import generate_verbs
import pytest
from support.forms import within

from wherry import (
    AsyncClient,
    Client,
    Conflict,
    ConnectionFailed,
    ExitStatus,
    NotFound,
    Output,
    Pong,
    RunSpec,
    Started,
)
from wherry.testing import FakeSupervisor, WithFds
from wherry_protocol.containers import CloseStdin, Logs, RunAttached, Stop, Wait
from wherry_protocol.system import Ping

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPEC = RunSpec(image="host", command=("work",))
STARTED = Started(id="ab" * 32, name="busy_bee")


@pytest.fixture(params=["trio", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both loops, not only ours."""
    backend: str = request.param
    return backend


def output(stream: int, data: bytes) -> Output:
    return Output(stream=stream, time=1, data=data)


def counts_input(_call: RunAttached) -> Iterator[Any]:
    reader, writer = os.pipe()
    yield WithFds(event=STARTED, fds=(writer,))
    os.close(writer)
    with open(reader, "rb") as pipe:
        total = len(pipe.read())
    yield output(1, str(total).encode())
    return ExitStatus(code=0)


@pytest.mark.skipif(find_spec("ruff") is None, reason="no ruff here: it puts what is generated into form")
def test_verbs_are_what_the_generator_makes() -> None:
    """The plain verbs are made from the async ones; nobody edits them by hand."""
    made = {path.name: path.read_text() for path in generate_verbs.PLAIN.glob("*.py")}
    assert made == generate_verbs.generate()


def test_both_clients_have_the_same_methods() -> None:
    """Same names, same arguments."""

    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: [*inspect.signature(method).parameters]
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") and name not in {"close", "aclose"}
        }

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) > 20


async def test_run_with_input(fake: FakeSupervisor) -> None:
    """4 MiB go in while the socket is served."""
    fake.on(RunAttached, counts_input)
    fake.on(CloseStdin, lambda _call: None)
    async with AsyncClient(fake.run_dir, autostart=False) as client:
        with anyio.fail_after(within(20)):
            result = await client.run(SPEC, input=b"x" * (4 << 20))
    assert (result.name, result.exit_code, result.stdout) == ("busy_bee", 0, str(4 << 20).encode())


async def test_a_command_that_ends_before_its_input_is_no_error(fake: FakeSupervisor) -> None:
    def deaf(_call: RunAttached) -> Iterator[Any]:
        reader, writer = os.pipe()
        yield WithFds(event=STARTED, fds=(writer,))
        os.close(writer)
        os.close(reader)
        return ExitStatus(code=4)

    fake.on(RunAttached, deaf)
    fake.on(CloseStdin, lambda _call: None)
    async with AsyncClient(fake.run_dir, autostart=False) as client:
        with anyio.fail_after(within(20)):
            assert (await client.run(SPEC, input=b"x" * (1 << 20))).exit_code == 4


async def test_errors_are_the_supervisors_and_not_groups(fake: FakeSupervisor) -> None:
    """A caller catches NotFound, not an ExceptionGroup of it; also out of a run."""

    def broken(_call: RunAttached) -> Iterator[Any]:
        yield STARTED
        raise Conflict("it broke")

    def missing(_call: Stop) -> ExitStatus:
        raise NotFound("no container web")

    def shout(_output: Output) -> None:
        raise KeyError("mine")

    def talk(_call: RunAttached) -> Iterator[Any]:
        yield output(1, b"x")
        return ExitStatus(code=0)

    fake.on(Stop, missing)
    fake.on(RunAttached, broken)
    async with AsyncClient(fake.run_dir, autostart=False) as client:
        with pytest.raises(NotFound, match="no container web"):
            await client.stop("web")
        with pytest.raises(Conflict, match="it broke"):
            await client.run(SPEC)
        fake.on(RunAttached, talk)
        with pytest.raises(KeyError, match="mine"):
            await client.run(SPEC, on_output=shout)


async def test_tasks_share_a_client(fake: FakeSupervisor) -> None:
    fake.on(Wait, lambda call: ExitStatus(code=int(call.ref)))
    codes: dict[int, int | None] = {}
    async with AsyncClient(fake.run_dir, autostart=False) as client:

        async def wait(number: int) -> None:
            codes[number] = (await client.wait(str(number))).code

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(wait, number)
        assert len(client._idle) <= 4
    assert codes == {number: number for number in range(50)}


async def test_a_cancelled_call_leaves_no_connection_for_the_next(fake: FakeSupervisor) -> None:
    """A late answer would be taken for another call's."""
    asked, answered = threading.Event(), threading.Event()

    def answer(_call: Wait) -> ExitStatus:
        asked.set()
        answered.wait(20)
        return ExitStatus(code=1)

    fake.on(Wait, answer)
    fake.on(Ping, lambda _call: Pong(pid=5))
    async with AsyncClient(fake.run_dir, autostart=False) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.wait, "web")
            assert await anyio.to_thread.run_sync(asked.wait, 20)
            group.cancel_scope.cancel()
        answered.set()
        assert (await client.ping()).pid == 5
    assert len(fake._connections) == 2


async def test_logs_and_their_stream(fake: FakeSupervisor) -> None:
    def handler(_call: Logs) -> Iterator[Any]:
        yield output(1, b"a\n")
        yield output(2, b"b\n")

    fake.on(Logs, handler)
    async with AsyncClient(fake.run_dir, autostart=False) as client:
        assert await client.logs("web") == b"a\nb\n"
        async with client.log_stream("web", follow=True) as outputs:
            assert [each.data async for each in outputs] == [b"a\n", b"b\n"]
        assert outputs.answer is None


async def test_leaving_a_stream_closes_what_rode_along(fake: FakeSupervisor) -> None:
    ended = threading.Event()

    def handler(_call: RunAttached) -> Iterator[Any]:
        reader, writer = os.pipe()
        yield WithFds(event=STARTED, fds=(writer,))
        os.close(writer)
        with open(reader, "rb") as pipe:
            pipe.read()
        ended.set()

    fake.on(RunAttached, handler)
    async with AsyncClient(fake.run_dir, autostart=False) as client, client.run_stream(SPEC) as stream:
        assert await stream.__anext__() == STARTED
    assert await anyio.to_thread.run_sync(ended.wait, 10)


async def test_no_supervisor_is_an_error_with_a_hint(tmp_path: Path) -> None:
    async with AsyncClient(tmp_path, autostart=False) as client:
        with pytest.raises(ConnectionFailed, match="no supervisor answers at"):
            await client.ping()
