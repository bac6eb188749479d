"""What stops the log from being written: reported, waited out, and nothing lost."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from logbench import Bench, write_all_and_close
from support.disk import tmpfs
from support.forms import within

from wherryd.logs.index import RECORD_SIZE
from wherryd.logs.log import Log
from wherryd.logs.pieces import data_path, index_path
from wherryd.logs.reader import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherryd.logs.pump import LogPump


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    with tmpfs(tmp_path / "small", "size=1m", lazy=True) as where:
        yield where


class Troubles:
    """Collects what a log reports."""

    def __init__(self, log: Log) -> None:
        self.seen: list[str | None] = []
        self._log = log
        self._event = trio.Event()
        log.on_trouble = self._take

    def _take(self, trouble: str | None) -> None:
        self.seen.append(trouble)
        self._event.set()

    async def next(self) -> str | None:
        await self._event.wait()
        self._event = trio.Event()
        return self.seen[-1]


async def test_a_full_disk_makes_the_container_wait_and_loses_nothing(bench: Bench, small_disk: Path) -> None:
    """Reported with what to do; less than a second after space returns, all 3 MiB arrive, each byte once."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(700_000))
    log = Log.open(small_disk)
    troubles = Troubles(log)
    expected = os.urandom(900_000)
    reading, writing = os.pipe()
    bench.pump.attach(log, {1: reading})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, write_all_and_close, writing, expected)
        with trio.fail_after(within(5)):
            trouble = await troubles.next()
        assert trouble is not None
        assert trouble.startswith(f"cannot write {small_disk}")
        assert "No space left on device" in trouble
        assert log.trouble == trouble
        assert not log.finished
        filler.unlink()
        with trio.fail_after(within(1)):
            assert await troubles.next() is None
        await log.wait_drained()
    assert Path(data_path(small_disk)).read_bytes() == expected
    assert log.trouble is None
    assert troubles.seen == [trouble, None]


async def test_a_neighbour_goes_on_while_one_disk_is_full(bench: Bench, small_disk: Path) -> None:
    stuck, _ = await _stuck(bench.pump, small_disk)
    writing = bench.pipe()
    os.write(writing, b"fine\n")
    os.close(writing)
    with trio.fail_after(within(1)):
        await bench.log.wait_drained()
    stuck.close()


async def test_a_full_disk_does_not_grow_the_index(bench: Bench, small_disk: Path) -> None:
    """Retries write over the record that covers nothing."""
    stuck, _ = await _stuck(bench.pump, small_disk)
    before = Path(index_path(small_disk)).stat().st_size
    await trio.sleep(1)  # four retries
    assert Path(index_path(small_disk)).stat().st_size <= before + RECORD_SIZE
    stuck.close()


async def test_giving_up_on_a_full_disk_still_keeps_what_the_pipe_holds(
    bench: Bench, small_disk: Path
) -> None:
    """A run that ended with its log in trouble is drained when space returns, though the pipe stays open."""
    stuck, writing = await _stuck(bench.pump, small_disk)
    stuck.detach_stragglers()
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    assert not stuck.finished
    (small_disk / "filler").unlink()
    with trio.fail_after(within(1)):
        await stuck.wait_drained()
    assert Path(data_path(small_disk)).read_bytes() == bytes(65536)
    os.close(writing)


async def _stuck(pump: LogPump, disk: Path) -> tuple[Log, int]:
    """Return a log in trouble, with 64 KiB that cannot be written, and its pipe's write end."""
    log = Log.open(disk)
    troubles = Troubles(log)
    _fill(disk / "filler")
    reading, writing = os.pipe()
    os.write(writing, bytes(65536))
    pump.attach(log, {1: reading})
    with trio.fail_after(within(5)):
        assert await troubles.next() is not None
    return log, writing


def _fill(path: Path) -> None:
    try:
        path.write_bytes(bytes(2 << 20))
    except OSError:
        return
    raise AssertionError("the disk is not full")


@pytest.mark.parametrize(
    "deed", ["remove", "rename", "truncate", "cut", "replace", "remove both", "remove index"]
)
async def test_logging_goes_on_after_somebody_meddled_with_the_files(bench: Bench, deed: str) -> None:
    """New bytes are in the file of the right name at once, a follower sees them once, and it is told."""
    notices: list[str] = []
    bench.log.on_notice = notices.append
    path, index = Path(data_path(bench.log.directory)), Path(index_path(bench.log.directory))
    writing = bench.pipe()
    os.write(writing, b"old line\n")
    await bench.grown(9)
    seen: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_follow, bench, seen)
        await _until(lambda: b"".join(seen) == b"old line\n")
        {
            "remove": path.unlink,
            "rename": lambda: path.rename(path.with_name("saved")),
            "truncate": lambda: os.truncate(path, 0),
            "cut": lambda: os.truncate(path, 4),
            "replace": lambda: (path.unlink(), path.touch()),
            "remove both": lambda: (path.unlink(), index.unlink()),
            "remove index": index.unlink,
        }[deed]()
        await trio.sleep(0.002)  # beyond the millisecond in which a record is shared
        os.write(writing, b"new line\n")
        with trio.fail_after(within(1)):
            await _until(lambda: b"".join(seen) == b"old line\nnew line\n")
        os.close(writing)
    kept = {"cut": b"old ", "remove index": b"old line\n"}.get(deed, b"")
    assert path.read_bytes() == kept + b"new line\n"
    assert await bench.text() == kept + b"new line\n"
    assert len(notices) == 1
    assert str(path) in notices[0]


async def _follow(bench: Bench, seen: list[bytes]) -> None:
    async with aclosing(read(bench.log, follow=True)) as chunks:
        async for chunk in chunks:
            seen.append(chunk.data)  # noqa: PERF401 - watched while it grows


async def _until(true: Callable[[], bool]) -> None:
    with trio.fail_after(within(2)):
        while not true():
            await trio.sleep(0.001)


async def test_a_link_put_in_the_logs_place_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    """It is trouble until it is gone; the bytes wait in the pipe."""
    troubles = Troubles(bench.log)
    path = Path(data_path(bench.log.directory))
    writing = bench.pipe()
    os.write(writing, b"one\n")
    await bench.grown(4)
    victim = tmp_path / "victim"
    victim.touch()
    path.unlink()
    path.symlink_to(victim)
    os.write(writing, b"two\n")
    with trio.fail_after(within(1)):
        assert str(path) in str(await troubles.next())
    path.unlink()
    with trio.fail_after(within(1)):
        assert await troubles.next() is None
    assert path.read_bytes() == b"two\n"
    assert victim.read_bytes() == b""
    os.close(writing)
