"""The header parser against Python's tarfile: where both accept an archive they read the same."""

from __future__ import annotations

import io
import tarfile
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tarkit import raw_header

from wherryd.images import entries, header, tar
from wherryd.images.broken import BrokenArchive
from wherryd.images.feed import Feed
from wherryd.images.tar import TarReader

if TYPE_CHECKING:
    from wherryd.images.entries import Entry

_PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=60).filter(
    lambda part: part not in (".", "..") and not part.startswith(".wh.") and part.encode()[-1:] != b"\0"
)
_NAME = st.lists(_PART, min_size=1, max_size=8).map("/".join)
_TYPES = {
    tarfile.REGTYPE: entries.FILE,
    tarfile.DIRTYPE: entries.DIRECTORY,
    tarfile.SYMTYPE: entries.SYMLINK,
    tarfile.LNKTYPE: entries.HARDLINK,
    tarfile.FIFOTYPE: entries.FIFO,
}
_MEMBER = st.fixed_dictionaries(
    {
        "name": _NAME,
        "type": st.sampled_from(sorted(_TYPES)),
        "linkname": _NAME,
        "mode": st.integers(0, 0o7777),
        "uid": st.integers(0, 0xFFFFFFFE),
        "gid": st.integers(0, 0xFFFFFFFE),
        "mtime": st.integers(-(1 << 33), 1 << 35)
        | st.floats(0, 1 << 33, allow_nan=False).map(lambda t: round(t, 6)),
        "data": st.binary(max_size=1500),
    }
)


def read(data: bytes) -> list[tuple[Entry, bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        file.seek(0)
        feed = Feed(file.fileno(), None, lambda _: None)
        feed.start()
        try:
            return [(entry, feed.take(entry.stored)) for entry in TarReader(feed)]
        finally:
            feed.drain()  # the other thread is done with the file


_PLAIN: dict[str, Any] = {
    "name": "f", "type": tarfile.REGTYPE, "linkname": "", "mode": 0o644, "uid": 0, "gid": 0, "data": b"",
}  # fmt: skip


@given(st.lists(_MEMBER, min_size=1, max_size=4), st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]))
@example(members=[{**_PLAIN, "mtime": 1e-05}], kind=tarfile.PAX_FORMAT)
@example(members=[{**_PLAIN, "mtime": -1.5e-07}], kind=tarfile.PAX_FORMAT)
@settings(max_examples=60, deadline=None)
def test_entries_are_what_tarfile_wrote(members: list[dict[str, Any]], kind: int) -> None:
    """Names, links, numbers, times and data come back, in both formats, whatever their size."""
    out = io.BytesIO()
    written: list[tuple[tarfile.TarInfo, bytes]] = []
    with tarfile.open(fileobj=out, mode="w", format=kind) as writer:
        for fields in members:
            info = tarfile.TarInfo(fields["name"])
            data = fields["data"] if fields["type"] == tarfile.REGTYPE else b""
            for key in ("type", "linkname", "mode", "uid", "gid", "mtime"):
                setattr(info, key, fields[key])
            if info.type not in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = ""
            if kind == tarfile.GNU_FORMAT:
                info.mtime = int(info.mtime)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
            written.append((info, data))
    got = read(out.getvalue())
    assert len(got) == len(written)
    for (entry, data), (info, expected) in zip(got, written, strict=True):
        assert data == expected
        assert entry.kind == _TYPES[info.type]
        assert entry.path == info.name.encode()
        assert entry.link == info.linkname.encode()
        assert (entry.mode, entry.uid, entry.gid) == (info.mode, info.uid, info.gid)
        assert abs(entry.mtime_ns - info.mtime * 1e9) < 2048  # a float's own precision


@given(st.binary(min_size=512, max_size=512) | st.builds(
    raw_header,
    name=st.binary(min_size=1, max_size=100), size=st.binary(min_size=12, max_size=12),
    mode=st.binary(min_size=8, max_size=8), mtime=st.binary(min_size=12, max_size=12),
))  # fmt: skip
@settings(max_examples=500, deadline=None)
def test_what_we_accept_tarfile_reads_the_same(block: bytes) -> None:
    """A header that we take for valid is one, with the same name, size and time; random bytes never crash."""
    try:
        ours = header.parse(block)
    except BrokenArchive:
        return
    theirs = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    assert (ours.size, ours.mtime, ours.mode) == (theirs.size, theirs.mtime, theirs.mode)


@given(st.integers(0, 511), st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_of_a_header_is_found(at: int, bit: int) -> None:
    """The checksum covers every byte but its own, and that one is compared."""
    block = bytearray(raw_header(name=b"some/name"))
    block[at] ^= 1 << bit
    try:
        parsed = header.parse(bytes(block))
    except BrokenArchive:
        return
    # a digit turned into a space may leave the checksum's own number as it was
    assert 148 <= at < 156
    assert parsed == header.parse(raw_header(name=b"some/name"))


def test_checksum_of_signed_bytes_is_accepted() -> None:
    """Some old programs added the bytes as signed ones."""
    block = bytearray(raw_header(name="é".encode()))
    unsigned = int(block[148:154], 8)
    block[148:156] = b"%06o\0 " % (unsigned - 512)
    assert header.parse(bytes(block)).name == "é".encode()


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_clean_path_stays_inside(raw: bytes) -> None:
    """Whatever comes in, what comes out is relative and has no part that could lead anywhere else."""
    try:
        path = entries.clean_path(raw)
    except BrokenArchive:
        return
    assert not path or not {b"", b".", b".."} & set(path.split(b"/"))


def test_number_of_entries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive cannot ask for more files than a disk is made for."""
    monkeypatch.setattr(tar, "MAX_ENTRIES", 10)
    assert len(read(raw_header() * 10)) == 10
    with pytest.raises(BrokenArchive, match="more than 10 entries"):
        read(raw_header() * 11)


def test_headers_without_an_entry_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for endless extension headers."""
    monkeypatch.setattr(tar, "_MAX_HEADERS", 10)
    with pytest.raises(BrokenArchive, match="more than 10 headers"):
        read(raw_header(type=b"V") * 11)
