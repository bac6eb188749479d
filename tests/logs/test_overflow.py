"""A container that does not wait for its log: what does not fit is dropped by lines, and counted exactly."""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio
from logbench import Bench, write_all_and_close
from support.disk import tmpfs
from support.forms import rounds, within

from wherryd.logs.limits import LogLimits
from wherryd.logs.log import Log
from wherryd.logs.reader import read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wherryd.logs.pump import LogPump
    from wherryd.logs.reader import Chunk

LINES = rounds(short=40_000, long=400_000)
LIMITS = LogLimits(blocking=False, buffer=65536, max_size=1 << 20, max_file=2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "small", "size=3m", lazy=True) as where:
        yield where


def fill(path: Path, *, leave: int = 0) -> None:
    try:
        path.write_bytes(bytes(4 << 20))
    except OSError:
        os.truncate(path, path.stat().st_size - leave)
        return
    raise AssertionError("the disk is not full")


def line(number: int) -> bytes:
    return b"%d %s\n" % (number, b"x" * (number * 7919 % 90))


def numbers(chunks: list[Chunk]) -> list[int]:
    """Return the numbers of the lines, each of which is whole."""
    found = []
    for each in b"".join(chunk.data for chunk in chunks).splitlines(keepends=True):
        number = int(each.split()[0])
        assert each == line(number), "a line was cut"
        found.append(number)
    return found


async def printed(first: int, last: int, writing: int) -> None:
    """Print lines, however long it takes, in writes that do not end where lines end."""
    data = b"".join(map(line, range(first, last)))

    def write() -> None:
        for at in range(0, len(data), 3001):
            os.write(writing, data[at : at + 3001])

    with trio.fail_after(within(30)):
        await trio.to_thread.run_sync(write)


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
async def test_lines_printed_are_lines_kept_and_lines_dropped(
    pump: LogPump, small_disk: Path, kind: str
) -> None:
    """Over two times of a full disk: the writer ends while it is full, and no kept line is cut."""
    bench = Bench(pump, Log.open(small_disk, LIMITS))
    told: list[tuple[int, int]] = []
    troubles: list[str | None] = []
    bench.log.on_dropped = lambda count, lines: told.append((count, lines))
    bench.log.on_trouble = troubles.append
    writing = bench.stream(kind)
    followed: list[Chunk] = []

    async def follow() -> None:
        async with aclosing(read(bench.log, follow=True)) as chunks:
            async for chunk in chunks:
                followed.append(chunk)  # noqa: PERF401 - watched while it grows

    size = LINES // 4
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        for turn in range(2):
            await printed(2 * turn * size, 2 * turn * size + 50, writing)
            fill(small_disk / "filler", leave=8192)
            await printed(2 * turn * size + 50, 2 * turn * size + 2 * size, writing)
            assert bench.log.trouble is not None
            assert "does not wait" in bench.log.trouble
            assert bench.log.dropped.lines > sum(lines for _, lines in told)
            (small_disk / "filler").unlink()
            with trio.fail_after(within(5)):
                while bench.log.trouble is not None:
                    await trio.sleep(0.01)
        os.close(writing)
    kept = await bench.chunks()
    everything = set(range(4 * size))
    for chunks in (followed, kept):
        got = numbers(chunks)
        assert got == sorted(set(got)), "a line twice, or out of its order"
        gaps = [chunk.gap for chunk in chunks if chunk.gap is not None]
        missing = everything - set(got)
        assert sum(gap.lines or 0 for gap in gaps) == len(missing) > size
        assert sum(gap.bytes for gap in gaps) == sum(len(line(number)) for number in missing)
        assert {gap.why for gap in gaps} == {"dropped"}
    assert (bench.log.dropped.bytes, bench.log.dropped.lines) == tuple(map(sum, zip(*told, strict=True)))
    assert bench.log.dropped.lines == len(everything) - len(numbers(kept))
    assert len(troubles) % 2 == 0


async def test_what_is_missing_stands_where_it_is_missing(pump: LogPump, small_disk: Path) -> None:
    """Also after the last byte, and again for whoever reads later."""
    bench = Bench(pump, Log.open(small_disk, LIMITS))
    writing = bench.pipe()
    os.write(writing, b"first\n")
    await bench.grown(6)
    fill(small_disk / "filler")
    await trio.to_thread.run_sync(write_all_and_close, writing, (b"y" * 99 + b"\n") * 1000)
    (small_disk / "filler").unlink()
    with trio.fail_after(within(5)):
        await bench.log.wait_drained()
    for _ in range(2):
        chunks = await bench.chunks()
        text = b"".join(chunk.data for chunk in chunks)
        gaps = [chunk.gap for chunk in chunks if chunk.gap is not None]
        assert text.startswith(b"first\n")
        assert len(gaps) >= 1
        assert len(text) + sum(gap.bytes for gap in gaps) == 6 + 100_000
        assert await bench.text(tail=1000) == text


async def test_without_trouble_nothing_is_dropped(pump: LogPump, small_disk: Path) -> None:
    bench = Bench(pump, Log.open(small_disk, LIMITS))
    data = b"".join(map(line, range(20_000)))
    await trio.to_thread.run_sync(write_all_and_close, bench.pipe(), data)
    await bench.log.wait_drained()
    assert (await bench.text()) == data[-len(await bench.text()) :]
    assert bench.log.end() == len(data)
    assert bench.log.dropped.bytes == 0
