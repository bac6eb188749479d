"""The plain client against a scripted supervisor."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from support.waiting import wait_for

from wherry import (
    Client,
    Conflict,
    ConnectionFailed,
    ContainerFailed,
    ExitStatus,
    NotFound,
    Output,
    Pong,
    Progress,
    ProtocolError,
    RunSpec,
    Started,
    Volume,
)
from wherry.session import HungUp
from wherry.testing import FakeSupervisor, WithFds
from wherry_protocol.containers import (
    CloseStdin,
    Create,
    Created,
    Kill,
    Logs,
    Run,
    RunAttached,
    StartAttached,
    Stop,
    Wait,
)
from wherry_protocol.images import ImageSummary, ImportImage
from wherry_protocol.system import Ping, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SPEC = RunSpec(image="host", command=("work",))
STARTED = Started(id="ab" * 32, name="busy_bee")


def output(stream: int, data: bytes) -> Output:
    return Output(stream=stream, time=1, data=data)


def prints(*outputs: Output, status: ExitStatus) -> Callable[[Any], Iterator[Any]]:
    """A run that starts, prints and ends."""

    def handler(_call: Any) -> Iterator[Any]:
        yield STARTED
        yield from outputs
        return status

    return handler


def counts_input(_call: RunAttached) -> Iterator[Any]:
    """A run that reads its whole standard input and prints how much it was."""
    reader, writer = os.pipe()
    yield WithFds(event=STARTED, fds=(writer,))
    os.close(writer)
    with open(reader, "rb") as pipe:
        total = len(pipe.read())
    yield output(1, str(total).encode())
    return ExitStatus(code=0)


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_run_gives_the_exit_and_both_streams(fake: FakeSupervisor, client: Client) -> None:
    out, err = output(1, b"o\xff"), output(2, b"e")
    fake.on(RunAttached, prints(out, err, out, status=ExitStatus(code=3)))
    seen: list[Output] = []
    result = client.run(SPEC, on_output=seen.append)
    assert (result.id, result.name) == (STARTED.id, STARTED.name)
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"o\xffo\xff", b"e")
    assert seen == [out, err, out]


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (ExitStatus(code=3), "container busy_bee ended with code 3: no such thing"),
        (ExitStatus(signal=9, oom_killed=True), "was killed by signal 9 (out of memory)"),
        (ExitStatus(error="lost"), "nobody knows how (lost)"),
    ],
)
def test_check_raises_what_happened(
    fake: FakeSupervisor, client: Client, status: ExitStatus, says: str
) -> None:
    """An unknown exit is no success."""
    fake.on(RunAttached, prints(output(2, b"no such thing\n"), status=status))
    result = client.run(SPEC)
    with pytest.raises(ContainerFailed) as caught:
        result.check()
    assert says in str(caught.value)
    assert caught.value.result is result


def test_input_larger_than_any_buffer_reaches_the_container(fake: FakeSupervisor, client: Client) -> None:
    """4 MiB go in while the socket is served; then comes the end of file, on both ways."""
    fake.on(RunAttached, counts_input)
    fake.on(CloseStdin, lambda _call: None)
    before = open_fds()
    result = client.run(SPEC, input=b"x" * (4 << 20))
    assert result.stdout == str(4 << 20).encode()
    assert fake.calls[0] == RunAttached(spec=SPEC.replace(stdin=True, base_dir=os.getcwd()))
    client.close()
    # The fake's ends of the connections stay until it ends; that of its pipe goes soon.
    assert wait_for(lambda: len(open_fds() - before) <= 2)


def test_a_command_that_ends_before_its_input_is_no_error(fake: FakeSupervisor, client: Client) -> None:
    """A broken pipe is how the command says that it has read enough."""

    def deaf(_call: RunAttached) -> Iterator[Any]:
        reader, writer = os.pipe()
        yield WithFds(event=STARTED, fds=(writer,))
        os.close(writer)
        os.close(reader)
        return ExitStatus(code=0)

    def gone(_call: CloseStdin) -> None:
        raise NotFound("removed")

    fake.on(RunAttached, deaf)
    fake.on(CloseStdin, gone)
    assert client.run(SPEC, input=b"x" * (1 << 20)).exit_code == 0


def test_a_stream_hands_its_descriptor_over_once(fake: FakeSupervisor, client: Client) -> None:
    fake.on(RunAttached, counts_input)
    with client.run_stream(SPEC) as stream:
        assert next(stream) == STARTED
        fd = stream.take_fd()
        assert fd is not None
        assert stream.take_fd() is None
        assert not os.get_inheritable(fd), "a child of the client's would hold the pipe open"
        with pytest.raises(ValueError, match="not ended"):
            _ = stream.answer
        os.write(fd, b"12345")
        os.close(fd)
        assert [event.data for event in stream if isinstance(event, Output)] == [b"5"]
    assert stream.answer == ExitStatus(code=0)


def test_leaving_a_stream_closes_what_rode_along(fake: FakeSupervisor, client: Client) -> None:
    """Hanging up early leaks neither the connection nor the descriptor."""
    ended = threading.Event()

    def handler(_call: RunAttached) -> Iterator[Any]:
        reader, writer = os.pipe()
        yield WithFds(event=STARTED, fds=(writer,))
        os.close(writer)
        with open(reader, "rb") as pipe:
            pipe.read()
        ended.set()

    fake.on(RunAttached, handler)
    with client.run_stream(SPEC) as stream:
        next(stream)
    assert ended.wait(10), "the pipe was left open: the command never sees the end of its input"


def test_an_error_comes_after_the_events_before_it(fake: FakeSupervisor, client: Client) -> None:
    """Output that was printed is seen, though the same read brought the error."""

    def handler(_call: RunAttached) -> Iterator[Any]:
        yield STARTED
        yield output(1, b"last words")
        raise Conflict("it broke")

    fake.on(RunAttached, handler)
    seen: list[Any] = []
    with client.run_stream(SPEC) as stream, pytest.raises(Conflict, match="it broke"):
        seen.extend(stream)
    with client.run_stream(SPEC) as stream, pytest.raises(Conflict, match="it broke"):
        stream.drain(seen.append)
    assert seen[1] == seen[3] == output(1, b"last words")


def test_paths_are_made_absolute_where_the_user_stands(
    fake: FakeSupervisor, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor has another working directory."""
    monkeypatch.chdir(tmp_path)
    fake.on(Create, lambda _call: Created(id="a", name="b"))
    fake.on(ImportImage, lambda _call: ImageSummary(
        names=("x",), digest="sha256:0", created_at=0.0, size=1, files=1, source="x"
    ))  # fmt: skip
    client.create(RunSpec(image="x.tar", volumes=(Volume(source="../d", target="/d"),)))
    client.create(RunSpec(image="x.tar", base_dir="/b", volumes=(Volume(source="d/e", target="/d"),)))
    client.create(RunSpec(image="x.tar", base_dir="/b", volumes=(Volume(source="name", target="/d"),)))
    client.import_image("x.tar")
    first, second, named, third = fake.calls
    assert (first.spec.base_dir, first.spec.volumes[0].source) == (str(tmp_path), str(tmp_path.parent / "d"))
    assert (second.spec.base_dir, second.spec.volumes[0].source) == ("/b", "/b/d/e")
    assert named.spec.volumes[0].source == "name"
    assert third.path == str(tmp_path / "x.tar")


