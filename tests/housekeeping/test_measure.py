"""Counting what directories take: what du(1) says, whatever is in them, and never for ever."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import trio

from wherry_protocol.errors import InternalError, KernelFailure, NoSpace
from wherryd import helper
from wherryd.housekeeping import measure, usage

if TYPE_CHECKING:
    from pathlib import Path


def du(path: Path) -> int:
    done = subprocess.run(["du", "-sx", "-B1", path], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])


async def test_sizes_are_those_of_du(tmp_path: Path) -> None:
    """Links count once, holes nothing, links to elsewhere nothing of what is there."""
    tree = tmp_path / "tree"
    (tree / "a/b").mkdir(parents=True)
    (tree / "a/file").write_bytes(os.urandom(100_000))
    os.link(tree / "a/file", tree / "a/b/again")
    (tree / "a/etc").symlink_to("/etc")
    with (tree / "hole").open("wb") as file:
        file.truncate(1 << 30)
    os.mkfifo(tree / "fifo")
    (tmp_path / "empty").mkdir()
    counted = await usage.sizes({"tree": tree, "empty": tmp_path / "empty", "gone": tmp_path / "gone"})
    assert counted == {"tree": du(tree), "empty": du(tmp_path / "empty"), "gone": 0}


async def test_another_file_system_below_is_not_counted(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "below"], check=True)
    try:
        (tmp_path / "below/big").write_bytes(bytes(5 << 20))
        assert (await usage.sizes({"it": tmp_path}))["it"] == du(tmp_path)
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)


def test_paths_that_are_longer_than_the_kernel_takes_are_counted(tmp_path: Path) -> None:
    """A container can make them step by step."""
    top = os.open(tmp_path, os.O_RDONLY)
    here = top
    for _ in range(100):
        os.mkdir("x" * 200, dir_fd=here)
        below = os.open("x" * 200, os.O_RDONLY, dir_fd=here)
        if here != top:
            os.close(here)
        here = below
    with open(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(bytes(1 << 20))
    os.close(here)
    os.close(top)
    try:
        assert measure.Tree(str(tmp_path), time.monotonic() + 60).size() == du(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / ("x" * 200)], check=True)


def test_counting_ends_at_its_deadline(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(measure.TooLate):
        measure.Tree(str(tmp_path), time.monotonic() - 1).size()


async def test_what_is_not_counted_in_time_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "MEASURE_SECONDS", -10.0)
    monkeypatch.setattr(usage, "_GRACE", 15.0)
    (tmp_path / "file").touch()
    assert await usage.sizes({"it": tmp_path}) == {"it": None}
    monkeypatch.setattr(usage, "_GRACE", 10.0)
    assert await usage.sizes({"it": tmp_path}) == {"it": None}, "also when the process does not answer at all"


async def test_a_tree_that_changes_while_it_is_counted_is_no_error(tmp_path: Path) -> None:
    """A container goes on while its files are counted."""
    for number in range(50):
        (tmp_path / f"keep{number}/below").mkdir(parents=True)

    def churn() -> None:
        for number in range(400):
            where = tmp_path / f"come{number % 7}/and/go"
            where.mkdir(parents=True, exist_ok=True)
            (where / "file").write_bytes(b"x")
            shutil.rmtree(tmp_path / f"come{number % 7}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, churn)
        for _ in range(10):
            size = (await usage.sizes({"it": tmp_path}))["it"]
            assert size is not None
            assert size >= 50 * 2 * 4096


async def test_a_helper_that_ends_without_an_answer_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="asked: KeyError"):
        await helper.ask("wherryd.housekeeping.measure", {}, what="asked", timeout=30)
    with pytest.raises(InternalError, match="without a word"):
        await helper.ask("wherryd.no_such_module", {}, what="asked", timeout=30)


async def test_what_the_kernel_refused_a_helper_has_its_class(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    question = {"seconds": 10, "places": {"it": str(tmp_path / "file")}}
    with pytest.raises(KernelFailure, match="Not a directory"):
        await helper.ask("wherryd.housekeeping.measure", question, what="asked", timeout=30)
    assert issubclass(NoSpace, Exception)
