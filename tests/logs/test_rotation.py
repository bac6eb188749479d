"""Rotation: the log stays within its bounds, and no follower notices more of it than he must."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from logbench import Bench, write_all_and_close
from support.forms import rounds, within

from wherryd.kernel import failpoints
from wherryd.logs import shelf
from wherryd.logs.limits import LogLimits
from wherryd.logs.log import Log
from wherryd.logs.pieces import data_path, index_path, kept_data, kept_places
from wherryd.logs.pump import LogPump
from wherryd.logs.reader import read
from wherryd.logs.shelf import EXTRA_BYTES

if TYPE_CHECKING:
    from wherryd.logs.reader import Chunk

KIB = 1024
LINES = rounds(short=20_000, long=100_000)
FOLLOWERS = 10


def bench_of(pump: LogPump, directory: Path, size: int = KIB, files: int = 4, **more: Any) -> Bench:
    limits = LogLimits(max_size=size, max_file=files, **more)
    return Bench(pump, Log.open(directory, limits))


async def printed(bench: Bench, data: bytes) -> None:
    """Have a run print something to its end."""
    bench.log.prepare()
    await trio.to_thread.run_sync(write_all_and_close, bench.pipe(), data)
    await bench.log.wait_drained()


def numbered(first: int, last: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(first, last))


def sizes(directory: Path) -> list[int]:
    """Return the sizes of all data files, oldest first."""
    kept = [Path(kept_data(directory, place)).stat().st_size for place in kept_places(directory)]
    return [*kept, Path(data_path(directory)).stat().st_size]


def used(directory: Path) -> int:
    """Return the sizes of all data files while they come and go."""
    total = 0
    for path in directory.glob("log*"):
        with suppress(FileNotFoundError):
            total += 0 if "index" in path.name else path.stat().st_size
    return total


async def test_a_log_keeps_its_newest_bytes_and_no_more(pump: LogPump, tmp_path: Path) -> None:
    """Whole pieces of exactly the size, in files whose names say where they belong."""
    bench = bench_of(pump, tmp_path)
    data = numbered(0, 2000)
    await printed(bench, data)
    assert sizes(tmp_path) == [KIB, KIB, KIB, len(data) % KIB]
    assert await bench.text() == data[-3 * KIB - len(data) % KIB :]
    assert bench.log.end() == len(data)
    names = sorted(each.name for each in tmp_path.iterdir())
    assert len(names) == 8, names
    joined = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("log.[0-9]*")))
    assert joined + (tmp_path / "log").read_bytes() == await bench.text()


async def test_ten_followers_see_each_line_once_over_a_thousand_rotations(
    pump: LogPump, tmp_path: Path
) -> None:
    """Pieces of 1 KiB: whoever reads on is waited for, however much slower he is."""
    bench = bench_of(pump, tmp_path)
    data = numbered(0, LINES)
    seen: list[bytes] = []

    async def follow(pause: int) -> None:
        mine = bytearray()
        async with aclosing(read(bench.log, follow=True)) as chunks:
            async for chunk in chunks:
                assert chunk.gap is None
                mine.extend(chunk.data)
                for _ in range(pause):
                    await trio.lowlevel.checkpoint()
        seen.append(bytes(mine))

    writing = bench.pipe()
    with trio.fail_after(within(60)):
        async with trio.open_nursery() as nursery:
            for pause in range(FOLLOWERS):
                nursery.start_soon(follow, pause)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(trio.to_thread.run_sync, write_all_and_close, writing, data)
    assert [each == data for each in seen] == [True] * FOLLOWERS
    await _until(lambda: len(kept_places(tmp_path)) == 3)
    assert await bench.text() == data[-3 * KIB - len(data) % KIB :]


async def _until(true: Any) -> None:
    with trio.fail_after(within(5)):
        while not true():
            await trio.sleep(0.002)


async def test_a_reader_who_stands_still_is_told_exactly_what_he_missed(
    pump: LogPump, tmp_path: Path
) -> None:
    """He slows the writer no longer than a moment; the piece that he reads is his to its end."""
    size = EXTRA_BYTES + KIB  # more than is kept for readers
    bench = bench_of(pump, tmp_path, size, 2)
    data = b"%063d\n" * (5 * size // 64) % tuple(range(5 * size // 64))
    writing = bench.pipe()
    os.write(writing, data[:64])
    async with aclosing(read(bench.log, follow=True)) as chunks:
        first = await anext(chunks)
        with trio.fail_after(within(10)):
            await trio.to_thread.run_sync(write_all_and_close, writing, data[64:])
            await bench.log.wait_drained()
        rest = [chunk async for chunk in chunks]
    gaps = [chunk for chunk in rest if chunk.gap is not None]
    assert len(gaps) == 1
    assert gaps[0].gap is not None
    missed, place = gaps[0].gap.bytes, gaps[0].place
    got = first.data + b"".join(chunk.data for chunk in rest)
    assert got == data[: place - missed] + data[place:]
    assert (place - missed, place) == (size, 3 * size)


async def test_disk_use_is_bounded_while_it_is_written(pump: LogPump, tmp_path: Path) -> None:
    """With a reader who stands still, too: the sizes of all pieces, and what is kept for him."""
    bench = bench_of(pump, tmp_path, 4 * KIB, 3)
    writing = bench.pipe()
    os.write(writing, b"x")
    most = 0
    async with aclosing(read(bench.log, follow=True)) as chunks:
        await anext(chunks)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write_all_and_close, writing, bytes(2 << 20))
            while not bench.log.finished:
                await trio.sleep(0.005)
                most = max(most, used(tmp_path))
    assert 3 * 4 * KIB < most <= 3 * 4 * KIB + 64 * 4 * KIB + 4 * KIB
    await _until(lambda: len(kept_places(tmp_path)) == 2)


async def test_a_place_is_where_one_goes_on_over_rotations(pump: LogPump, tmp_path: Path) -> None:
    """Also with another supervisor; what is gone by then is told."""
    bench = bench_of(pump, tmp_path)
    data = numbered(0, 1000)
    await printed(bench, data)
    end = len(data)
    for place in (end, end - 1, end - 1500, end - 2 * KIB - end % KIB):
        for log in (bench.log, Log.open(tmp_path, bench.log.limits)):
            got = await Bench(pump, log).chunks(after=place)
            assert b"".join(chunk.data for chunk in got) == data[place:]
            assert all(chunk.gap is None for chunk in got)
    first, *rest = await bench.chunks(after=100)
    oldest = kept_places(tmp_path)[0]
    assert first.gap is not None
    assert (first.gap.why, first.gap.bytes, first.place) == ("rotated", oldest - 100, oldest)
    assert b"".join(chunk.data for chunk in rest) == data[oldest:]
    assert await bench.text(after=end + 999) == b"", "a place that never was"


@pytest.mark.parametrize("tail", [0, 1, 50, 137, 138, 250, 1000])
async def test_tail_counts_over_files(pump: LogPump, tmp_path: Path, tail: int) -> None:
    bench = bench_of(pump, tmp_path)
    data = numbered(0, 1000)
    await printed(bench, data)
    whole = await bench.text()
    lines = whole.splitlines(keepends=True)
    assert 200 < len(lines) < 1000
    assert await bench.text(tail=tail) == b"".join(lines[-tail:] if tail else [])
    assert await bench.text(tail=tail, streams=(1,)) == b"".join(lines[-tail:] if tail else [])
    assert await bench.text(tail=tail, streams=(2,)) == b""


async def test_times_are_found_over_files(pump: LogPump, tmp_path: Path) -> None:
    """Each line has the time of its own piece of the index; streams stay apart."""
    bench = bench_of(pump, tmp_path, KIB, 100)
    ends = {1: bench.pipe(1), 2: bench.pipe(2)}
    size = 0
    for number in range(30):
        size += os.write(ends[1 + number % 2], b"%0199d\n" % number)
        await bench.grown(size)
        await trio.sleep(0.0015)
    for fd in ends.values():
        os.close(fd)
    await bench.log.wait_drained()
    assert len(kept_places(tmp_path)) == 5
    chunks = await bench.chunks()
    assert b"".join(chunk.data for chunk in chunks) == b"".join(b"%0199d\n" % n for n in range(30))
    for cut in (0, 7, 15, 29):
        since = _time_of(chunks, cut)
        assert await bench.text(since=since) == b"".join(b"%0199d\n" % n for n in range(cut, 30))
        assert await bench.text(until=since) == b"".join(b"%0199d\n" % n for n in range(cut))
        assert await bench.text(since=since, tail=2) == b"".join(
            b"%0199d\n" % n for n in range(30)[cut:][-2:]
        )
    assert await bench.text(streams=(2,), tail=9) == b"".join(b"%0199d\n" % n for n in range(30)[1::2][-9:])
    assert await bench.text(since=time.time_ns()) == b""


def _time_of(chunks: list[Chunk], line: int) -> int:
    place = 200 * line
    return next(chunk.time for chunk in chunks if chunk.place > place)


async def test_one_file_is_enough_and_none_is_no_limit(pump: LogPump, tmp_path: Path) -> None:
    data = numbered(0, 1000)
    for name, size, files, kept in (("one", KIB, 1, len(data) % KIB), ("free", 0, 4, len(data))):
        (tmp_path / name).mkdir()
        bench = bench_of(pump, tmp_path / name, size, files)
        await printed(bench, data)
        assert sizes(tmp_path / name) == [kept]
        assert await bench.text() == data[len(data) - kept :]
        assert bench.log.end() == len(data)


async def test_a_terminal_is_rotated_too(pump: LogPump, tmp_path: Path) -> None:
    bench = bench_of(pump, tmp_path)
    master, slave = os.openpty()
    data = numbered(0, 1000)
    bench.pump.attach(bench.log, {1: master}, tty=True)
    await trio.to_thread.run_sync(write_all_and_close, slave, data)
    await bench.log.wait_drained()
    data = data.replace(b"\n", b"\r\n")
    assert await bench.text() == data[-3 * KIB - len(data) % KIB :]


async def test_tail_of_the_path_by_name_gets_every_line(
    pump: LogPump, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail that everybody has: he is waited for where he has not found the next file yet."""
    for bound in ("NAME_PATIENCE", "NAME_TURN"):
        monkeypatch.setattr(shelf, bound, within(getattr(shelf, bound)))
    bench = bench_of(pump, tmp_path)
    data = numbered(0, rounds(short=5_000, long=100_000))
    path = data_path(tmp_path)
    out = tmp_path / "out"
    with out.open("wb") as file:
        process = subprocess.Popen(["tail", "-n", "+1", "-F", path], stdout=file, stderr=subprocess.DEVNULL)
    try:
        writing = bench.pipe()
        # Two: he reads the first, looks for another file of that name, and then begins to watch; of one that
        # is put aside in between he leaves the rest unread.
        for count in (1, 2):
            os.write(writing, b"line %d\n" % (count - 1))
            await _until(lambda count=count: out.stat().st_size == 7 * count)
        with trio.fail_after(within(60)):
            await trio.to_thread.run_sync(write_all_and_close, writing, data[14:])
            await bench.log.wait_drained()
        await _until(lambda: out.stat().st_size >= len(data))
    finally:
        process.kill()
        process.wait()
    assert out.read_bytes() == data


