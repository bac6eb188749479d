"""Reading and following: each byte once, from the right place, with its stream and time."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from logbench import Bench, write_all_and_close
from support.forms import within

from wherryd.logs.index import Record
from wherryd.logs.log import Log
from wherryd.logs.pieces import data_path, index_path
from wherryd.logs.reader import Chunk, read

LINES = 100_000
FOLLOWERS = 10


def written(directory: Path, *parts: tuple[int, int, bytes], steps: tuple[int, ...] = ()) -> Log:
    """Make a log of (stream, time, bytes) parts."""
    offset, data, index = 0, b"", b""
    for number, (stream, when, part) in enumerate(parts):
        step = steps[number] if steps else 0
        index += Record(offset=offset, stream=stream, time=when, steps=step).pack()
        data += part
        offset += len(part)
    Path(data_path(directory)).write_bytes(data)
    Path(index_path(directory)).write_bytes(index)
    return Log.open(directory)


async def got(log: Log, **how: Any) -> bytes:
    async with aclosing(read(log, **how)) as chunks:
        return b"".join([chunk.data async for chunk in chunks])


async def test_ten_followers_see_each_of_100_000_lines_once(bench: Bench) -> None:
    """However fast or slow they read, while it is written."""
    data = b"".join(b"line %d\n" % number for number in range(LINES))
    writing = bench.pipe()
    sums: list[bytes] = []

    async def follow(pause: int) -> None:
        digest = hashlib.sha256()
        async with aclosing(read(bench.log, follow=True)) as chunks:
            async for chunk in chunks:
                digest.update(chunk.data)
                for _ in range(pause):
                    await trio.lowlevel.checkpoint()
        sums.append(digest.digest())

    async with trio.open_nursery() as nursery:
        for pause in range(FOLLOWERS):
            nursery.start_soon(follow, pause)
        nursery.start_soon(trio.to_thread.run_sync, _write_in_pieces, writing, data)
    assert sums == [hashlib.sha256(data).digest()] * FOLLOWERS


def _write_in_pieces(fd: int, data: bytes) -> None:
    for start in range(0, len(data), 777):
        os.write(fd, data[start : start + 777])
    os.close(fd)


async def test_a_follower_that_reads_nothing_does_not_slow_the_writer(bench: Bench) -> None:
    writing = bench.pipe()
    async with aclosing(read(bench.log, follow=True)) as idle, aclosing(read(bench.log)) as later:
        os.write(writing, b"first\n")
        assert (await anext(idle)).data == b"first\n"
        with trio.fail_after(within(5)):
            await trio.to_thread.run_sync(write_all_and_close, writing, bytes(16 << 20))
            await bench.log.wait_drained()
        assert sum([len(chunk.data) async for chunk in later]) == 6 + (16 << 20)


async def test_a_follower_ends_with_the_run_and_not_before(bench: Bench) -> None:
    writing = bench.pipe()
    seen: list[bytes] = []
    async with aclosing(read(bench.log, follow=True)) as chunks:
        os.write(writing, b"a")
        seen.append((await anext(chunks)).data)
        with trio.move_on_after(0.05) as waited:
            await anext(chunks)
        assert waited.cancelled_caught
    os.close(writing)
    await bench.log.wait_drained()
    with trio.fail_after(within(1)):
        assert await bench.text(follow=True) == b"a"


async def test_followers_of_a_removed_container_end(bench: Bench) -> None:
    writing = bench.pipe()
    with trio.fail_after(within(1)):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(bench.text, follow=True))
            await trio.testing.wait_all_tasks_blocked()
            bench.log.close()
    os.close(writing)


async def test_chunks_have_one_stream_and_one_time_and_at_most_64_kib(tmp_path: Path) -> None:
    log = written(tmp_path, (1, 10, b"a" * 100_000), (2, 20, b"b"), (1, 30, b"c"))
    async with aclosing(read(log)) as chunks:
        all_of_it = [chunk async for chunk in chunks]
    assert all_of_it[-2:] == [Chunk(2, 20, b"b"), Chunk(1, 30, b"c")]
    assert {chunk.time for chunk in all_of_it[:-2]} == {10}
    assert max(len(chunk.data) for chunk in all_of_it) == 65536
    assert b"".join(chunk.data for chunk in all_of_it) == b"a" * 100_000 + b"bc"


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(0, b""), (1, b"three"), (2, b"two\nthree"), (3, b"one\ntwo\nthree"), (9, b"one\ntwo\nthree")],
)
async def test_tail_counts_lines_from_the_end(tmp_path: Path, tail: int, expected: bytes) -> None:
    """With and without a newline at the very end."""
    assert await got(written(tmp_path, (1, 1, b"one\ntwo\nthree")), tail=tail) == expected
    end = b"\n" if tail else b""
    assert await got(written(tmp_path, (1, 1, b"one\ntwo\nthree\n")), tail=tail) == expected + end


async def test_tail_of_one_stream_counts_its_lines_only(tmp_path: Path) -> None:
    log = written(
        tmp_path, (1, 1, b"out 1\n"), (2, 2, b"err 1\nerr"), (1, 3, b"out 2\n" * 9), (2, 4, b" 2\n")
    )
    assert await got(log, streams=(2,), tail=1) == b"err 2\n"
    assert await got(log, streams=(2,), tail=2) == b"err 1\nerr 2\n"
    assert await got(log, streams=(1,), tail=10) == b"out 1\n" + b"out 2\n" * 9


async def test_tail_and_follow_go_on_from_there(bench: Bench) -> None:
    writing = bench.pipe()
    os.write(writing, b"1\n2\n3\n")
    await bench.grown(6)
    async with aclosing(read(bench.log, tail=1, follow=True)) as chunks:
        assert (await anext(chunks)).data == b"3\n"
        os.write(writing, b"4\n")
        assert (await anext(chunks)).data == b"4\n"
    os.close(writing)


@pytest.mark.alone
async def test_tail_of_a_gigabyte_takes_milliseconds(tmp_path: Path) -> None:
    log = written(tmp_path, (1, 1, b"first\n"))
    with Path(data_path(tmp_path)).open("r+b") as file:
        file.seek(1 << 30)
        file.write(b"\nlast but one\nlast\n")
    started = time.perf_counter()
    assert await got(log, tail=2) == b"last but one\nlast\n"
    assert time.perf_counter() - started < 0.05


async def test_since_and_until_pick_by_time(tmp_path: Path) -> None:
    """Since is inside, until is outside."""
    log = written(tmp_path, *((1 + n % 2, n * 10, b"%d\n" % n) for n in range(10_000)))
    assert await got(log, since=500, until=520) == b"50\n51\n"
    assert await got(log, since=501, until=520) == b"51\n"
    assert await got(log, since=99_990) == b"9999\n"
    assert await got(log, until=10) == b"0\n"
    assert await got(log, since=100_000) == b""
    assert await got(log, until=0) == b""
    assert await got(log, since=500, until=600, tail=2) == b"58\n59\n"
    assert await got(log, since=500, until=600, streams=(1,), tail=2) == b"56\n58\n"


async def test_since_is_right_though_the_clock_was_set_back(tmp_path: Path) -> None:
    """Every part of a matching time comes, from before and after the step, and no other."""
    log = written(
        tmp_path,
        *((1, when, b"%d " % when) for when in (100, 200, 300, 50, 150, 250, 20, 400)),
        steps=(0, 0, 0, 1, 1, 1, 2, 2),
    )
    assert await got(log, since=150, until=260) == b"200 150 250 "
    assert await got(log, since=350) == b"400 "
    assert await got(log, until=60) == b"50 20 "


async def test_a_clock_set_back_is_counted(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it writes is found again by both times."""
    now = time.time_ns()
    clock = [now]
    monkeypatch.setattr("wherryd.logs.segment.time", FakeTime(clock))
    writing = bench.pipe()
    for number, when in enumerate((now, now + 10**9, now - 10**10, now + 5 * 10**8)):
        clock[0] = when
        os.write(writing, b"%d" % number)
        await bench.grown(number + 1)
    os.close(writing)
    await bench.log.wait_drained()
    assert [chunk.time - now for chunk in await bench.chunks()] == [0, 10**9, -(10**10), 5 * 10**8]
    assert await bench.text(since=now) == b"013"
    assert await bench.text(until=now) == b"2"


