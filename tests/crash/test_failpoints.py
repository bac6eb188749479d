"""Every fail point: whichever process of ours dies there, nothing is left and the next supervisor goes on."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from walkkit import POLITE, Round, dies, errors, kills

import wherryd
from wherry import ConnectionFailed, RunSpec
from wherryd.kernel import failpoints

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

LONG = bool(os.environ.get("WHERRY_LONG"))
EVERY = 1 if LONG else 9


@pytest.fixture
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm(None)


def test_every_point_stands_in_the_code_and_in_the_list() -> None:
    text = "".join(path.read_text() for path in Path(wherryd.__file__).parent.rglob("*.py"))
    assert set(re.findall(r'failpoints\.hit\("([a-z.]+)"\)', text)) == set(failpoints.POINTS)


def test_a_point_that_is_off_is_a_function_without_a_body() -> None:
    failpoints.arm("")
    assert failpoints.hit is failpoints._nothing


def test_a_point_acts_at_the_time_that_is_asked_for(disarmed: None) -> None:
    failpoints.arm("start.cgroup=error:EMFILE@2;end.saved=sleep:0")
    for name in ("end.saved", "start.cgroup", "start.directory"):
        failpoints.hit(name)
    with pytest.raises(OSError, match=r"failpoint start\.cgroup: Too many open files"):
        failpoints.hit("start.cgroup")
    failpoints.hit("start.cgroup")


@pytest.mark.parametrize(
    "text",
    ["nosuch=kill", "end.saved", "end.saved=die", "end.saved=error:EIO", "start.cgroup=error:ENOTHING",
     "end.saved=sleep:long", "end.saved=kill@x", "end.saved=kill:9"],
)  # fmt: skip
def test_a_list_that_makes_no_sense_is_refused(text: str, disarmed: None) -> None:
    with pytest.raises(failpoints.BadFailpoint):
        failpoints.arm(text)


@pytest.mark.alone
@pytest.mark.timeout(600)
def test_whoever_dies_at_a_point_leaves_a_state_that_a_successor_understands(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """A sample of the points; all of them with WHERRY_LONG=1."""
    one = Round(fresh_wherryd, busybox)
    for points in kills()[::EVERY]:
        try:
            one.stumble(points)
            one.make_good(died=dies(points))
        except BaseException as error:
            error.add_note(f"at {points}")
            raise


def test_a_run_that_is_not_on_record_yet_is_not_taken_for_the_one_before(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """Its supervisor died before it wrote down that it runs: whoever waited was told the last one's end."""
    daemon = fresh_wherryd
    daemon.terminate()
    daemon.failpoints = "start.answered=kill@2"
    daemon.start()
    with daemon.client() as client:
        client.run_detached(
            RunSpec(image=os.fspath(busybox), command=("sh", "-c", POLITE), stdin=True, name="web")
        )
        with client.log_stream("web", follow=True) as lines:
            assert next(iter(lines)).data == b"up\n"
        client.kill("web")
        assert client.wait("web").exit_code == 137
        last = client.inspect("web").summary.started_at
        with suppress(ConnectionFailed):
            client.start("web")
    daemon.wait_died()
    daemon.failpoints = ""
    daemon.start()
    with daemon.client() as client, client.log_stream("web", follow=True) as lines:
        assert client.inspect("web").summary.started_at != last, "its record is the last one's"
        printed = b""
        while printed.count(b"up\n") < 2:
            printed += next(iter(lines)).data
        assert client.stop("web").exit_code == 3
        assert client.wait("web").exit_code == 3


def test_a_step_that_fails_leaves_nothing(fresh_wherryd: Daemon, busybox: Path) -> None:
    one = Round(fresh_wherryd, busybox)
    one.stumble(";".join(errors()))
    one.make_good(died=False)