async def test_who_only_looks_at_the_path_always_finds_a_file(pump: LogPump, tmp_path: Path) -> None:
    bench = bench_of(pump, tmp_path)
    data = numbered(0, 3000)
    missing = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(printed, bench, data)
        await trio.sleep(0)
        while not bench.log.sources:
            await trio.lowlevel.checkpoint()
        while not bench.log.finished:
            missing += not os.path.exists(data_path(tmp_path))
            await trio.lowlevel.checkpoint()
    assert missing == 0


@pytest.mark.parametrize("kind", ["full", "read-only"])
async def test_a_disk_that_takes_no_new_file_is_waited_for(pump: LogPump, tmp_path: Path, kind: str) -> None:
    """Told once, healed by itself, and every byte that is kept is there once."""
    told: list[str | None] = []
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "small", disk], check=True)
    try:
        bench = bench_of(pump, disk, 64 * KIB, 2)
        bench.log.on_trouble = told.append
        if kind == "full":
            spoil, mend = partial(_fill, disk / "filler"), (disk / "filler").unlink
        else:
            spoil, mend = partial(_cover, disk), partial(subprocess.run, ["umount", disk], check=True)
        data = numbered(0, 30_000)
        writing = bench.pipe()
        os.write(writing, data[:1000])
        await bench.grown(1000)
        spoil()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write_all_and_close, writing, data[1000:])
            await _until(lambda: told)
            await trio.sleep(0.6)  # two tries
            assert len(told) == 1
            mend()
            with trio.fail_after(within(5)):
                await bench.log.wait_drained()
        text = await bench.text()
        assert data.endswith(text)
        assert len(text) > 64 * KIB
        assert told == [told[0], None]
        assert bench.log.end() == len(data)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _fill(path: Path) -> None:
    with suppress(OSError):
        path.write_bytes(bytes(1 << 20))


