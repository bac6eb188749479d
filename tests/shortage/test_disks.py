"""A disk that has no inodes left, or is read-only all at once: whoever prints waits, and loses nothing."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from support.daemon import entries
from support.disk import daemon_on_disk
from support.tracing import threads_of, tracing
from support.waiting import wait_for

from wherry import LogOptions, NoSpace, RunSpec
from wherry_protocol.run_spec import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client
    from wherry_protocol.container_state import ContainerSummary

PIECE = 65536
PRINTED = 48 * PIECE
"""Bytes: more than the pipe to the log holds, so that who prints them has to wait."""

WRITES = "splice pwrite64 mkdir rename link linkat unlink ftruncate".split()
"""What of the supervisor's calls changes a disk; what it opens to write is caught by the first write."""


@pytest.fixture
def few_inodes() -> Iterator[Daemon]:
    """A supervisor whose state lies on a disk of 300 inodes."""
    with daemon_on_disk("64m", inodes=300) as daemon:
        yield daemon


def use_up_inodes(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    first = len(os.listdir(folder))
    for number in range(first, first + 1000):
        try:
            (folder / f"{number}").touch()
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - it is the loop's end
            return
    raise AssertionError("the disk has inodes without end")


def printing(client: Client, image: Path, data: Path, **more: object) -> str:
    """Start what prints a file once its standard input is closed, and ends with 3; return its id."""
    volume = Volume(source=str(data), target="/data", read_only=True)
    spec = RunSpec(
        image=str(image),
        command=("sh", "-c", "echo up; cat >/dev/null; cat /data; exit 3"),
        stdin=True,
        volumes=(volume,),
        **more,  # type: ignore[arg-type]  # its fields
    )
    made = client.run_detached(spec)
    assert wait_for(lambda: client.logs(made.id) == b"up\n")
    return made.id


def random_file(path: Path) -> bytes:
    path.write_bytes(data := os.urandom(PRINTED))
    return b"up\n" + data


def row(client: Client, container: str) -> ContainerSummary:
    return next(each for each in client.list(all=True) if each.id == container)


def assert_whole(client: Client, container: str, expected: bytes) -> None:
    assert client.wait(container).code == 3
    assert hashlib.sha256(client.logs(container)).digest() == hashlib.sha256(expected).digest()
    assert row(client, container).log_trouble is None


def test_without_inodes_containers_wait_and_runs_are_refused(few_inodes: Daemon, busybox: Path) -> None:
    """A log that has to go on in its next file: the container waits until there can be one."""
    filler = few_inodes.state_dir.parent / "filler"
    expected = random_file(few_inodes.root / "data")
    one = RunSpec(image=str(busybox), command=("true",), auto_remove=True)
    with few_inodes.client() as client:
        assert client.run(one).exit_code == 0
        log = LogOptions(max_size=PIECE, max_file=100, compress=False)
        container = printing(client, busybox, few_inodes.root / "data", log=log)
        assert wait_for(lambda: not entries(few_inodes.state_dir / "trash"))
        use_up_inodes(filler)
        client.close_stdin(container)
        assert wait_for(lambda: "inodes" in str(row(client, container).log_trouble)), "nobody is told"
        refused = 0
        for _ in range(20):
            use_up_inodes(filler)  # with what the last run had taken, and gives back by and by
            try:
                client.run(one)
            except NoSpace as error:
                assert "No space left on device" in str(error), error  # noqa: PT017 - or it had enough
                refused += 1
            if refused == 3:
                break
        assert refused, "the disk has inodes enough"
        assert row(client, container).state == "running", "it does not wait"
        assert [each.id for each in client.list(all=True)] == [container]
        shutil.rmtree(filler)
        assert_whole(client, container, expected)
        assert client.run(one).exit_code == 0


@contextmanager
def read_only(daemon: Daemon) -> Iterator[None]:
    """Have every write of the supervisor's answered as by a disk that its file system has made read-only.

    The kernel refuses to make one so under open files (EBUSY), but for what the file system does by itself
    when it finds an error; and that cannot be taken back without unmounting it (Linux 6.15).
    """
    inject = [f"inject={call}:error=EROFS" for call in WRITES]
    options = ["-e", f"trace={','.join(WRITES)}", *(word for each in inject for word in ("-e", each))]
    with tracing(threads_of(daemon, "supervisor"), "-f", *options, "-o", "/dev/null", "-qq"):
        yield


def test_on_a_read_only_disk_containers_wait_and_requests_are_refused(
    fresh_wherryd: Daemon, busybox: Path
) -> None:
    """In the middle of what is written; and what is asked for then is done later, or not at all."""
    expected = random_file(fresh_wherryd.root / "data")
    one = RunSpec(image=str(busybox), command=("true",), auto_remove=True)
    with fresh_wherryd.client() as client:
        container = printing(client, busybox, fresh_wherryd.root / "data")
        created = client.create(RunSpec(image=str(busybox), command=("true",)))
        with read_only(fresh_wherryd):
            client.close_stdin(container)
            assert wait_for(lambda: row(client, container).log_trouble is not None), "nobody is told"
            assert "mount its file system writable" in str(row(client, container).log_trouble)
            for _ in range(3):
                with pytest.raises(NoSpace):
                    client.run(one)
            with pytest.raises(NoSpace):
                client.remove(created.id)
            assert client.ping().pid == fresh_wherryd.pid
            assert row(client, container).state == "running", "it does not wait"
            assert {each.id for each in client.list(all=True)} == {container, created.id}
        assert_whole(client, container, expected)
        client.remove(created.id)
        assert client.run(one).exit_code == 0