class FakeTime:
    """A clock that a test sets."""

    def __init__(self, clock: list[int]) -> None:
        self._clock = clock

    def time_ns(self) -> int:
        return self._clock[0]


async def test_following_until_a_time_ends_then(bench: Bench) -> None:
    writing = bench.pipe()
    os.write(writing, b"x")
    await bench.grown(1)
    with trio.fail_after(within(2)):
        assert await bench.text(follow=True, until=time.time_ns() + 10**8) == b"x"
    os.close(writing)


async def test_after_a_place_reads_one_run_only(bench: Bench) -> None:
    for run in (b"first run\n", b"second run\n"):
        start = bench.log.end()
        writing = bench.pipe()
        os.write(writing, run)
        os.close(writing)
        await bench.log.wait_drained()
    assert await bench.text(after=start) == b"second run\n"


async def test_records_that_cannot_be_true_are_dropped(tmp_path: Path) -> None:
    """After a power failure: zeros at the index's end, and records beyond the log's."""
    written(tmp_path, (1, 1, b"whole\n"), (2, 2, b"lost"), (1, 3, b"lost too"))
    os.truncate(data_path(tmp_path), 6)
    with Path(index_path(tmp_path)).open("ab") as index:
        index.write(bytes(40))
    log = Log.open(tmp_path)
    assert Path(index_path(tmp_path)).stat().st_size == 32  # the second covers nothing: its place is reused
    async with aclosing(read(log)) as chunks:
        assert [chunk async for chunk in chunks] == [Chunk(1, 1, b"whole\n")]


async def test_a_log_that_lost_its_index_is_still_read(tmp_path: Path) -> None:
    log = written(tmp_path, (1, 1, b"text\n"))
    Path(index_path(tmp_path)).write_bytes(b"")
    assert await got(log) == b"text\n"
    assert await got(Log.open(tmp_path), tail=1, streams=(1,)) == b"text\n"


async def test_reading_leaves_no_descriptor(tmp_path: Path) -> None:
    log = written(tmp_path, (1, 1, b"x" * 200_000))
    before = os.listdir("/proc/self/fd")
    async with aclosing(read(log)) as chunks:
        await anext(chunks)
    assert os.listdir("/proc/self/fd") == before
