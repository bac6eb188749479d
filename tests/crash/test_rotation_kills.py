"""A supervisor that is killed again and again while a log is rotated: every line is there once, for all."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.forms import SLOWNESS, rounds, within

from wherry import LogOptions, RunSpec

if TYPE_CHECKING:
    from support.daemon import Daemon

KILLS = rounds(short=4, long=20)
SIZE = 16384
COUNT = "trap 'exit 7' TERM; i=0; while :; do echo $i of some more that makes it long; i=$((i+1)); done"
"""As fast as it can; a pipe that is full makes it wait."""


def lines(first: int, last: int) -> bytes:
    return b"".join(b"%d of some more that makes it long\n" % number for number in range(first, last))


def assert_numbered(text: bytes) -> None:
    """Every line is there once; the first one may be cut: the file before has gone."""
    first, *rest = text.splitlines(keepends=True)
    begin = int(rest[0].split()[0])
    assert b"".join(rest) == lines(begin, begin + len(rest)), "a line was lost or doubled"
    assert lines(begin - 1, begin).endswith(first)


@pytest.mark.timeout(300)
@pytest.mark.alone  # a reader who stands still for half a second is not waited for
def test_kills_while_a_log_is_rotated_lose_and_double_nothing(fresh_wherryd: Daemon, busybox: Path) -> None:
    """A raw `tail -F` of the path, `logs -f`, and the log itself when it is over."""
    daemon, chance = fresh_wherryd, random.Random(3)
    log = LogOptions(max_size=SIZE, max_file=40, compress=False)
    with daemon.client() as client:
        made = client.run_detached(
            RunSpec(image=str(busybox), command=("sh", "-c", COUNT), name="web", log=log)
        )
        path = client.inspect(made.id).log_path
    out, mine = daemon.root / "out", daemon.root / "mine"
    with out.open("wb") as file, mine.open("wb") as ours:
        command = [str(Path(sys.executable).with_name("wherry")), "logs", "-f", "web"]
        follower = subprocess.Popen(command, stdout=ours, stderr=subprocess.PIPE, env=daemon.environment)
        tail = subprocess.Popen(["tail", "-n", "+1", "-F", path], stdout=file, stderr=subprocess.DEVNULL)
    try:
        for _ in range(KILLS):
            before = mine.stat().st_size
            while mine.stat().st_size < before + 200_000:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.05))
            daemon.kill()
            daemon.start()
        with daemon.client() as client:
            assert client.stop(made.id).exit_code == 7
            kept = client.logs(made.id)
        _, said = follower.communicate(timeout=within(60))
        followed = mine.read_bytes()
        assert b"missed" not in said
        assert_numbered(followed)
        assert followed.endswith(kept)
        assert len(kept) > SIZE
        deadline = time.monotonic() + within(10)
        while not out.read_bytes().endswith(kept[-50:]) and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        tail.kill()
        tail.wait()
    tailed = out.read_bytes()
    if SLOWNESS == 1:  # an emulated machine itself stands still for longer than such a reader is waited for
        assert_numbered(tailed)
    assert tailed.endswith(kept[-50:])
    assert len(tailed) > len(followed) / 2
