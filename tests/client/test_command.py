"""The command against a scripted supervisor: what a real one shows too rarely to test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from wherry import Conflict, ExitStatus, NotFound, Output, Progress, RunSpec, Started
from wherry.cli.main import UsageError
from wherry.cli.parser import Parser
from wherry.testing import FakeSupervisor, WithFds
from wherry_protocol.container_state import ContainerDetails, ContainerSummary
from wherry_protocol.containers import (
    CloseStdin,
    Inspect,
    Kill,
    List,
    Logs,
    Run,
    RunAttached,
    StartAttached,
    Stop,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

WHERRY = str(Path(sys.executable).with_name("wherry"))
STARTED = Started(id="ab" * 32, name="busy_bee")
ENDED = ExitStatus(code=0)


def start(fake: FakeSupervisor, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([WHERRY, "--run-dir", fake.run_dir, *words], **{**streams, **options})


def wherry(fake: FakeSupervisor, *words: str, data: bytes | None = None) -> tuple[int, str, str]:
    """Run a command to its end; return its code and what it printed."""
    with start(fake, *words, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(data, timeout=30)
    return process.returncode, out.decode("utf-8", "surrogateescape"), err.decode()


def says(text: bytes, stream: int = 1) -> Output:
    return Output(stream=stream, time=0, data=text)


def test_an_unknown_exit_is_125_with_a_line(fake: FakeSupervisor) -> None:
    """Never a made-up code: a script must not take it for success."""

    def handler(_call: RunAttached) -> Iterator[Any]:
        yield STARTED
        yield says(b"out")
        yield says(b"err\n", 2)
        return ExitStatus(error="the launcher was killed")

    fake.on(RunAttached, handler)
    code, out, err = wherry(fake, "run", "host", "x")
    assert (code, out) == (125, "out")
    assert err == "err\nwherry: the container ended, nobody knows how (the launcher was killed)\n"


def test_signals_are_forwarded_and_the_third_interrupt_in_a_second_leaves(fake: FakeSupervisor) -> None:
    """A container that ignores ctrl-C does not hold its user."""
    left, killed = threading.Event(), threading.Semaphore(0)

    def handler(_call: RunAttached) -> Iterator[Any]:
        yield STARTED
        yield says(b"ready\n")
        left.wait(20)
        return ENDED

    def kill(_call: Kill) -> None:
        killed.release()

    fake.on(RunAttached, handler)
    fake.on(Kill, kill)
    with start(fake, "run", "host", "x") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGINT):
            process.send_signal(number)
            assert killed.acquire(timeout=20), f"{number} was not passed on"
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=20)
    left.set()
    assert process.returncode == 130
    assert err == b"wherry: busy_bee runs on\n"
    assert [call.signal for call in fake.calls if isinstance(call, Kill)] == ["10", "2", "2"]


def test_an_interrupt_before_the_start_ends_the_command(fake: FakeSupervisor) -> None:
    """While an image is extracted there is nothing to forward to."""
    reached, end = threading.Event(), threading.Event()

    def handler(_call: RunAttached) -> Iterator[Any]:
        yield Progress(phase="extracting", done=1, total=2)
        reached.set()
        end.wait(20)
        return ENDED

    fake.on(RunAttached, handler)
    with start(fake, "run", "host", "x") as process:
        assert reached.wait(20)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    end.set()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_input_goes_in_with_its_end_from_a_pipe_and_from_a_file(fake: FakeSupervisor, tmp_path: Path) -> None:
    """A regular file cannot be waited for with epoll: it works all the same."""

    def handler(_call: RunAttached) -> Iterator[Any]:
        reader, writer = os.pipe()
        yield WithFds(event=STARTED, fds=(writer,))
        os.close(writer)
        with open(reader, "rb") as pipe:
            yield says(str(len(pipe.read())).encode())
        return ENDED

    fake.on(RunAttached, handler)
    fake.on(CloseStdin, lambda _call: None)
    assert wherry(fake, "run", "-i", "host", "wc", data=b"x" * 500_000) == (0, "500000", "")
    file = tmp_path / "input"
    file.write_bytes(b"y" * 300_000)
    with file.open("rb") as stdin, start(fake, "run", "-i", "host", "wc", stdin=stdin) as process:
        assert process.communicate(timeout=20) == (b"300000", b"")
    assert fake.calls.count(CloseStdin(ref=STARTED.id)) == 2


def test_start_attached_reads_no_input_that_the_container_has_not(fake: FakeSupervisor) -> None:
    spec = RunSpec(image="host")
    summary = ContainerSummary(id="a", name="web", image="host", command=(), state="created", created_at=0.0)
    fake.on(Inspect, lambda _call: ContainerDetails(
        summary=summary, spec=spec, path="p", args=(), env={}, workdir="/", user="", hostname="h",
        stop_signal="SIGTERM", pid=None, image_digest=None, log_path="l", directory="d", cgroup_path="g",
    ))  # fmt: skip

    def handler(_call: StartAttached) -> Iterator[Any]:
        yield STARTED
        yield says(b"hi\n")
        return ExitStatus(signal=15)

    fake.on(StartAttached, handler)
    assert wherry(fake, "start", "-ai", "web", data=b"unread") == (143, "hi\n", "")


def test_a_reader_that_goes_away_ends_the_command_as_sigpipe(fake: FakeSupervisor) -> None:
    """`| head` is no error, and nothing is printed about it."""
    end = threading.Event()

    def handler(_call: Logs) -> Iterator[Any]:
        while not end.is_set():
            yield says(b"line\n" * 1000)

    fake.on(Logs, handler)
    with start(fake, "logs", "-f", "web") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"line\n"
        process.stdout.close()
        assert process.wait(timeout=20) == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == b""
    end.set()


def test_output_that_cannot_be_written_is_one_line(fake: FakeSupervisor) -> None:
    fake.on(List, lambda _call: ())
    with open("/dev/full", "wb") as full, start(fake, "ps", stdout=full) as process:
        _none, err = process.communicate(timeout=20)
    assert process.returncode == 125
    assert err == b"wherry: output could not be written: No space left on device\n"


def test_names_that_are_not_utf_8_come_out_as_they_are(fake: FakeSupervisor) -> None:
    """In a template as bytes, in a table as escapes; never a traceback."""
    summary = ContainerSummary(
        id="a" * 64, name="web", image="/i\udcff\x1b", command=("x",), state="running", created_at=0.0
    )
    fake.on(List, lambda _call: (summary,))
    assert wherry(fake, "ps", "--format", "{{.Image}}") == (0, "/i\udcff\x1b\n", "")
    code, out, err = wherry(fake, "ps")
    assert (code, err) == (0, "")
    assert "/i\\udcff\\x1b" in out
    assert json.loads(wherry(fake, "ps", "--format", "json")[1])["Image"] == "/i\udcff\x1b"


def test_arguments_that_are_not_utf_8_arrive_as_they_are(fake: FakeSupervisor) -> None:
    fake.on(Run, lambda _call: STARTED)
    wherry(fake, "run", "-d", "-e", "A=\udcfe", "host", "echo", "\udcff")
    (call,) = fake.calls
    assert (call.spec.command, call.spec.env) == (("echo", "\udcff"), {"A": "\udcfe"})


def test_several_fail_one_by_one(fake: FakeSupervisor) -> None:
    """In parallel, each with its own line; the others are done."""
    together = threading.Barrier(3)

    def stop(call: Stop) -> ExitStatus:
        together.wait(20)
        if call.ref == "b":
            raise NotFound("no container b")
        return ENDED

    fake.on(Stop, stop)
    assert wherry(fake, "stop", "-t", "1.5", "a", "b", "c") == (1, "a\nc\n", "wherry: no container b\n")
    assert {call.timeout for call in fake.calls} == {1.5}


def test_one_that_fails_has_the_code_of_its_error(fake: FakeSupervisor) -> None:
    def stop(_call: Stop) -> ExitStatus:
        raise Conflict("web has never run")

    fake.on(Stop, stop)
    assert wherry(fake, "stop", "web") == (125, "", "wherry: web has never run\n")


def test_wait_says_unknown_where_nobody_knows(fake: FakeSupervisor) -> None:
    fake.on(Wait, lambda call: ExitStatus(code=4) if call.ref == "a" else ExitStatus(error="lost"))
    assert wherry(fake, "wait", "a", "b") == (0, "4\nunknown\n", "")


def test_version_works_without_a_supervisor(tmp_path: Path) -> None:
    """It starts none, either."""
    command = [WHERRY, "--run-dir", str(tmp_path), "version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("Server: not running\n")
    assert [*tmp_path.iterdir()] == []


def run_parser() -> Parser:
    from wherry.cli.run import COMMANDS

    parser = Parser("run", "text")
    COMMANDS["run"].configure(parser)
    return parser


@pytest.mark.parametrize(
    ("line", "operands"),
    [
        ("host", ["host"]),
        ("-it host sh -c -x", ["host", "sh", "-c", "-x"]),
        ("-itd --name=web host ls -l", ["host", "ls", "-l"]),
        ("-n web host --rm", ["host", "--rm"]),
        ("-nweb -eA=1 host", ["host"]),
        ("-ite A=1 host -e", ["host", "-e"]),
        ("--rm -- host --rm", ["host", "--rm"]),
        ("host -- x", ["host", "--", "x"]),
        ("--env A=1 --read-only host", ["host"]),
        ("-d", []),
    ],
)
def test_options_end_at_the_image(line: str, operands: list[str]) -> None:
    assert run_parser().parse(line.split()).operands == operands


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("--gpus all host", "--gpus"),
        ("--memory-swappiness 5 host", "--memory-swappiness"),
        ("--rea host", "--rea"),
        ("--stop-timeout x host", "--stop-timeout"),
        ("-e", "-e"),
        ("-itq host", "q\\b"),
    ],
)
def test_an_option_that_is_not_known_is_never_taken_silently(line: str, word: str) -> None:
    """What wherry has not, or not yet, is an error, not ignored."""
    with pytest.raises(UsageError, match=word) as caught:
        run_parser().parse(line.split())
    assert "see 'wherry run --help'" in str(caught.value)


@pytest.mark.parametrize(
    "command", ["run", "start", "ps", "logs", "inspect", "images", "import", "info", "version"]
)
def test_help_is_there_for_every_kind_of_command(command: str) -> None:
    done = subprocess.run([WHERRY, "help", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: wherry {command} ")
    asked = subprocess.run([WHERRY, command, "--help"], capture_output=True, text=True, check=True)
    assert asked.stdout == done.stdout
