"""A state database that is not ours to touch is refused, and left as it is; an older one is taken."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon
from support.forms import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65534
TIMEOUT = within(30.0)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for state and run directories; its path is short, as sockets want it."""
    with tempfile.TemporaryDirectory(prefix="wd", dir="/var/tmp") as directory:
        (Path(directory) / "state").mkdir(mode=0o700)
        yield Path(directory)


def wherryd(place: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wherryd.main"]
    command += ["--state-dir", str(place / "state"), "--run-dir", str(place / "run")]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT)


def newer(path: Path) -> None:
    database = sqlite3.connect(path)
    database.executescript("CREATE TABLE containers (id TEXT); PRAGMA user_version = 99;")
    database.close()
    path.chmod(0o600)


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def of_another(path: Path) -> None:
    path.touch()
    os.chown(path, NOBODY, NOBODY)


def directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (newer, "has version 99, this wherryd knows up to 2 (run the newer wherryd"),
        (link, "Too many levels of symbolic links (move aside what is there"),
        (of_another, "is not a file of uid 0 (fix its owner"),
        (directory, "Is a directory (move aside what is there"),
    ],
    ids=["newer", "link", "of_another", "directory"],
)
def test_it_is_refused_and_not_touched(place: Path, make: Callable[[Path], None], reason: str) -> None:
    path = place / "state/state.db"
    make(path)
    before = path.lstat()
    data = path.read_bytes() if path.is_file() else b""
    done = wherryd(place)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert str(path) in done.stderr
    assert reason in done.stderr
    after = path.lstat()
    assert (after.st_mode, after.st_uid, after.st_mtime_ns) == (
        before.st_mode,
        before.st_uid,
        before.st_mtime_ns,
    )
    assert not data or path.read_bytes() == data
    assert not list((place / "state").glob("aside*")), "what is of a newer version is not damaged"


def test_a_database_of_version_1_is_brought_up_to_date() -> None:
    """As wherry 0.1.0 left it, stored as SQL: containers, volumes and events are there, sums are made."""
    daemon = Daemon()
    daemon.state_dir.mkdir(parents=True, mode=0o700)
    database = sqlite3.connect(daemon.state_dir / "state.db")
    database.executescript((Path(__file__).parent / "state-v1.sql").read_text(encoding="utf-8"))
    database.close()
    (daemon.state_dir / "volumes/data/_data").mkdir(parents=True)
    try:
        daemon.start()
        with daemon.client() as client:
            (done,) = client.list(all=True)
            assert (done.name, done.exit and done.exit.code, done.image) == ("done", 7, "host")
            assert client.inspect("done").spec.env == {"GREETING": "hello"}
            assert [volume.name for volume in client.volumes()] == ["data"]
            assert [event.seq for event in client.events(since=0, until=1)] == []
        assert "state database brought up to date" in daemon.log
        assert "rebuilt" not in daemon.log
        daemon.kill()
        daemon.start()
        with daemon.client() as client:
            assert [container.name for container in client.list(all=True)] == ["done"]
            client.remove("done")
            client.remove_volume("data")
    finally:
        daemon.close()