def test_import_reports_progress(fake: FakeSupervisor, client: Client) -> None:
    image = ImageSummary(names=("x",), digest="sha256:0", created_at=0.0, size=1, files=1, source="x")

    def handler(_call: ImportImage) -> Iterator[Any]:
        yield Progress(phase="extracting", done=1, total=2)
        return image

    fake.on(ImportImage, handler)
    seen: list[Progress] = []
    assert client.import_image("x.tar", "x", on_progress=seen.append) == image
    assert [each.done for each in seen] == [1]


def test_logs_are_the_whole_of_it(fake: FakeSupervisor, client: Client) -> None:
    def handler(_call: Logs) -> Iterator[Any]:
        yield output(1, b"a\n")
        yield output(2, b"b\n")

    fake.on(Logs, handler)
    assert client.logs("web", tail=2) == b"a\nb\n"
    assert fake.calls == [Logs(ref="web", tail=2)]


def test_a_signal_may_be_a_number(fake: FakeSupervisor, client: Client) -> None:
    fake.on(Kill, lambda _call: None)
    client.kill("web", 15)
    client.kill("web", "HUP")
    assert [call.signal for call in fake.calls] == ["15", "HUP"]


def test_the_supervisors_error_is_raised_and_the_connection_is_used_again(
    fake: FakeSupervisor, client: Client
) -> None:
    def handler(_call: Stop) -> ExitStatus:
        raise NotFound("no container web", hint="see 'wherry ps -a'")

    fake.on(Stop, handler)
    fake.on(Ping, lambda _call: Pong(pid=1))
    for _ in range(5):
        with pytest.raises(NotFound, match=r"no container web \(see 'wherry ps -a'\)"):
            client.stop("web")
        client.ping()
    assert len(fake._connections) == 1


