"""The worker by itself: headers that other programs read, and roots of very many layers."""

from __future__ import annotations

import io
import os
import tarfile
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
import trio

from wherryd.files import tarheader
from wherryd.files.job import Pack, View, encode
from wherryd.files.records import Done, decode
from wherryd.images.records import Failed
from wherryd.workers import records, worker

if TYPE_CHECKING:
    from pathlib import Path


def member(block: bytes) -> tarfile.TarInfo:
    with tarfile.open(fileobj=io.BytesIO(block + bytes(1024))) as tar:
        found = tar.next()
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name",
    [
        b"a",
        b"n" * 100,
        b"d" * 60 + b"/" + b"n" * 80,
        b"n" * 300,
        b"d" * 160 + b"/n",
        b"caf\xc3\xa9",
        b"\xff\xfe",
    ],
)
def test_a_name_is_read_as_it_was_written(name: bytes) -> None:
    """Whatever its length and bytes; ustar's prefix is used where it can be."""
    block = tarheader.header(tarheader.FILE, name, mode=0o644, uid=0, gid=0, mtime_ns=0)
    assert os.fsencode(member(block).name) == name


@pytest.mark.parametrize(
    "time", [0, 1, 1_600_000_000_123_456_789, -1, -1_250_000_000, -3_000_000_000, 1 << 66]
)
def test_a_time_is_kept_to_the_nanosecond(time: int) -> None:
    block = tarheader.header(tarheader.FILE, b"f", mode=0o644, uid=0, gid=0, mtime_ns=time)
    if time % 1_000_000_000 or not 0 <= time < 8**11 * 1_000_000_000:
        text = member(block).pax_headers["mtime"]
        whole, _, fraction = text.lstrip("-").partition(".")
        sign = -1 if text.startswith("-") else 1
        assert sign * int(whole + fraction.ljust(9, "0")) == time
    else:
        assert member(block).mtime == time // 1_000_000_000


def test_large_numbers_and_special_modes() -> None:
    block = tarheader.header(
        tarheader.FILE, b"f", mode=0o7777, uid=4_294_967_294, gid=3_000_000, mtime_ns=0, size=9 << 30
    )
    found = member(block)
    assert (found.mode, found.uid, found.gid, found.size) == (0o7777, 4_294_967_294, 3_000_000, 9 << 30)


@pytest.mark.parametrize("count", [1, 2, 130, 500])
async def test_a_root_of_many_layers(tmp_path: Path, count: int) -> None:
    """Up to what overlayfs takes; of a file in two layers the upper one's is packed."""
    layers = [tmp_path / f"layer{number}" for number in range(count)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"file{number}").write_text("own")
        (layer / "shared").write_text(str(number))
    (tmp_path / "mountpoint").mkdir()
    view = View(
        layers=tuple(map(str, layers)), upper=None, work=None, mountpoint=str(tmp_path / "mountpoint")
    )
    with (tmp_path / "out.tar").open("wb") as out, trio.fail_after(30):
        text = encode(view, Pack(None), out.fileno())
        async with (
            worker("wherryd.files.worker", text, data=None, fds=(out.fileno(),)) as process,
            aclosing(records(process, decode, "files")) as told,
        ):
            async for record in told:
                assert not isinstance(record, Failed), record
                if isinstance(record, Done):
                    break
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert len(tar.getnames()) == count + 2
        shared = tar.extractfile("shared")
        assert shared is not None
        assert shared.read() == b"0"
