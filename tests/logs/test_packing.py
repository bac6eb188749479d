"""Packed pieces: read as any other, appear whole or not at all, and cost the writer nothing."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from logbench import Bench, write_all_and_close
from support.forms import rounds

from wherry_protocol.errors import KernelFailure
from wherryd.logs.limits import LogLimits
from wherryd.logs.log import Log
from wherryd.logs.packed import MEMBER, Packed, member
from wherryd.logs.packing import PART, pack_all, wanted
from wherryd.logs.pieces import kept_data, kept_places
from wherryd.logs.pump import LogPump
from wherryd.logs.reader import read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SIZE = 64 << 10
LINE = b"line %06d of a log that is written for a test\n"


@pytest.fixture
async def logged(tmp_path: Path) -> AsyncIterator[tuple[Bench, bytes]]:
    """A log of four pieces, three of them full, and what is in it."""
    pump = LogPump()
    pump.start()
    bench = Bench(pump, Log.open(tmp_path, LogLimits(max_size=SIZE, max_file=100)))
    data = b"".join(LINE % number for number in range(7 * SIZE // 2 // len(LINE % 0)))
    await trio.to_thread.run_sync(write_all_and_close, bench.pipe(), data)
    await bench.log.wait_drained()
    try:
        yield bench, data
    finally:
        pump.close()


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir() if "index" not in each.name)


async def test_every_way_of_reading_is_the_same(logged: tuple[Bench, bytes], tmp_path: Path) -> None:
    """Whole, from a place, the last lines, since a time; and what zcat makes of the files."""
    bench, data = logged
    ways = [{"after": SIZE + 5}, {"tail": 3000}, {"tail": 7}, {"since": time.time_ns() - 10**10}, {}]
    ways += [{"streams": (2,), "tail": 5}, {"after": 1, "tail": 4000}, {"until": time.time_ns()}]
    before = [await bench.text(**way) for way in ways]
    chunks = await bench.chunks()
    assert pack_all(str(tmp_path)) == 3
    assert names(tmp_path) == ["log", *(f"log.{place:015d}.gz" for place in (0, SIZE, 2 * SIZE))]
    for log in (bench.log, Log.open(tmp_path, bench.log.limits)):
        assert [await Bench(bench.pump, log).text(**way) for way in ways] == before
    assert {(c.stream, c.time) for c in await bench.chunks()} == {(c.stream, c.time) for c in chunks}
    assert before[-1] == data
    packed = [Path(kept_data(tmp_path, place) + ".gz") for place in kept_places(tmp_path)]
    assert b"".join(gzip.decompress(path.read_bytes()) for path in packed) == data[: 3 * SIZE]
    assert sum(path.stat().st_size for path in packed) < SIZE, "it is not worth it"
    assert subprocess.run(["zcat", *packed], stdout=subprocess.PIPE, check=True).stdout == data[: 3 * SIZE]


async def test_who_reads_a_piece_that_is_packed_meanwhile_reads_on(
    logged: tuple[Bench, bytes], tmp_path: Path
) -> None:
    bench, data = logged
    async with aclosing(read(bench.log)) as chunks:
        got = [(await anext(chunks)).data]
        pack_all(str(tmp_path))
        got += [chunk.data async for chunk in chunks]
    assert b"".join(got) == data


def test_any_part_is_read_without_the_rest(tmp_path: Path) -> None:
    data = random.Random(5).randbytes(2 * MEMBER) + bytes(MEMBER // 2)
    path = tmp_path / "packed"
    path.write_bytes(b"".join(member(data[at : at + MEMBER]) for at in range(0, len(data), MEMBER)))
    fd = os.open(path, os.O_RDONLY)
    packed = Packed(fd)
    assert packed.size == len(data)
    for at in (0, 1, MEMBER - 1, MEMBER, 2 * MEMBER + 7, len(data) - 1):
        assert packed.read(1, at) == data[at : at + 1]
    assert packed.read(10, len(data)) == b""
    os.close(fd)


@pytest.mark.parametrize("harm", ["cut", "flipped", "replaced"])
async def test_a_damaged_file_is_an_error_with_its_name(
    logged: tuple[Bench, bytes], tmp_path: Path, harm: str
) -> None:
    bench, _ = logged
    pack_all(str(tmp_path))
    path = Path(kept_data(tmp_path, SIZE) + ".gz")
    content = bytearray(path.read_bytes())
    if harm == "flipped":
        content[len(content) // 2] ^= 0xFF
    path.write_bytes(b"hello" if harm == "replaced" else content[:-9] if harm == "cut" else content)
    with pytest.raises(KernelFailure, match=r"log\.0+65536\.gz: the packed log is damaged at byte 0"):
        await bench.text()


async def test_a_killed_packer_leaves_each_piece_raw_or_packed_and_whole(
    logged: tuple[Bench, bytes], tmp_path: Path
) -> None:
    """Killed at random moments; the next one finishes."""
    bench, data = logged
    chance = random.Random(7)
    code = f"import sys; sys.path[:0] = {sys.path!r}; from wherryd.logs.packing import pack_all"
    code += f"; print(flush=True)\nwhile True: pack_all({str(tmp_path)!r})"
    raw = {place: Path(kept_data(tmp_path, place)).read_bytes() for place in kept_places(tmp_path)}
    half = 0
    for _ in range(rounds(short=8, long=200)):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0, 0.01))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        half += (tmp_path / PART).exists()
        for place, content in raw.items():
            path = Path(kept_data(tmp_path, place))
            there = path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())
            assert there == content
            path.write_bytes(content)
            Path(f"{path}.gz").unlink(missing_ok=True)
        assert await bench.text() == data
    assert pack_all(str(tmp_path)) == 3
    assert not (tmp_path / PART).exists()
    assert not wanted(str(tmp_path))
    assert await bench.text() == data


async def test_a_piece_that_goes_while_it_is_packed_stays_gone(
    logged: tuple[Bench, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Path(kept_data(tmp_path, SIZE))
    rename = os.rename

    def renamed(source: str, target: str, **how: int) -> None:
        rename(source, target, **how)
        if target == f"{gone.name}.gz":
            gone.unlink()

    monkeypatch.setattr("wherryd.logs.packing.os.rename", renamed)
    assert pack_all(str(tmp_path)) == 2
    assert not [name for name in names(tmp_path) if name.startswith(gone.name)]