def _cover(disk: Path) -> None:
    """Make a disk read-only for whoever opens something by its path; what is open already stays so."""
    subprocess.run(["mount", "--bind", disk, disk], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)


@pytest.mark.parametrize("step", ["rotate.begin", "rotate.linked", "rotate.indexed", "rotate.removed"])
async def test_a_step_that_fails_is_made_good_and_nothing_is_lost(
    pump: LogPump, tmp_path: Path, step: str
) -> None:
    """Trouble is told, then over; every byte that is kept is there once."""
    told: list[str | None] = []
    bench = bench_of(pump, tmp_path)
    bench.log.on_trouble = told.append
    failpoints.arm(f"{step}=error:ENOSPC@5")
    try:
        data = numbered(0, 1500)
        await printed(bench, data)
    finally:
        failpoints.arm(None)
    assert await bench.text() == data[-3 * KIB - len(data) % KIB :]
    assert len(told) == 2
    assert told[0] is not None
    assert told[1] is None
    assert sorted(each.name for each in tmp_path.glob("*new")) == []


@pytest.mark.parametrize("step", ["rotate.begin", "rotate.linked", "rotate.indexed"])
async def test_a_rotation_that_was_broken_off_is_finished_by_the_next_supervisor(
    tmp_path: Path, step: str
) -> None:
    """It stops at the step for good; another pump goes on with the same pipe."""
    data = numbered(0, 200)
    reading, writing = os.pipe()
    os.write(writing, data)
    limits = LogLimits(max_size=KIB, max_file=4)
    first, log = LogPump(), Log.open(tmp_path, limits)
    first.start()
    failpoints.arm(f"{step}=error:EIO")
    try:
        first.attach(log, {1: os.dup(reading)})
        await _until(lambda: log.trouble is not None)
    finally:
        first.close()
        failpoints.arm(None)
    assert log.interrupted() == (step != "rotate.begin")
    second, log = LogPump(), Log.open(tmp_path, limits)
    assert not log.interrupted()
    second.start()
    assert await Bench(second, log).text() == data[:KIB]
    second.attach(log, {1: reading})
    os.close(writing)
    await log.wait_drained()
    second.close()
    assert await Bench(second, log).text() == data
    assert sizes(tmp_path) == [KIB, len(data) - KIB]


