"""The worker's life: shut in while it works, stopped when nobody waits, gone with its supervisor."""

# a test may block its own loop

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.forms import within
from support.imagekit import Built, docker_save, pack
from tarkit import first_progress, random_tar

from wherry_protocol.errors import InternalError
from wherryd.images.store import ImageStore

if TYPE_CHECKING:
    from wherry_protocol.system import Progress

Write = Callable[..., str]


async def test_last_waiter_cancelled_stops_the_worker(
    store: ImageStore, endless: str, nothing_left: Callable[[], None], state: Path
) -> None:
    """One waiter gone: the others' work goes on. All gone: it ends at once, and leaves nothing."""
    heard: list[Progress] = []
    scopes = [trio.CancelScope() for _ in range(3)]

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            await store.resolve(endless, None, heard.append)

    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(ask, scope)
        await first_progress(heard)
        scopes[0].cancel()
        heard.clear()
        await first_progress(heard)
        scopes[1].cancel()
        scopes[2].cancel()
    nothing_left()


async def test_others_get_their_image_when_one_gives_up(
    store: ImageStore, archive: Write, extractions: list[Path]
) -> None:
    """The first to ask is not special: its going away changes nothing for the second."""
    path = archive(random_tar(1, 3 << 20))
    layers: list[str] = []
    first = trio.CancelScope()

    async def ask(scope: trio.CancelScope) -> None:
        with scope:
            layers.append((await store.resolve(path, None)).layers[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(ask, trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
    assert len(layers) == len(extractions) == 1


async def test_killed_worker_is_an_error_that_leaves_nothing(
    store: ImageStore, endless: str, nothing_left: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of the worker in the middle."""
    processes: list[trio.Process] = []
    real = trio.lowlevel.open_process

    async def remembered(*args: object, **kwargs: object) -> trio.Process:
        processes.append(await real(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(trio.lowlevel, "open_process", remembered)
    heard: list[Progress] = []

    async def kill() -> None:
        await first_progress(heard)
        processes[0].send_signal(signal.SIGKILL)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill)
        with pytest.raises(InternalError, match="ended without a word"):
            await store.resolve(endless, None, heard.append)
    nothing_left()


async def test_worker_is_shut_in_while_it_unpacks(
    store: ImageStore, endless: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walls of test_confinement stand when the archive is read, not only when one asks for them."""
    processes: list[trio.Process] = []
    real = trio.lowlevel.open_process

    async def remembered(*args: object, **kwargs: object) -> trio.Process:
        processes.append(await real(*args, **kwargs))
        return processes[-1]

    monkeypatch.setattr(trio.lowlevel, "open_process", remembered)
    heard: list[Progress] = []
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            await store.resolve(endless, None, heard.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await first_progress(heard)
        worker = Path(f"/proc/{processes[0].pid}")
        (folder,) = (state / "images/tmp").iterdir()
        assert (worker / "root").stat().st_ino == (folder / "root").stat().st_ino
        assert (worker / "cwd").stat().st_ino == (folder / "root").stat().st_ino
        assert "CapEff:\t000000008000001b" in (worker / "status").read_text()
        assert set(os.listdir(worker / "fd")) <= {"0", "1", "2", "3", "4", "5"}, (
            "one file at a time is open, besides the pipes and what is kept of the archive"
        )
        assert (worker / "environ").read_bytes().strip(b"\0") == b""
        for name in ("mnt", "net", "ipc", "uts"):
            assert os.readlink(worker / "ns" / name) != os.readlink(f"/proc/self/ns/{name}")
        scope.cancel()


async def test_worker_ends_with_its_supervisor(endless: str, tmp_path: Path) -> None:
    """A supervisor that is killed leaves no process that goes on filling the disk; the next one cleans up."""
    code = (
        "import sys, trio, sqlite3\nfrom pathlib import Path\nfrom wherryd.images.store import ImageStore\n"
        "store = ImageStore(Path(sys.argv[1]), sqlite3.connect(':memory:', isolation_level=None))\n"
        "store.recover()\n"
        "trio.run(store.resolve, sys.argv[2], None, lambda _: print('reading', flush=True))\n"
    )
    root = tmp_path / "images"
    with subprocess.Popen([sys.executable, "-c", code, root, endless], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        supervisor.stdout.readline()
        lists = Path(f"/proc/{supervisor.pid}/task").glob("*/children")
        (child,) = [pid for children in lists for pid in children.read_text().split()]
        pidfd = os.pidfd_open(int(child))
        supervisor.kill()
    try:
        with trio.fail_after(within(10)):
            await trio.lowlevel.wait_readable(pidfd)
    finally:
        os.close(pidfd)
    assert list((root / "tmp").iterdir())
    with sqlite3.connect(":memory:", isolation_level=None) as database:
        ImageStore(root, database).recover()
    database.close()
    assert list((root / "tmp").iterdir()) == []


async def test_supervisor_stays_responsive_while_a_bomb_goes_off(store: ImageStore, endless: str) -> None:
    """The loop never waits for an archive."""
    heard: list[Progress] = []
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            await store.resolve(endless, None, heard.append)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await first_progress(heard)
        # The machine may hold up this process, too: one of a few stretches has to be good from end to end.
        slowest = min([await _slowest_turn() for _ in range(5)])
        scope.cancel()
    assert slowest < 0.25


async def _slowest_turn() -> float:
    slowest = 0.0
    for _ in range(100):
        before = trio.current_time()
        await trio.sleep(0.001)
        slowest = max(slowest, trio.current_time() - before)
    return slowest


@pytest.mark.alone
async def test_each_layer_is_unpacked_behind_walls_of_its_own(
    store: ImageStore, archive: Write, state: Path
) -> None:
    """A child for each layer sees its own folder and its own archive; it has no way to the others."""
    layers = [random_tar(number, 40 << 20) for number in range(2)]
    path = archive(pack(docker_save(Built(layers))))
    scope = trio.CancelScope()

    async def load() -> None:
        with scope:
            await store.load(path)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        with trio.fail_after(within(20)):
            while not (children := confined(state)):
                await trio.sleep(0.001)
        for process, folder in children.items():
            status = (process / "status").read_text()
            assert "CapEff:\t000000008000001b" in status
            assert "CapBnd:\t000000008000001b" in status
            assert "NoNewPrivs:\t1" in status
            assert os.listdir(process / "root") == ["f"], f"{folder} is not all that it sees"
            for name in ("mnt", "net", "ipc", "uts"):
                assert os.readlink(process / "ns" / name) != os.readlink(f"/proc/self/ns/{name}")
            files = [os.readlink(process / "fd" / fd) for fd in os.listdir(process / "fd")]
            assert len([name for name in files if name == path]) == 1
        scope.cancel()


def confined(state: Path) -> dict[Path, str]:
    """The processes whose root is the root directory of a layer that has begun: their walls stand by then."""
    roots = {folder.stat().st_ino: str(folder) for folder in (state / "images/tmp").glob("*/root")}
    found: dict[Path, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inode = (process / "root").stat().st_ino
            if inode in roots and os.listdir(process / "root"):
                found[process] = roots[inode]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found