def test_a_client_with_a_timeout_reuses_its_connection_at_once(fake: FakeSupervisor) -> None:
    """Looking whether a connection is still good must not wait the timeout out."""
    fake.on(Ping, lambda _call: Pong(pid=1))
    with Client(fake.run_dir, autostart=False, timeout=60) as client:
        for _ in range(3):
            client.ping()
    assert len(fake._connections) == 1


def test_threads_share_a_client(fake: FakeSupervisor, client: Client) -> None:
    """Each call gets its own answer, and few connections are kept."""
    fake.on(Wait, lambda call: ExitStatus(code=int(call.ref)))
    with ThreadPoolExecutor(16) as threads:
        codes = [status.code for status in threads.map(client.wait, map(str, range(200)))]
    assert codes == [*range(200)]
    assert len(client._idle) <= 4


def test_calls_go_on_while_a_stream_is_open(fake: FakeSupervisor, client: Client) -> None:
    """A stream has its connection to itself."""
    stopped = threading.Event()

    def follow(_call: Logs) -> Iterator[Any]:
        yield output(1, b"1")
        assert stopped.wait(10)
        yield output(1, b"2")

    def stop(_call: Stop) -> ExitStatus:
        stopped.set()
        return ExitStatus(code=0)

    fake.on(Logs, follow)
    fake.on(Stop, stop)
    with client.log_stream("web", follow=True) as outputs:
        assert next(outputs).data == b"1"
        client.stop("web")
        assert [each.data for each in outputs] == [b"2"]


def test_a_restarted_supervisor_is_found_again(client: Client, fake: FakeSupervisor) -> None:
    """An idle connection whose other end is gone is not used."""
    fake.on(Ping, lambda _call: Pong(pid=1))
    client.ping()
    fake._connections[0].shutdown(socket.SHUT_RDWR)
    assert client.ping().pid == 1
    assert len(fake._connections) == 2


def test_a_forked_child_opens_its_own_connection(client: Client, fake: FakeSupervisor) -> None:
    """Two processes on one connection would read each other's answers."""
    fake.on(Ping, lambda _call: Pong(pid=1))
    client.ping()
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if client.ping().pid == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert len(fake._connections) == 2
    assert client.ping().pid == 1