@pytest.mark.parametrize(
    "deed", ["truncate", "cut", "remove", "replace", "remove index", "remove old", "edit"]
)
async def test_meddling_with_a_rotated_log_is_told_and_exact_afterwards(
    pump: LogPump, tmp_path: Path, deed: str
) -> None:
    """A follower misses nothing that he could still read; places go on; the next rotation is as any other."""
    bench = bench_of(pump, tmp_path)
    notices: list[str] = []
    bench.log.on_notice = notices.append
    path, index = Path(data_path(tmp_path)), Path(index_path(tmp_path))
    data = numbered(0, 400)
    writing = bench.pipe()
    seen: list[Chunk] = []

    async def follow() -> None:
        async with aclosing(read(bench.log, follow=True)) as chunks:
            async for chunk in chunks:
                seen.append(chunk)  # noqa: PERF401 - watched while it grows

    def text() -> bytes:
        return b"".join(chunk.data for chunk in seen)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        os.write(writing, data[:1500])
        await _until(lambda: text() == data[:1500])
        {
            "truncate": lambda: os.truncate(path, 0),
            "cut": lambda: os.truncate(path, 100),
            "remove": path.unlink,
            "replace": lambda: (path.unlink(), path.touch()),
            "remove index": index.unlink,
            "remove old": lambda: [
                Path(kept_data(tmp_path, each)).unlink() for each in kept_places(tmp_path)
            ],
            "edit": lambda: (path.unlink(), path.write_bytes(data[KIB:1300])),
        }[deed]()
        await trio.sleep(0.002)
        os.write(writing, data[1500:])
        await _until(lambda: text() == data)
        os.close(writing)
    assert all(chunk.gap is None for chunk in seen)
    assert seen[-1].place == len(data) == bench.log.end()
    assert len(notices) == (deed != "remove old")
    assert await bench.text(after=len(data) - 500) == data[-500:]
    later = numbered(400, 600)
    await printed(bench, later)
    everything = data + later
    assert await bench.text(after=len(data)) == later
    if deed == "remove index":
        assert await bench.text() == everything[-3 * KIB - len(everything) % KIB :]


async def test_a_removed_log_is_read_to_its_end(pump: LogPump, tmp_path: Path) -> None:
    """`--rm`: whoever has not come so far gets all that was kept when it went, also over files."""
    directory = tmp_path / "container"
    directory.mkdir()
    bench = bench_of(pump, directory)
    data = numbered(0, 300)
    writing = bench.pipe()
    os.write(writing, data[:7])
    async with aclosing(read(bench.log, follow=True)) as chunks:
        got = [await anext(chunks)]
        await trio.to_thread.run_sync(write_all_and_close, writing, data[7:])
        await bench.log.wait_drained()
        bench.log.bequeath()
        bench.log.close()
        subprocess.run(["rm", "-rf", directory], check=True)
        got += [chunk async for chunk in chunks]
    assert b"".join(chunk.data for chunk in got) == data
    assert bench.log.legacy == ()


async def test_reading_and_rotating_leaves_no_descriptor(pump: LogPump, tmp_path: Path) -> None:
    bench = bench_of(pump, tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    await printed(bench, numbered(0, 500))
    async with aclosing(read(bench.log)) as chunks:
        await anext(chunks)
    await bench.text(tail=100)
    await _until(lambda: len(os.listdir("/proc/self/fd")) <= before)
