"""A tree of files as a value, to compare two of them; and one that has everything a tree can have."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""security.capability: cap_net_bind_service+ep, as setcap(8) writes it."""


def described(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return, by path: mode, owner, time, content or target, attributes, and all names of the same file."""
    found: dict[str, tuple[Any, ...]] = {}
    names: dict[int, list[str]] = {}
    for path in [root, *root.rglob("*")]:
        name = str(path.relative_to(root))
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            names.setdefault(info.st_ino, []).append(name)
        attributes = {
            key: os.getxattr(path, key, follow_symlinks=False)
            for key in os.listxattr(path, follow_symlinks=False)
            if not key.startswith("trusted.")
        }
        found[name] = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, _content(path), attributes)
    same = {name: tuple(sorted(group)) for group in names.values() for name in group}
    return {name: (*value, same.get(name)) for name, value in found.items()}


def _content(path: Path) -> bytes | str | None:
    if path.is_symlink():
        return os.readlink(path)
    return path.read_bytes() if path.is_file() else None


def make_everything(root: Path) -> None:
    """Fill a folder with what an archive must not lose."""
    (root / "plain").write_text("some text\n")
    (root / "empty").touch()
    (root / "setuid").write_bytes(b"#!/bin/false\n")
    os.chown(root / "setuid", 0, 3)
    (root / "setuid").chmod(0o6755)
    (root / "owned").write_text("theirs")
    os.chown(root / "owned", 1234567, 3_000_000)
    (root / "linked").write_text("two names")
    os.link(root / "linked", root / "linked-too")
    (root / "symlink").symlink_to("/etc/passwd")
    (root / "dangling").symlink_to("../no/where")
    os.link(root / "symlink", root / "symlink-too", follow_symlinks=False)
    os.mkfifo(root / "fifo", 0o640)
    (root / "ping").write_bytes(b"\x7fELF")
    os.setxattr(root / "ping", "security.capability", CAPABILITY)
    os.setxattr(root / "plain", "user.note", b"a=b\nc\0d")
    os.setxattr(root / "plain", "user.odd=na%me", b"")
    _make_sparse(root / "sparse")
    _make_names(root)
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o1777)
    (root / "closed").mkdir(mode=0o500)
    (root / "closed/secret").write_text("only root")
    (root / "closed/secret").chmod(0)
    for path, when in (("plain", 1_600_000_000_123_456_789), ("empty", -1_500_000_000), ("closed", 7)):
        os.utime(root / path, ns=(when, when))


def _make_sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.seek(8 << 20)
        file.write(b"in the middle")
        file.truncate(16 << 20)
    with path.with_name("hole").open("wb") as file:
        file.truncate(1 << 20)


def _make_names(root: Path) -> None:
    deep = root
    for number in range(12):
        deep /= f"a-rather-long-name-of-a-folder-{number}"
        deep.mkdir()
    (deep / ("n" * 200)).write_text("far down")
    (deep / "link").symlink_to("/".join(["x" * 60] * 5))
    for name in (b"caf\xc3\xa9", b"latin-\xe9", b"new\nline", b" spaces  ", b"-dash", b"a:b"):
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(name)
