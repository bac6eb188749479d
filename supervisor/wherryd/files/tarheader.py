"""Header blocks of tar archives as bytes: POSIX ustar, with pax records for what does not fit. No IO.

The counterpart of wherryd.images.header and pax, which read them.
"""

from __future__ import annotations

from zlib import adler32

BLOCK = 512
FILE, HARDLINK, SYMLINK, DIRECTORY, FIFO = b"0", b"1", b"2", b"5", b"6"

_PAX = b"x"
_PADDING = bytes(BLOCK)
_NAME = 100
_PREFIX = 155
_MAX_ID = 0o7777777
_MAX_NUMBER = 0o77777777777  # of sizes and times
_NANO = 1_000_000_000

# name, mode, uid, gid, size, mtime, checksum as spaces, type, link, magic and version, names, device, prefix
_FORM = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b" + b"ustar\x0000" + bytes(80) + b"%b" + bytes(12)


def padding(size: int) -> bytes:
    """Return the zeros that fill `size` bytes up to whole blocks."""
    return _PADDING[: -size % BLOCK]


def header(
    kind: bytes,
    name: bytes,
    *,
    mode: int,
    uid: int,
    gid: int,
    mtime_ns: int,
    size: int = 0,
    link: bytes = b"",
    records: tuple[tuple[bytes, bytes], ...] = (),
) -> bytes:
    """Return the block (or blocks) that come before an entry's data. `records` are pax records of its own."""
    seconds, nanoseconds = divmod(mtime_ns, _NANO)
    prefix = b""
    if nanoseconds or len(name) > _NAME or len(link) > _NAME or records or not 0 <= seconds <= _MAX_NUMBER:
        prefix, short = _split(name)
        records += _records(short, link, seconds, nanoseconds, name)
        name, link = short[-_NAME:], link[:_NAME]
        seconds = min(max(seconds, 0), _MAX_NUMBER)
    if uid > _MAX_ID or gid > _MAX_ID or size > _MAX_NUMBER:
        records += _numbers(uid, gid, size)
        uid, gid, size = min(uid, _MAX_ID), min(gid, _MAX_ID), min(size, _MAX_NUMBER)
    block = _block(kind, name, mode, uid, gid, size, seconds, link, prefix)
    return _extension(records) + block if records else block


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Return (prefix, name) as ustar splits a long name at a slash; an empty prefix if it cannot."""
    if len(name) <= _NAME:
        return b"", name
    at = name.find(b"/", len(name) - _NAME - 1, len(name) - 1)
    return (name[:at], name[at + 1 :]) if 0 < at <= _PREFIX else (b"", name)


def _records(
    short: bytes, link: bytes, seconds: int, nanoseconds: int, name: bytes
) -> tuple[tuple[bytes, bytes], ...]:
    found: list[tuple[bytes, bytes]] = []
    if len(short) > _NAME:
        found.append((b"path", name))
    if len(link) > _NAME:
        found.append((b"linkpath", link))
    if nanoseconds or not 0 <= seconds <= _MAX_NUMBER:
        found.append((b"mtime", _time(seconds, nanoseconds)))
    return tuple(found)


def _time(seconds: int, nanoseconds: int) -> bytes:
    if seconds >= 0 or not nanoseconds:
        return b"%d.%09d" % (seconds, nanoseconds)
    # a decimal number: -1.75 is two seconds before 1970 and a quarter after that
    return b"-%d.%09d" % (-seconds - 1, _NANO - nanoseconds)


def _numbers(uid: int, gid: int, size: int) -> tuple[tuple[bytes, bytes], ...]:
    pairs = ((b"uid", uid, _MAX_ID), (b"gid", gid, _MAX_ID), (b"size", size, _MAX_NUMBER))
    return tuple((key, b"%d" % value) for key, value, most in pairs if value > most)


def _extension(records: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return an extended header: its own block, and the records "length key=value"."""
    data = b"".join(_record(key, value) for key, value in records)
    block = _block(_PAX, b"PaxHeaders/entry", 0o644, 0, 0, len(data), 0, b"", b"")
    return b"%b%b%b" % (block, data, padding(len(data)))


def _record(key: bytes, value: bytes) -> bytes:
    rest = len(key) + len(value) + 3  # the space, the equals sign and the newline
    length = rest + len(str(rest))
    length = rest + len(str(length))  # its own digits may need one more
    return b"%d %b=%b\n" % (length, key, value)


def _block(
    kind: bytes, name: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, link: bytes, prefix: bytes
) -> bytes:
    block = _FORM % (
        name.ljust(_NAME, b"\0"), mode, uid, gid, size, mtime, kind, link.ljust(_NAME, b"\0"),
        prefix.ljust(_PREFIX, b"\0"),
    )  # fmt: skip
    # Adler-32's low half is the sum of the bytes plus one, modulo 65521: exact below that, as 7-bit text is.
    total = (adler32(block) & 0xFFFF) - 1 if block.isascii() else sum(block)
    return b"%b%06o\0 %b" % (block[:148], total, block[156:])
