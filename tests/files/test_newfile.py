"""A new file takes its place when it is whole: with and without files that have no name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from wherryd.files import newfile
from wherryd.files.newfile import NewFile
from wherryd.files.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["nameless", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A descriptor of `tmp_path`. Files without a name that are only read are refused."""
    if request.param == "named":
        monkeypatch.setattr(newfile, "_NAMELESS", os.O_RDONLY | os.O_TMPFILE)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def whole(fd: int) -> None:
    os.fchmod(fd, 0o640)


@pytest.mark.parametrize("before", [None, "file", "symlink", "fifo"])
def test_it_takes_the_place_of_what_is_there(folder: int, tmp_path: Path, before: str | None) -> None:
    place = tmp_path / "file"
    (tmp_path / "other").write_text("other\n")
    if before == "file":
        place.write_text("before\n")
    elif before == "symlink":
        place.symlink_to("other")
    elif before == "fifo":
        os.mkfifo(place)
    new = NewFile(folder, b"file", b"file")
    os.write(new.fd, b"after\n")
    assert place.exists() == (before is not None), "it was seen before it was whole"
    new.put(whole)
    new.close()
    assert (place.is_symlink(), place.read_text(), place.stat().st_mode & 0o7777) == (False, "after\n", 0o640)
    assert (tmp_path / "other").read_text() == "other\n"
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]


def test_what_is_not_finished_leaves_all_as_it_was(folder: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before\n")
    new = NewFile(folder, b"file", b"file")
    os.write(new.fd, b"aft")
    new.close()
    assert (os.listdir(tmp_path), (tmp_path / "file").read_text()) == (["file"], "before\n")


def test_a_folder_is_never_replaced(folder: int, tmp_path: Path) -> None:
    """Be it there from the start or made while the file was written."""
    new = NewFile(folder, b"file", b"file")
    (tmp_path / "file").mkdir()
    with pytest.raises(Refused, match="file: cannot overwrite directory"):
        new.put(whole)
    new.close()
    with pytest.raises(Refused, match="file: cannot overwrite directory"):
        NewFile(folder, b"file", b"file")
    assert os.listdir(tmp_path) == ["file"]


def test_in_a_new_folder_it_is_there_at_once(folder: int, tmp_path: Path) -> None:
    """And gone if it does not become whole; the second of two in one archive stays."""
    new = NewFile(folder, b"file", b"file", fresh=True)
    assert os.listdir(tmp_path) == ["file"]
    new.close()
    assert os.listdir(tmp_path) == []
    for text in (b"first", b"second"):
        new = NewFile(folder, b"file", b"file", fresh=True)
        os.write(new.fd, text)
        new.put(whole)
        new.close()
    assert (os.listdir(tmp_path), (tmp_path / "file").read_text()) == (["file"], "second")


def test_one_that_somebody_removed_meanwhile_is_let_go_of(folder: int, tmp_path: Path) -> None:
    """Why it did not become whole is what is told then."""
    new = NewFile(folder, b"file", b"file", fresh=True)
    (tmp_path / "file").unlink()
    new.close()
    assert os.listdir(tmp_path) == []
