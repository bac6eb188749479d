"""Limits of a log that change while it is written: its sizes, and its mode, also while it is stuck."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
import trio
from logbench import Bench, write_all_and_close
from support.disk import tmpfs
from support.forms import within

from wherryd.logs.limits import LogLimits
from wherryd.logs.log import Log
from wherryd.logs.pieces import data_path, kept_data, kept_places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherryd.logs.pump import LogPump

KIB = 1024
SMALL = LogLimits(max_size=KIB, max_file=4, compress=False)
WAITS = LogLimits()
DROPS = LogLimits(blocking=False, buffer=65536)
LINE = b"y" * 99 + b"\n"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "small", "size=1m", lazy=True) as where:
        yield where


def sizes(directory: Path) -> list[int]:
    """Return the sizes of all data files, oldest first; zero of one that goes at this moment."""
    paths = [*(kept_data(directory, place) for place in kept_places(directory)), data_path(directory)]
    return [_size(path) for path in paths]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


async def print_more(bench: Bench, writing: int, size: int) -> None:
    """Print whole lines, and wait until they are in the log."""
    end = bench.log.end() + size
    os.write(writing, LINE * (size // len(LINE)))
    await bench.grown(end)


async def settled(condition: Callable[[], bool]) -> None:
    with trio.fail_after(within(20)):
        while not condition():
            await trio.sleep(0.01)


async def test_sizes_hold_from_the_next_byte_on(pump: LogPump, tmp_path: Path) -> None:
    """A file that is too large is the last of its size; those that are too many go at once."""
    bench = Bench(pump, Log.open(tmp_path, LogLimits(max_size=0)))
    writing = bench.pipe()
    await print_more(bench, writing, 5000)
    bench.log.bound(SMALL)
    await print_more(bench, writing, 100)
    assert sizes(tmp_path) == [5000, 100]
    await print_more(bench, writing, 2500)
    assert sizes(tmp_path) == [5000, KIB, KIB, 2600 - 2 * KIB]
    bench.log.bound(LogLimits(max_size=KIB, max_file=2, compress=False))
    await settled(lambda: sizes(tmp_path) == [KIB, 2600 - 2 * KIB])
    bench.log.bound(LogLimits(max_size=0, max_file=2))
    await print_more(bench, writing, 9000)
    assert sizes(tmp_path) == [KIB, 2600 - 2 * KIB + 9000]
    assert bench.log.end() == 5000 + 2600 + 9000
    await trio.to_thread.run_sync(write_all_and_close, writing, b"")
    await bench.log.wait_drained()
    # And for the next run, begun by nobody yet.
    bench.log.bound(SMALL)
    writing = bench.pipe()
    await print_more(bench, writing, 2000)
    assert sizes(tmp_path)[-1] == 2000 - KIB
    os.close(writing)
    await bench.log.wait_drained()


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
async def test_one_that_waits_for_a_full_disk_can_be_let_go_on(
    pump: LogPump, small_disk: Path, kind: str
) -> None:
    """What it then loses is counted to the byte; told to wait again, it loses nothing more."""
    bench = Bench(pump, Log.open(small_disk, WAITS))
    troubles: list[str | None] = []
    bench.log.on_trouble = troubles.append
    writing = bench.stream(kind)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(700_000))
    data, written = LINE * 6000, 0  # the pipe and what is left of the disk take less

    def write() -> None:
        nonlocal written
        for at in range(0, len(data), 1000):
            written += os.write(writing, data[at : at + 1000])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, write)
        await settled(lambda: bench.log.trouble is not None)
        assert "the container waits" in (bench.log.trouble or "")
        assert written < len(data)
        bench.log.bound(DROPS)
        await settled(lambda: written == len(data))
    assert "does not wait" in (bench.log.trouble or "")
    bench.log.bound(WAITS)
    await settled(lambda: "the container waits" in (bench.log.trouble or ""))
    dropped = bench.log.dropped
    assert dropped.bytes > 0
    filler.unlink()
    await settled(lambda: bench.log.trouble is None)
    await trio.to_thread.run_sync(write_all_and_close, writing, LINE * 100)
    await bench.log.wait_drained()
    assert bench.log.dropped == dropped
    assert bench.log.end() + dropped.bytes == len(data) + 100 * len(LINE)
    assert dropped.bytes == dropped.lines * len(LINE), "lines were cut"
    assert troubles.count(None) == 1
