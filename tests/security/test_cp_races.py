"""cp against a container that changes its tree meanwhile: nothing outside is read or written, ever."""

from __future__ import annotations

import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest
from support.forms import CPUS

from wherry import WherryError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

TRIES = int(os.environ.get("WHERRY_TEST_TRIES", "80"))
"""Of each race; a copy takes a process of its own."""

CANARY = b"canary: nobody may read or write this"

SWAP = """
    mkdir -p /in/real/deep /in/spare; echo inside > /in/real/deep/file; cd /in; ln -s {outside} link
    ln -s ../../../../../../../../../..{outside} dots; echo up
    while true; do
        mv real hidden; mv link real; mv real link; mv dots real; mv real dots; mv hidden real
    done
"""


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A folder of the host's that must stay as it is; its path exists in no container."""
    folder = tmp_path / "canary"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/file").write_bytes(CANARY)
    before = [(path, path.lstat().st_mtime_ns) for path in (folder, folder / "deep", folder / "deep/file")]
    yield folder
    assert (folder / "deep/file").read_bytes() == CANARY
    assert [(path, path.lstat().st_mtime_ns) for path, _ in before] == before
    assert sorted(os.listdir(folder)) == ["deep"]
    assert sorted(os.listdir(folder / "deep")) == ["file"]


@pytest.fixture
def swapping(wherryd: Daemon, busybox: Path, canary: Path) -> str:
    """A container where /in/real is a folder at one moment, and a link to the canary at the next."""
    from wherry import RunSpec

    script = SWAP.format(outside=canary)
    with wherryd.client() as client:
        made = client.run_detached(RunSpec(image=os.fspath(busybox), command=("sh", "-c", script)))
        with client.log_stream(made.id, follow=True) as outputs:
            assert next(outputs).data == b"up\n"
    return made.id


def attempts(function: object) -> int:
    """Call it again and again; return how often it worked."""
    worked = 0
    for number in range(TRIES):
        try:
            function(number)  # type: ignore[operator]
            worked += 1
        except WherryError as error:
            if error.code == "internal":
                raise
    return worked


@pytest.mark.skipif(CPUS < 2, reason="one processor: nothing is swapped while we look")
def test_nothing_outside_is_read(wherryd: Daemon, swapping: str, tmp_path: Path) -> None:
    """Through a path that is a link to the host's folder half of the time."""
    out = tmp_path / "out"
    out.mkdir()
    with wherryd.client() as client:

        def copy(number: int) -> None:
            client.copy_out(swapping, "/in/real/deep/file", out / str(number), follow=True)
            assert (out / str(number)).read_bytes() == b"inside\n"

        assert attempts(copy) > TRIES // 20, "the folder was hardly ever there: this proves nothing"


@pytest.mark.usefixtures("canary")
@pytest.mark.skipif(CPUS < 2, reason="one processor: nothing is swapped while we look")
def test_nothing_outside_is_written(wherryd: Daemon, swapping: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host")
    with wherryd.client() as client:
        worked = attempts(
            lambda number: client.copy_in(swapping, tmp_path / "file", f"/in/real/deep/{number}")
        )
    assert worked > TRIES // 20, "the folder was hardly ever there: this proves nothing"


@pytest.mark.usefixtures("canary")
@pytest.mark.skipif(CPUS < 2, reason="one processor: nothing is swapped while we look")
def test_a_tree_that_changes_leads_no_archive_out(wherryd: Daemon, swapping: str, tmp_path: Path) -> None:
    """Folders of the archive that are links when their files are made."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in ("real/deep/a", "real/deep/b", "real/deep/c"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"evil"))
    (tmp_path / "a.tar").write_bytes(data.getvalue())
    with wherryd.client() as client:

        def copy(_number: int) -> None:
            with (tmp_path / "a.tar").open("rb") as file:
                client.copy_in_from(swapping, file.fileno(), "/in")

        attempts(copy)


def test_a_tree_that_changes_while_it_is_copied_out(wherryd: Daemon, swapping: str, tmp_path: Path) -> None:
    """Links are copied as links, never what they lead to; nothing lands beside the destination."""
    out = tmp_path / "out"
    with wherryd.client() as client:
        attempts(
            lambda number: client.copy_out(swapping, "/in", out / str(number)) if number else out.mkdir()
        )
    for path in out.rglob("*"):
        assert path.is_symlink() or not path.is_file() or path.read_bytes() == b"inside\n"


@pytest.mark.usefixtures("canary")
def test_a_link_in_the_destination_is_not_followed_out(
    wherryd: Daemon, busybox: Path, canary: Path, tmp_path: Path
) -> None:
    """A container's link cannot make a second cp write through the first one's."""
    from wherry import RunSpec

    script = f"mkdir -p /a /b/x; ln -s {canary}/deep /a/x; echo evil > /b/x/file; echo up; sleep 1000"
    with wherryd.client() as client:
        made = client.run_detached(RunSpec(image=os.fspath(busybox), command=("sh", "-c", script)))
        with client.log_stream(made.id, follow=True) as outputs:
            assert next(outputs).data == b"up\n"
        client.copy_out(made.id, "/a", tmp_path / "out")
        assert (tmp_path / "out/x").is_symlink()
        with pytest.raises(WherryError, match="non-directory"):
            client.copy_out(made.id, "/b/.", tmp_path / "out")


def test_nothing_of_an_image_is_loaded_by_the_worker(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """CVE-2019-14271: docker cp loaded libnss of the container it had entered."""
    import shutil
    import sys

    from wherry import RunSpec

    image = tmp_path / "image"
    shutil.copytree(busybox, image, symlinks=True)
    evil = "import os; os.system('touch /loaded')\nraise SystemExit(77)\n"
    names = (
        "encodings/idna",
        "traceback",
        "linecache",
        "contextlib",
        "locale",
        "bz2",
        "lzma",
        "subprocess",
        "site",
    )
    for folder in {*filter(None, sys.path), "/usr/lib/python3/dist-packages"}:
        inside = image / folder.lstrip("/")
        for name in names:
            (inside / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
            (inside / f"{name}.py").write_text(evil)
    with wherryd.client() as client:
        made = client.run_detached(RunSpec(image=os.fspath(image), command=("sleep", "1000")))
        client.copy_out(made.id, "/etc/passwd", tmp_path / "passwd")
        client.copy_in(made.id, tmp_path / "passwd", "/etc/copied")
        client.export(made.id, tmp_path / "out.tar", compression="xz")
        for path in ("/no", "/etc/passwd/x", "/" + "x" * 300):
            with pytest.raises(WherryError):
                client.copy_out(made.id, path, tmp_path / "x")
        assert [change.path for change in client.diff(made.id)] == ["/etc", "/etc/copied"]
