"""Archives that were cut or changed on the way: wherever it happened, no image comes of it."""

# the same bytes at every run are what is wanted

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard
from tarkit import folder, member, symlink, tar_bytes

from wherry_protocol.errors import ImageError
from wherryd.images import decompress
from wherryd.images.broken import BrokenArchive
from wherryd.images.feed import Feed
from wherryd.images.tar import TarReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherryd.images.store import ImageStore

SMALL = tar_bytes(
    folder("etc"), member("etc/motd", b"hello\n" * 50), symlink("sh", "busybox"),
    member("n" * 150, b"x" * 600),
    kind=tarfile.GNU_FORMAT,
)  # fmt: skip
CODECS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def read_all(path: Path, compression: str | None) -> int:
    """Read an archive to its end as the worker does, making no files; return the number of entries."""
    fd = os.open(path, os.O_RDONLY)
    try:
        feed = Feed(fd, compression, lambda _: None)
        feed.start()
        count = 0
        for entry in TarReader(feed):
            feed.skip(entry.stored)
            count += 1
        feed.drain()
    finally:
        os.close(fd)
    return count


@pytest.mark.parametrize("name", CODECS)
def test_every_cut_of_a_compressed_archive_is_an_error(tmp_path: Path, name: str) -> None:
    """There is no point at which half an archive looks whole."""
    data = CODECS[name](SMALL)
    path = tmp_path / "a"
    path.write_bytes(data)
    assert read_all(path, decompress.detect(data)) == 4
    for cut in range(len(data)):
        path.write_bytes(data[:cut])
        with pytest.raises(BrokenArchive):
            read_all(path, decompress.detect(data[:cut]))


def test_cut_of_a_plain_archive_is_an_error_but_at_an_entrys_end(tmp_path: Path) -> None:
    """A plain tar without its end mark is a tar; a tar without the end of an entry is none."""
    path = tmp_path / "a"
    boundaries = {512, 1536, 2048, 4608}
    for cut in range(0, 4608 + 1, 8):
        path.write_bytes(SMALL[:cut])
        if cut in boundaries:
            assert read_all(path, None) > 0
        else:
            with pytest.raises(BrokenArchive):
                read_all(path, None)


async def test_cuts_leave_nothing_behind(
    store: ImageStore, archive: Callable[..., str], nothing_left: Callable[[], None]
) -> None:
    """The same through the store and its worker, at cuts all over a real archive."""
    data = gzip.compress(tar_bytes(*(member(f"f{i}", random.Random(i).randbytes(3000)) for i in range(100))))
    for cut in range(1, len(data), len(data) // 12):
        with pytest.raises(ImageError, match=r"truncated|no tar archive"):
            await store.resolve(archive(data[:cut]), None)
    nothing_left()
    assert store.list() == ()


@pytest.mark.parametrize("name", CODECS)
async def test_flipped_bit_never_gives_another_layer(
    store: ImageStore, archive: Callable[..., str], nothing_left: Callable[[], None], name: str
) -> None:
    """A bit flipped in the stored data is found by the format's own check."""
    data = bytearray(CODECS[name](tar_bytes(member("f", random.Random(1).randbytes(4000)))))
    data[len(data) // 2] ^= 4
    with pytest.raises(ImageError, match="damaged"):
        await store.resolve(archive(bytes(data)), None)
    nothing_left()
