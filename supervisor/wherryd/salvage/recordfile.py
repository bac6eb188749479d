"""The form of a record file: a line with the checksum of what follows, then JSON.

    wherry-record 1 5f3a9c01 1834
    {"id": "3f2a…", "name": "web", …}

Written whole under another name and renamed, without fsync: after a power cut it may be empty or old, and a
checksum tells the first. Must never know what is in it.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from typing import Any

MAGIC, VERSION = b"wherry-record", 1

_HEAD_FIELDS = 4


class BadRecord(Exception):  # noqa: N818 - as trio names its own: what it is
    """A record file is damaged, or of a version that we do not know. One line, for a person."""


def encode(body: dict[str, Any]) -> bytes:
    """Return the bytes of a record file."""
    text = json.dumps(body).encode("ascii")
    return b"%s %d %08x %d\n%s\n" % (MAGIC, VERSION, zlib.crc32(text), len(text), text)


def decode(data: bytes) -> dict[str, Any]:
    """Return what `encode` was given. Raises BadRecord."""
    head, _, rest = data.partition(b"\n")
    fields = head.split(b" ")
    if len(fields) != _HEAD_FIELDS or fields[0] != MAGIC:
        raise BadRecord("it is no record" if data else "it is empty")
    if fields[1] != b"%d" % VERSION:
        raise BadRecord(f"its version is {fields[1].decode(errors='replace')[:20]}, not {VERSION}")
    text = rest.removesuffix(b"\n")
    if fields[2:] != [b"%08x" % zlib.crc32(text), b"%d" % len(text)]:
        raise BadRecord("its checksum is wrong")
    body: dict[str, Any] = json.loads(text)
    return body


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the body of a record file. Raises BadRecord, OSError."""
    with open(path, "rb", opener=_no_link) as file:
        return decode(file.read())


def write(path: str, data: bytes) -> None:
    """Put a record file in place of an older one, or nothing. Raises OSError."""
    fresh = f"{path}.new"
    try:
        with open(fresh, "wb", opener=_no_link) as file:
            file.write(data)
        os.rename(fresh, path)
    except OSError:
        with suppress(OSError):  # what it says is worth less than why it was not written
            os.unlink(fresh)
        raise


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
