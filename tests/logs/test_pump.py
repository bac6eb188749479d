"""The pump: every byte once, whatever the disk, the user or the container does."""

from __future__ import annotations

import hashlib
import itertools
import os
import resource
import stat
import statistics
import tty
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from logbench import write_all_and_close
from support.forms import within

from wherryd.logs.log import Log
from wherryd.logs.pieces import data_path, index_path, open_regular
from wherryd.logs.pump import LogPump

if TYPE_CHECKING:
    from logbench import Bench


async def test_a_mebibyte_and_an_exit_at_once_is_kept_whole(bench: Bench) -> None:
    """What a process wrote just before it ended is all there, 100 times."""
    for _ in range(100):
        log = bench.log
        start = log.end()
        reading, writing = os.pipe()
        data = os.urandom(1 << 20)
        bench.pump.attach(log, {1: reading})
        await trio.to_thread.run_sync(write_all_and_close, writing, data)
        await log.wait_drained()
        got = await bench.text(after=start)
        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


async def test_streams_keep_their_order_and_stay_separable(bench: Bench) -> None:
    """Alternating writes come back in the order in which they were made, each with its stream."""
    ends = {1: bench.pipe(1), 2: bench.pipe(2)}
    size = 0
    for line in range(200):
        stream = 1 + line % 2
        size += os.write(ends[stream], b"%d\n" % line)
        await bench.grown(size)
    for fd in ends.values():
        os.close(fd)
    await bench.log.wait_drained()
    assert [(c.stream, c.data) for c in await bench.chunks()] == [
        (1 + line % 2, b"%d\n" % line) for line in range(200)
    ]
    assert await bench.text(streams=(2,)) == b"".join(b"%d\n" % line for line in range(1, 200, 2))


async def test_the_file_holds_exactly_the_containers_bytes(bench: Bench) -> None:
    writing = bench.pipe()
    os.write(writing, b"\0binary\xff\n\n")
    os.close(writing)
    await bench.log.wait_drained()
    assert Path(data_path(bench.log.directory)).read_bytes() == b"\0binary\xff\n\n"


async def test_a_pipe_that_ended_empty_is_over_at_once(bench: Bench) -> None:
    """It never reaches the thread; beside one that says something it is over, too."""
    silent, talking = os.pipe(), os.pipe()
    os.write(talking[1], b"last words")
    for _, writing in (silent, talking):
        os.close(writing)
    again = os.dup(silent[0])
    assert bench.pump.attach(bench.log, {1: talking[0], 2: silent[0]})
    with suppress(OSError):  # it is closed, or the thread has a file of that number
        assert not os.path.samestat(os.fstat(silent[0]), os.fstat(again))
    await bench.log.wait_drained()
    assert await bench.text() == b"last words"
    assert not bench.pump.attach(bench.log, {1: again})
    assert bench.log.finished


async def test_an_empty_pipe_that_somebody_may_write_to_is_watched(bench: Bench) -> None:
    writing = bench.pipe()
    assert not bench.log.finished
    os.write(writing, b"late")
    os.close(writing)
    await bench.log.wait_drained()
    assert await bench.text() == b"late"


async def test_log_files_are_private(bench: Bench) -> None:
    for path in (Path(data_path(bench.log.directory)), Path(index_path(bench.log.directory))):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
async def test_something_else_than_a_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A link or a fifo at the log's path neither redirects the log nor hangs the supervisor."""
    path = Path(data_path(tmp_path))
    if kind == "symlink":
        path.symlink_to("/dev/null")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OSError, match=str(path)):
        Log.open(tmp_path)


async def test_a_flood_does_not_starve_a_neighbour(bench: Bench, tmp_path: Path) -> None:
    """While one container prints without end, another's line is written within 100 ms, more often than not:
    somebody else may have the processor.
    """
    took: list[float] = []
    flood = bench.pipe()
    process = await trio.lowlevel.open_process(["/bin/cat", "/dev/zero"], stdout=flood)
    os.close(flood)
    try:
        (tmp_path / "other").mkdir()
        other = Log.open(tmp_path / "other")
        await bench.grown(1 << 20)
        for _ in range(20):
            reading, writing = os.pipe()
            bench.pump.attach(other, {1: reading})
            os.write(writing, b"line\n")
            os.close(writing)
            began = trio.current_time()
            with trio.fail_after(within(10)):
                await other.wait_drained()
            took.append(trio.current_time() - began)
    finally:
        process.kill()
        await process.wait()
        os.truncate(data_path(tmp_path), 0)
    assert statistics.median(took) < within(0.1), took


async def test_memory_stays_flat_under_a_flood(bench: Bench) -> None:
    """No byte passes through the supervisor's memory: 256 MiB of log leave it as it was."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    writing = bench.pipe()
    command = ["/bin/dd", "if=/dev/zero", "bs=64k", "count=4096", "status=none"]
    await trio.run_process(command, stdout=writing)
    os.close(writing)
    await bench.log.wait_drained()
    assert bench.log.end() == 256 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096
    os.truncate(data_path(bench.log.directory), 0)


async def test_an_idle_pump_never_wakes(bench: Bench) -> None:
    """With streams attached and nothing printed, the thread's count of context switches stands still."""
    writing = bench.pipe()
    os.write(writing, b"x")
    await bench.grown(1)
    before = await _settled()
    await trio.sleep(1)
    assert _switches() == before
    os.close(writing)


