"""Fixtures of the image tests."""

from __future__ import annotations

import gzip
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tarkit import member, tar_bytes

from wherryd.images import archives, extraction, loading
from wherryd.images.store import ImageStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir()
    return path


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


@pytest.fixture
def store(state: Path, database: sqlite3.Connection) -> ImageStore:
    store = ImageStore(state / "images", database)
    store.recover()
    return store


@pytest.fixture
def nothing_left(state: Path) -> Callable[[], None]:
    """Assert that no layer and no temporary file is there, and no worker."""

    def check() -> None:
        for name in ("tmp", "layers", "manifests"):
            assert list((state / "images" / name).iterdir()) == []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = process.read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            assert str(state).encode() not in command or b"wherryd.images" not in command

    return check


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[bytes], str]:
    """Write bytes to a new file and return its path."""
    count = 0

    def write(data: bytes, name: str = "") -> str:
        nonlocal count
        count += 1
        path = tmp_path / (name or f"image{count}")
        path.write_bytes(data)
        return str(path)

    return write


@pytest.fixture
def extractions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders that workers were started for."""
    started: list[Path] = []

    async def counted(fd: int, folder: Path, on_read: Callable[[int], None], *, plain: bool) -> object:
        started.append(folder)
        return await extraction.extract(fd, folder, on_read, plain=plain)

    monkeypatch.setattr(archives, "extract", counted)
    return started


@pytest.fixture
def layer_extractions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders of the layers that workers were started for."""
    started: list[Path] = []

    async def counted(
        jobs: Sequence[extraction.LayerJob], on_read: Callable[[int], None]
    ) -> list[extraction.Unpacked]:
        started.extend(job.folder for job in jobs)
        return await extraction.extract_layers(jobs, on_read)

    monkeypatch.setattr(loading, "extract_layers", counted)
    return started


@pytest.fixture
def endless(tmp_path: Path) -> str:
    """An archive that takes minutes to unpack and little room: headers of empty files, again and again."""
    path = tmp_path / "endless.tar.gz"
    some = tar_bytes(member("f"))[:512] * 1000
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(1000):
            file.write(some)
    return str(path)
