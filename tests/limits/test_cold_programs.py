"""A program that nobody has read yet, in less memory than it is large: it runs as one that was read does."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING

import pytest
from support.busybox import make_directory
from support.forms import within
from support.groupkit import group_of, tree_of
from support.waiting import wait_for

from wherry import ExitStatus, RunSpec
from wherry_protocol.errors import CommandNotExecutable, CommandNotFound
from wherry_protocol.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

TINY = Limits(memory=819_200)
WORK = "ls / >/dev/null; i=0; while [ $i -lt 50 ]; do i=$((i+1)); done; echo $i"


@pytest.fixture
def image(wherryd: Daemon) -> Iterator[Path]:
    """An image of its own, on a disk: nobody else executes what is in it."""
    if tree_of(wherryd).version_of("memory") is None:
        pytest.skip("no memory controller in any cgroup hierarchy")
    made = make_directory(wherryd.root / "cold")
    yield made
    shutil.rmtree(made)


def forget(image: Path) -> None:
    """Have the kernel drop what it has of the files from its memory."""
    os.sync()
    for path in image.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.parametrize("program", ["sh", "./sh"])
def test_what_was_never_read_runs_in_800_kib(wherryd: Daemon, image: Path, program: str) -> None:
    """As the C original's example on a machine that has just booted; without help it goes on for minutes."""
    spec = RunSpec(
        image=str(image),
        command=(program, "-c", WORK),
        workdir="/bin",
        network="none",
        stop_timeout=0,
        limits=TINY,
    )
    with wherryd.client() as client:
        forget(image)
        made = client.run_detached(spec).id
        deadline = time.monotonic() + within(30)
        while client.inspect(made).summary.state == "running" and time.monotonic() < deadline:
            time.sleep(0.02)
        summary = client.inspect(made).summary
        assert summary.exit == ExitStatus(code=0, oom_killed=False, oom_kills=0)
        assert client.logs(made) == b"50\n"
        client.remove(made, force=True)


def test_nothing_of_a_program_that_was_never_read_is_charged_to_who_runs_it(
    wherryd: Daemon, image: Path
) -> None:
    """All of it is read ahead, on disks as well that take less than a program in one request."""
    command = ("sh", "-c", "echo up; exec sleep 1000")
    spec = RunSpec(image=str(image), command=command, network="none", stop_timeout=0, limits=TINY)
    with wherryd.client() as client:
        forget(image)
        made = client.run_detached(spec).id
        assert wait_for(lambda: client.logs(made) == b"up\n")
        path, version = group_of(wherryd, made).path_of("memory") or (image, 0)
        lines = (path / "memory.stat").read_text(encoding="ascii").splitlines()
        stat = {name: int(value) for name, value in map(str.split, lines)}
        assert stat["cache" if version == 1 else "file"] < 32768
        client.remove(made, force=True)


def test_what_is_no_program_is_told_as_ever(wherryd: Daemon, image: Path) -> None:
    """Nothing is opened that would have to be waited for."""
    os.mkfifo(image / "bin/fifo")
    (image / "bin/folder").mkdir()
    plain = RunSpec(image=str(image), command=("fifo",), network="none", auto_remove=True, limits=TINY)
    with wherryd.client() as client:
        for name in ("fifo", "folder", "missing"):
            with pytest.raises(CommandNotFound if name == "missing" else CommandNotExecutable):
                client.run(plain.replace(command=(name,)))