async def _settled() -> str:
    """Wait until the thread sleeps: on a busy machine it is at what was printed for a while."""
    with trio.fail_after(within(10)):
        while True:
            before = _switches()
            await trio.sleep(0.1)
            if _switches() == before:
                return before


def _switches() -> str:
    for task in Path("/proc/self/task").iterdir():
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that nobody needed for a while
        if status.startswith("Name:\twherryd: logs\n"):
            return "".join(line for line in status.splitlines() if "ctxt" in line)
    raise AssertionError("there is no thread named wherryd: logs")


async def test_a_grandchild_that_keeps_the_pipe_is_given_up(bench: Bench) -> None:
    """What it printed so far is kept; what it prints later is not waited for."""
    writing = bench.pipe()
    os.write(writing, b"before\n")
    bench.log.detach_stragglers()
    with trio.fail_after(within(1)):
        await bench.log.wait_drained()
    assert await bench.text() == b"before\n"
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"after\n")
    os.close(writing)


async def test_giving_up_ends_even_when_the_straggler_floods(bench: Bench) -> None:
    writing = bench.pipe()
    process = await trio.lowlevel.open_process(["/bin/cat", "/dev/zero"], stdout=writing)
    os.close(writing)
    try:
        await bench.grown(1 << 20)
        bench.log.detach_stragglers()
        with trio.fail_after(within(1)):
            await bench.log.wait_drained()
    finally:
        process.kill()
        await process.wait()


async def test_close_leaves_unread_bytes_to_a_successor(tmp_path: Path) -> None:
    """Two pumps one after the other, over a duplicate of the pipe: each byte once."""
    reading, writing = os.pipe()
    for part in (b"one ", b"two "):
        pump, log = LogPump(), Log.open(tmp_path)
        pump.start()
        os.write(writing, part)
        pump.attach(log, {1: os.dup(reading)})
        pump.close()
    pump, log = LogPump(), Log.open(tmp_path)
    pump.start()
    pump.attach(log, {1: reading})
    os.close(writing)
    await log.wait_drained()
    pump.close()
    assert Path(data_path(tmp_path)).read_bytes() == b"one two "


async def test_closing_a_log_closes_its_descriptors(bench: Bench) -> None:
    before = len(os.listdir("/proc/self/fd"))
    writing = bench.pipe()
    os.write(writing, b"x")
    await bench.grown(1)
    bench.log.close()
    with trio.fail_after(within(1)):
        while True:
            try:
                os.write(writing, b"x")
            except BrokenPipeError:
                break
            await trio.lowlevel.checkpoint()
    os.close(writing)
    while len(os.listdir("/proc/self/fd")) > before:
        await trio.lowlevel.checkpoint()


async def test_a_run_begun_right_after_the_last_was_closed_is_logged(bench: Bench) -> None:
    """What is dropped is what was attached at that moment, not what comes later."""
    for number in range(100):
        old = bench.pipe()
        bench.log.close()
        bench.log.prepare()
        start = bench.log.end()
        new = bench.pipe()
        os.write(new, b"run %d\n" % number)
        os.close(new)
        os.close(old)
        await bench.log.wait_drained()
        assert await bench.text(after=start) == b"run %d\n" % number


async def test_a_terminal_is_read_to_its_end(bench: Bench) -> None:
    """All that was written before the last slave closed is in the log; then the stream is over."""
    master, slave = os.openpty()
    tty.setraw(slave)
    bench.pump.attach(bench.log, {1: master}, tty=True)
    data = bytes(range(256)) * 400
    await trio.to_thread.run_sync(write_all_and_close, slave, data)
    with trio.fail_after(within(5)):
        await bench.log.wait_drained()
    assert Path(data_path(bench.log.directory)).read_bytes() == data


async def test_a_terminals_last_words_survive_giving_up(bench: Bench) -> None:
    master, slave = os.openpty()
    tty.setraw(slave)
    bench.pump.attach(bench.log, {1: master}, tty=True)
    os.write(slave, b"here")
    bench.log.detach_stragglers()
    with trio.fail_after(within(1)):
        await bench.log.wait_drained()
    assert await bench.text() == b"here"
    os.close(slave)


async def test_the_index_is_written_once_per_millisecond_of_a_stream(bench: Bench) -> None:
    """A flood does not grow the index with every move."""
    writing = bench.pipe()
    await trio.run_process(["/bin/dd", "if=/dev/zero", "bs=64k", "count=512", "status=none"], stdout=writing)
    os.close(writing)
    await bench.log.wait_drained()
    times = [chunk.time for chunk in await bench.chunks()]
    apart = [b - a for a, b in itertools.pairwise(times) if a != b]
    assert all(gap >= 1_000_000 for gap in apart)


async def test_opening_refuses_without_leaking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "fifo", os.O_RDWR)
    assert os.listdir("/proc/self/fd") == before