class TestBroken:
    """What a client says when the other end misbehaves."""

    def serve(self, tmp_path: Path, *said: bytes) -> threading.Thread:
        """Say something to one client and hang up."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def talk() -> None:
            with listener, listener.accept()[0] as sock:
                sock.recv(1)
                for each in said:
                    sock.sendall(each)

        thread = threading.Thread(target=talk)
        thread.start()
        return thread

    def fails(self, tmp_path: Path, *said: bytes) -> ConnectionFailed:
        thread = self.serve(tmp_path, *said)
        with (
            Client(tmp_path, autostart=False, timeout=20) as client,
            pytest.raises(ConnectionFailed) as caught,
        ):
            client.ping()
        thread.join()
        return caught.value

    def test_a_hang_up_says_that_nobody_knows(self, tmp_path: Path) -> None:
        assert "ping: the supervisor hung up before it answered" in str(self.fails(tmp_path))

    def test_garbage_is_a_protocol_error(self, tmp_path: Path) -> None:
        assert isinstance(self.fails(tmp_path, b"SSH-2.0-OpenSSH\r\n"), ProtocolError)

    def test_half_a_frame_is_a_hang_up(self, tmp_path: Path) -> None:
        """A supervisor that is killed while it writes leaves that: the next one may be asked."""
        error = self.fails(tmp_path, b"\x82\xa6wherry")
        assert isinstance(error, HungUp)
        assert "ping: the supervisor hung up before it answered" in str(error)

    def test_the_reason_of_a_hang_up_is_told(self, tmp_path: Path) -> None:
        from wherry_protocol.connection import Connection, Role
        from wherry_protocol.errors import Busy

        reason = Connection(Role.SERVER).send_error(None, Busy("too many connections"))
        assert str(self.fails(tmp_path, reason)) == "the supervisor hung up: too many connections"

    def test_silence_ends_at_the_timeout(self, fake: FakeSupervisor) -> None:
        answered = threading.Event()
        fake.on(Ping, lambda _call: answered.wait(20) and Pong(pid=1))
        with Client(fake.run_dir, autostart=False, timeout=0.05) as client:
            with pytest.raises(ConnectionFailed, match="no answer within"):
                client.ping()
            answered.set()
            fake.on(Version, lambda _call: None)
            assert not client._idle, "a late answer would be taken for another call's"


def test_no_supervisor_is_an_error_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match=r"no supervisor answers at .*start one with 'wherryd'"):
        Client(tmp_path, autostart=False).ping()


def test_autostart_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHERRY_NO_AUTOSTART", "1")
    with pytest.raises(ConnectionFailed, match="WHERRY_NO_AUTOSTART is set"):
        Client(tmp_path).ping()


def test_a_start_that_fails_tells_the_supervisors_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one line that wherryd printed becomes the client's error."""
    from wherry import autostart

    script = tmp_path / "wherryd"
    script.write_text("#!/bin/sh\necho noise >&2\necho 'wherryd: the disk is full' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.delenv("WHERRY_NO_AUTOSTART", raising=False)
    monkeypatch.setattr(autostart, "find_wherryd", lambda: str(script))
    with pytest.raises(ConnectionFailed, match=r"^the supervisor did not start: the disk is full$"):
        Client(tmp_path / "run").ping()


def test_two_clients_at_once_start_one_supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loses the race uses the winner's."""
    from wherry import client as client_module

    fakes: list[FakeSupervisor] = []
    lock = threading.Lock()

    def start(directories: Any) -> str | None:
        with lock:
            if fakes:
                return "another supervisor holds the directory"
            fake = FakeSupervisor()
            fake.on(Ping, lambda _call: Pong(pid=7))
            fakes.append(fake)
            fake.__enter__()
            os.symlink(f"{fake.run_dir}/control.sock", directories.socket)
        return None

    def ping(_number: int) -> int:
        with Client(tmp_path) as client:
            return client.ping().pid

    monkeypatch.delenv("WHERRY_NO_AUTOSTART", raising=False)
    monkeypatch.setattr(client_module, "start_supervisor", start)
    try:
        with ThreadPoolExecutor(4) as threads:
            assert [*threads.map(ping, range(4))] == [7] * 4
    finally:
        for fake in fakes:
            fake.close()


def test_the_fake_refuses_what_it_has_no_script_for(client: Client) -> None:
    from wherry import Unsupported

    with pytest.raises(Unsupported, match="start: the fake supervisor has no handler"):
        client.start("web")
    with pytest.raises(Unsupported, match="run: "):
        client.run_detached(SPEC)
    assert Run.op == "run"
    assert StartAttached.op == "start_attached"
