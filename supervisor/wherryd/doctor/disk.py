"""The state directory: its disk, whether it carries overlays, and the database in it."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wherryd.doctor.finding import ok, problem, warning
from wherryd.doctor.trial import trial
from wherryd.kernel.mounts import mountinfo, new_mount
from wherryd.store_file import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.doctor.finding import Finding
    from wherryd.settings import Settings

LOW, LITTLE = 64 << 20, 1 << 30
"""Free bytes: at the first logs and records soon have no room, at the second it is time to look."""

FEW_INODES = 10_000

_KILO = 1024

_TABLES_CHECKED = 20_000_000
"""Instructions of sqlite's for the look at a whole database; with more it counts as whole."""


def look(settings: Settings) -> Iterator[Finding]:
    """Both directories, room, overlay, database."""
    yield from _directory(settings.state_dir, "--state-dir")
    yield from _directory(settings.run_dir, "--run-dir")
    place = _existing(settings.state_dir)
    yield _room(settings.state_dir, place)
    yield _overlay(settings.state_dir, place)
    yield from _database(settings)


def _existing(path: Path) -> Path:
    """Return the directory, or the nearest above it that there is."""
    while not path.is_dir():
        path = path.parent
    return path


def _directory(path: Path, flag: str) -> Iterator[Finding]:
    place = _existing(path)
    status = place.stat()
    read_only = os.statvfs(place).f_flag & os.ST_RDONLY
    if read_only or not os.access(place, os.W_OK):
        yield problem(
            "directories", f"{place} is read-only for us", f"remount it, or choose another with {flag}"
        )
    elif place == path and status.st_uid != os.geteuid():
        yield problem(
            "directories",
            f"{path} belongs to uid {status.st_uid}, not to {os.geteuid()}",
            f"fix the owner, or choose another with {flag}",
        )
    elif place == path and stat.S_IMODE(status.st_mode) & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        yield warning("directories", f"{path} has mode {mode:o}: others may look in", f"chmod 700 {path}")


def _room(directory: Path, place: Path) -> Finding:
    found = os.statvfs(place)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    text = f"{_size(free)} of {_size(total)} free for {directory}"
    advice = "see 'wherry system df', 'wherry system prune'"
    if free < LOW:
        return problem("disk", f"{text}: containers wait when their logs have no room", advice)
    if found.f_files and found.f_favail < FEW_INODES:
        return warning("disk", f"{found.f_favail} of {found.f_files} inodes free for {directory}", advice)
    return warning("disk", text, advice) if free < LITTLE else ok("disk", text)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _KILO:
            return f"{count:.0f} {unit}"
        count /= _KILO
    return f"{count:.1f} TiB"


def _overlay(directory: Path, place: Path) -> Finding:
    fstype = _fstype(place)
    try:
        with tempfile.TemporaryDirectory(prefix=".wherry-doctor-", dir=place) as scratch:
            why = _tried(Path(scratch))
    except OSError as error:
        return problem(
            "overlayfs", f"{place} takes no directory: {error.strerror}", "choose another --state-dir"
        )
    if why is not None:
        return problem(
            "overlayfs",
            f"the file system of {directory} ({fstype}) carries none: {why}",
            "choose a --state-dir on ext4, xfs, btrfs or tmpfs",
        )
    return ok("overlayfs", f"{fstype} at {place} carries it")


def _tried(scratch: Path) -> str | None:
    for name in ("lower", "upper", "work"):
        (scratch / name).mkdir()
    (scratch / "lower/program").write_text("#!/bin/sh\n", encoding="ascii")
    return trial(0, lambda: _write_through(scratch))


def _write_through(scratch: Path) -> None:
    """Write through an overlay that is attached nowhere, and change a file of its lower directory."""
    options = tuple(f"{key}={scratch}/{name}" for key, name in _OVERLAY)
    root = new_mount("overlay", "overlay", options)
    try:
        fd = os.open("program", os.O_WRONLY | os.O_APPEND, dir_fd=root)
        os.write(fd, b"exit\n")
        os.fchmod(fd, 0o755)
        os.close(fd)
        os.mkdir("made", dir_fd=root)
        os.unlink("program", dir_fd=root)
    finally:
        os.close(root)


_OVERLAY = (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work"))


def _fstype(path: Path) -> str:
    device = os.stat(path).st_dev
    return next((each.fstype for each in reversed(mountinfo()) if each.device == device), "unknown")


def _database(settings: Settings) -> Iterator[Finding]:
    path = settings.database
    if not path.exists():
        yield ok("state", f"{path} does not exist yet")
    else:
        yield _whole(path)
    aside = (
        sorted(entry.name for entry in os.scandir(settings.aside_dir)) if settings.aside_dir.is_dir() else []
    )
    if aside:
        yield warning(
            "state",
            f"{settings.aside_dir} keeps {len(aside)} damaged or foreign states, the last of {aside[-1]}",
            "remove it when nothing of it is missed",
        )


def _whole(path: Path) -> Finding:
    advice = "start a supervisor: it keeps this one aside and rebuilds it from the record files"
    try:
        # Read-only: a supervisor may be writing it.
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=2.0)) as connection:
            connection.set_progress_handler(lambda: True, _TABLES_CHECKED)
            with suppress(sqlite3.OperationalError):  # too large to be looked at whole
                (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if said != "ok":
                    return problem("state", f"{path} is damaged: {said}", advice)
            connection.set_progress_handler(None, 0)
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM containers").fetchone()
    except sqlite3.DatabaseError as error:
        return problem("state", f"{path}: {error}", advice)
    if version > SCHEMA_VERSION:
        return problem(
            "state",
            f"{path} has schema {version}, this release knows {SCHEMA_VERSION}",
            "install the release that wrote it, or a newer one",
        )
    return ok("state", f"{path} is whole: schema {version}, {count} container{'' if count == 1 else 's'}")
