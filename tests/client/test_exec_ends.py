"""Client.exec hears of the command's end from the launcher: with the supervisor busy, stopped or killed."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.forms import rounds, within
from support.waiting import wait_for

from wherry import BadRequest, Client, RunSpec
from wherry_protocol.event_log import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

PATIENCE = within(15.0)
LASTING = ["sh", "-c", "until test -e /over; do usleep 2000; done; exit 7"]


@pytest.fixture
def client(fresh_wherryd: Daemon, busybox: Path) -> Iterator[Client]:
    """A client with one connection, and a container `c` that runs."""
    with fresh_wherryd.client() as made:
        made.run_detached(RunSpec(image=str(busybox), command=("sleep", "1000"), name="c"))
        made.exec("c", ["true"]).check()
        yield made


@contextmanager
def standing_still(daemon: Daemon) -> Iterator[None]:
    """A supervisor that does nothing meanwhile."""
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


def wait_runs(daemon: Daemon) -> Path:
    """Wait until a command runs that the supervisor was asked for; return what is to be there for its end."""
    with daemon.client() as other:
        assert wait_for(lambda: other.execs("c"))
        return Path(f"/proc/{other.inspect('c').pid}/root/over")


def test_an_end_reaches_its_client_past_a_supervisor_that_stands_still(
    fresh_wherryd: Daemon, client: Client
) -> None:
    """And what that is asked for next, on this connection, is answered as of after the end."""
    place = client.last_event()
    with ThreadPoolExecutor(1) as thread:
        command = thread.submit(client.exec, "c", LASTING)
        over = wait_runs(fresh_wherryd)
        with standing_still(fresh_wherryd):
            over.touch()
            result = command.result(PATIENCE)
            late = thread.submit(client.execs, "c")
        assert (result.exit_code, result.name) == (7, "c")
        assert late.result(PATIENCE) == (), "asked after its end, the supervisor says that it runs"
    with client.events(after=place, until=time.time()) as events:
        kept = [event for event in events if isinstance(event, Event)]
    told = [event for event in kept if event.attributes.get("execID") == result.id]
    assert told[-1].action == "exec_die"
    assert told[-1].attributes["exitCode"] == "7"


def test_an_end_reaches_its_client_when_there_is_no_supervisor_any_more(
    fresh_wherryd: Daemon, client: Client
) -> None:
    """And the next one knows of it, and lets it go."""
    with ThreadPoolExecutor(1) as thread:
        command = thread.submit(client.exec, "c", LASTING)
        over = wait_runs(fresh_wherryd)
        fresh_wherryd.kill()
        over.touch()
        time.sleep(0.1)  # it ends meanwhile
        fresh_wherryd.start()
        result = command.result(PATIENCE)
    assert result.exit_code == 7
    assert client.execs("c") == ()


def test_whoever_asks_after_an_end_is_told_of_it(client: Client) -> None:
    """Whether or not the supervisor was faster; and one connection is enough for all of it."""
    (wire,) = client._idle
    for number in range(rounds(short=60, long=1000)):
        nap = 0.001 * (number % 9)  # some outlast the moment in which a start is told with its end
        result = client.exec("c", ["sh", "-c", f"sleep {nap}; exit {number % 5}"])
        assert result.exit_code == number % 5
        assert len(result.id) == 64
        assert client.execs("c") == ()
        assert len(client.top("c")) == 1
    assert client._idle == [wire], "a connection was given up"


def test_ends_of_many_at_once_are_each_their_own(client: Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        scripts = [["sh", "-c", f"echo {number}; exit {number}"] for number in range(1, 65)]
        results = [*threads.map(lambda script: client.exec("c", script), scripts)]
    assert [result.exit_code for result in results] == [*range(1, 65)]
    assert [result.stdout for result in results] == [b"%d\n" % number for number in range(1, 65)]
    assert len({result.id for result in results}) == len(results)


def test_an_exec_that_is_given_up_leaves_the_connection_as_it_was(client: Client) -> None:
    """It has been announced on it by then."""
    (wire,) = client._idle
    for _ in range(3):
        with pytest.raises(BadRequest, match="no command"):
            client.exec("c", [])
        with pytest.raises(TypeError):
            client.exec("c", 5)  # type: ignore[arg-type]
        assert client.execs("c") == ()
        client.announce()
        assert client.exec("c", ["true"]).exit_code == 0
    assert client._idle == [wire], "a connection was given up"
