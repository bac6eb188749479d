"""Archives and trees for the image tests: made by Python's tarfile, by GNU tar, or block by block."""

from __future__ import annotations

import io
import os
import random
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import trio
from support.forms import within

if TYPE_CHECKING:
    from pathlib import Path


def member(name: str, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def folder(name: str, **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **fields})


def symlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hardlink(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def random_tar(seed: int, size: int = 3000) -> bytes:
    return tar_bytes(member("f", random.Random(seed).randbytes(size)))


def raw_header(**fields: Any) -> bytes:
    """One header block with any bytes in its fields, and a right checksum."""
    values = {
        "name": b"x", "mode": b"0000644\0", "uid": b"0000000\0", "gid": b"0000000\0",
        "size": b"00000000000\0", "mtime": b"00000000000\0", "type": b"0", "link": b"",
        "magic": b"ustar\x0000", **fields,
    }  # fmt: skip
    block = bytearray(512)
    places = (("name", 0), ("mode", 100), ("uid", 108), ("gid", 116), ("size", 124), ("mtime", 136),
              ("type", 156), ("link", 157), ("magic", 257), ("prefix", 345))  # fmt: skip
    for key, at in places:
        value = values.get(key, b"")
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def gnu_tar(source: Path, archive: Path, *options: str) -> Path:
    subprocess.run(["tar", "-cf", archive, "-C", source, *options, "."], check=True)
    return archive


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything an archive may carry, by path: mode, owner, mtime, content, xattrs, and all its names."""
    found: dict[str, tuple[Any, ...]] = {}
    inodes: dict[int, list[str]] = {}
    for path in [root, *root.rglob("*")]:
        name = os.fsdecode(os.fsencode(path.relative_to(root)))
        info = path.lstat()
        inodes.setdefault(info.st_ino, []).append(name)
        content: Any = (
            os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        )
        xattrs = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
        }
        found[name] = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, content, xattrs)
    return {
        name: (*value, sorted(names))
        for names in inodes.values()
        for name in names
        for value in (found[name],)
    }


async def first_progress(progress: list[Any]) -> None:
    """Wait until the worker has read something."""
    with trio.fail_after(within(20)):
        while not progress:
            await trio.sleep(0.005)
