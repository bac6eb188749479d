"""The process that packs full pieces of logs: at idle priority, so that it takes time from nobody.

A packed file appears whole, or not at all: it is written aside, put on disk, and only then gets its name;
only then the raw one goes. Whoever is killed in between leaves the raw file, or both. A piece that is removed
meanwhile (rotation.py) stays so: whoever finds the raw file gone takes the packed one away, too. One process
at a time packs in a directory: it holds its lock.

Must never import trio.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from typing import Any

from wherryd.answering import answer, end_with_asker
from wherryd.logs.packed import MEMBER, member

SMALLEST = 16384
"""Bytes of a piece that is worth it: a smaller one takes few blocks on a disk, packed or not."""

PART = "log.part"

_RAW = re.compile(r"log\.\d{15}", re.ASCII)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def main(_argument: str) -> None:
    """Answer the question on standard input: {"directories": [path, …]}."""
    answer("wherryd: log packer", _work)


def _work(question: dict[str, Any]) -> dict[str, Any]:
    end_with_asker()
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    failed: dict[str, str] = {}
    packed = 0
    for directory in question["directories"]:
        try:
            packed += pack_all(directory)
        except OSError as error:
            failed[directory] = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return {"packed": packed, "not_packed": failed}


def wanted(directory: str) -> bool:
    """Say whether there is something to do in a directory."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return False
    return any(name == PART or _RAW.fullmatch(name) for name in names)


def pack_all(directory: str) -> int:
    """Pack the full pieces of a log, newest first; return how many. Raises OSError."""
    try:
        folder = os.open(directory, _FOLDER)
    except FileNotFoundError:
        return 0  # its container was removed
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        with suppress(FileNotFoundError):
            os.unlink(PART, dir_fd=folder)  # of one that was killed
        names = sorted(filter(_RAW.fullmatch, os.listdir(folder)), reverse=True)
        return sum([_pack(folder, name) for name in names])
    finally:
        os.close(folder)


def _pack(folder: int, name: str) -> bool:
    try:
        raw = os.open(name, _READ, dir_fd=folder)
    except FileNotFoundError:
        return False
    try:
        found = os.fstat(raw)
        # A second name is that of a piece that is being put aside.
        if found.st_size < SMALLEST or found.st_nlink > 1:
            return False
        _write_part(folder, raw)
    finally:
        os.close(raw)
    os.rename(PART, f"{name}.gz", src_dir_fd=folder, dst_dir_fd=folder)
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileNotFoundError):
            os.unlink(f"{name}.gz", dir_fd=folder)
        return False
    return True


def _write_part(folder: int, raw: int) -> None:
    part = os.open(PART, _WRITE, 0o600, dir_fd=folder)
    try:
        while data := _read_member(raw):
            view = memoryview(member(data))
            while view:
                view = view[os.write(part, view) :]
        os.fsync(part)
    except BaseException:
        os.unlink(PART, dir_fd=folder)
        raise
    finally:
        os.close(part)


def _read_member(raw: int) -> bytes:
    data = b""
    while len(data) < MEMBER and (more := os.read(raw, MEMBER - len(data))):
        data += more
    return data
