"""`wherry logs`: what was printed, when, by which stream, from where on, and until when."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clikit import await_line, detached, field, finish, names, ok, read_line, refused, running, wait_for
from support.forms import within

if TYPE_CHECKING:
    from support.daemon import Daemon

APART = 0.01
"""Seconds on either side of a moment between two lines."""

QUICK, TRIES = within(1.0), 5


@pytest.fixture
def count(wherryd: Daemon, busybox: Path) -> str:
    """A container that has counted to ten."""
    ok(wherryd, "run", "--name", "count", busybox, "seq", "1", "10")
    return "count"


def test_logs_are_what_was_printed(wherryd: Daemon, count: str) -> None:
    assert ok(wherryd, "logs", count).split() == [str(number) for number in range(1, 11)]


def test_the_streams_stay_separate(wherryd: Daemon, busybox: Path) -> None:
    script = "echo out; echo err >&2; printf 'half a line'"
    done = wherryd.cli("run", "--name", "both", busybox, "sh", "-c", script)
    logs = wherryd.cli("logs", "both")
    assert (logs.stdout, logs.stderr) == (done.stdout, done.stderr) == ("out\nhalf a line", "err\n")


def test_tail(wherryd: Daemon, count: str) -> None:
    whole = "".join(f"{number}\n" for number in range(1, 11))
    expected = {"3": "8\n9\n10\n", "1": "10\n", "0": "", "11": whole, "all": whole}
    for text, lines in expected.items():
        assert ok(wherryd, "logs", "--tail", text, count) == lines, f"--tail {text}"
    assert ok(wherryd, "logs", "-f", "-n", "2", count) == "9\n10\n"


def test_a_tail_that_is_no_number(wherryd: Daemon, count: str) -> None:
    for text in ("-1", "x", "1.5", ""):
        assert "--tail" in refused(wherryd, "logs", f"--tail={text}", count)


def print_slowly(daemon: Daemon, image: Path, *prints: str) -> list[float]:
    """Have `timed` print, again each time that a line is in its log; return the times in between."""
    script, between = "; read x; ".join(prints), list[float]()
    with running(daemon, "run", "-i", "--name", "timed", image, "sh", "-c", script) as run:
        assert run.stdin is not None
        for _ in prints[1:]:
            read_line(run)
            time.sleep(APART)
            between.append(time.time())
            time.sleep(APART)
            run.stdin.write(b"\n")
            run.stdin.flush()
        assert finish(run)[0] == 0
    return between


def test_timestamps_are_rfc_3339_and_true(wherryd: Daemon, busybox: Path) -> None:
    before = time.time()
    (between,) = print_slowly(wherryd, busybox, "echo a", "printf 'b\\nc'")
    after = time.time()
    lines = [line.split(" ", 1) for line in ok(wherryd, "logs", "-t", "timed").splitlines()]
    assert [text for _, text in lines] == ["a", "b", "c"]
    stamps = [datetime.fromisoformat(stamp).timestamp() for stamp, _ in lines]
    assert before <= stamps[0] <= between <= stamps[1] <= stamps[2] <= after, "these are not the lines' times"
    assert all(len(stamp) == len("2026-01-31T12:00:00.123456789Z") for stamp, _ in lines)


def test_since_and_until(wherryd: Daemon, busybox: Path) -> None:
    """By what -t shows, by seconds, and by how long ago."""
    between = print_slowly(wherryd, busybox, "echo a", "echo b", "echo c")
    stamps = [line.split()[0] for line in ok(wherryd, "logs", "-t", "timed").splitlines()]
    assert ok(wherryd, "logs", "--since", stamps[1], "timed") == "b\nc\n"
    assert ok(wherryd, "logs", "--until", stamps[1], "timed") == "a\n"
    assert ok(wherryd, "logs", "--since", stamps[1], "--until", stamps[2], "timed") == "b\n"
    assert ok(wherryd, "logs", "--since", f"{between[1]:.3f}", "timed") == "c\n"
    assert ok(wherryd, "logs", "--since", "1h", "timed") == "a\nb\nc\n"
    assert ok(wherryd, "logs", "--until", "1h30m", "timed") == ""
    assert ok(wherryd, "logs", "--since", "1h", "--tail", "1", "timed") == "c\n"


def test_a_time_that_is_none(wherryd: Daemon, count: str) -> None:
    for flag in ("--since", "--until"):
        for text in ("yesterday", "-5", "10x", "nan"):
            assert flag in refused(wherryd, "logs", f"{flag}={text}", count)


def test_follow_prints_each_line_once_as_it_comes_and_ends_with_the_container(
    wherryd: Daemon, busybox: Path
) -> None:
    script = "for i in 1 2 3; do read line; echo $line; done"
    with running(wherryd, "run", "-i", "--name", "talk", busybox, "sh", "-c", script) as run:
        assert run.stdin is not None
        run.stdin.write(b"one\n")
        run.stdin.flush()
        assert read_line(run) == "one"
        with running(wherryd, "logs", "-f", "talk") as follower:
            assert read_line(follower) == "one"
            for word in ("two", "three"):
                run.stdin.write(f"{word}\n".encode())
                run.stdin.flush()
                assert read_line(follower) == word, "a follower was late or saw a line twice"
            assert finish(follower) == (0, "", ""), "logs -f did not end with the container"


def test_follow_of_an_ended_one_does_not_wait(wherryd: Daemon, count: str) -> None:
    assert ok(wherryd, "logs", "-f", count).count("\n") == 10


def test_many_followers_see_the_same(wherryd: Daemon, busybox: Path) -> None:
    container = detached(wherryd, busybox, "sh", "-c", "echo go; sleep 0.3; seq 1 5000")
    await_line(wherryd, container, "go")
    with running(wherryd, "logs", "-f", container) as one, running(wherryd, "logs", "-f", container) as two:
        outputs = {finish(each)[1] for each in (one, two)}
    assert outputs == {"go\n" + "".join(f"{number}\n" for number in range(1, 5001))}


def test_a_follower_that_ends_leaves_the_container_alone(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "svc", busybox, "sh", "-c", "echo up; exec sleep 1000")
    with running(wherryd, "logs", "-f", "svc") as follower:
        assert read_line(follower) == "up"
    assert names(wherryd) == ["svc"]


def test_removal_ends_a_follower(wherryd: Daemon, busybox: Path) -> None:
    detached(wherryd, "--name", "svc", busybox, "sh", "-c", "echo up; exec sleep 1000")
    with running(wherryd, "logs", "-f", "svc") as follower:
        read_line(follower)
        ok(wherryd, "rm", "-f", "svc")
        assert finish(follower)[0] == 0, "a follower of a removed container never ended"


def test_the_log_file_can_be_followed_by_any_tool(wherryd: Daemon, busybox: Path) -> None:
    """It holds exactly the container's bytes."""
    detached(
        wherryd, "--name", "svc", busybox, "sh", "-c", "printf 'a\\0b\\n'; echo err >&2; exec sleep 1000"
    )
    log = Path(field(wherryd, "svc", "LogPath"))
    assert wait_for(lambda: log.read_bytes().endswith(b"err\n"))
    ok(wherryd, "stop", "-t", "0", "svc")
    assert log.read_bytes() == b"a\0b\nerr\n"
    assert log.stat().st_mode & 0o077 == 0, "others can read a container's log"


def test_tail_of_a_huge_log_is_quick(wherryd: Daemon, busybox: Path) -> None:
    """Two hundred million lines before the last one: to read them all would take seconds."""
    container = detached(
        wherryd, busybox, "sh", "-c", "head -c 200000000 /dev/zero | tr '\\0' '\\n'; echo last"
    )
    ok(wherryd, "wait", container)
    took: list[float] = []
    while not took or (min(took) > QUICK and len(took) < TRIES):  # others may have the processor
        began = time.monotonic()
        assert ok(wherryd, "logs", "--tail", "1", container) == "last\n"
        took.append(time.monotonic() - began)
    assert min(took) <= QUICK, f"--tail read the log from its start: {took} s"
