"""Containers that go on, and some that end, and requests, while a process of ours gets no memory."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import tarfile
import threading
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from support.forms import within
from support.ground import TELLS_ORPHANS
from support.waiting import wait_for

from wherry import Client, RunSpec, WherryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon

PATIENCE = within(30.0)
STARVED = within(5.0)
"""Seconds: CPython 3.11 spins where there is no memory for the place that it notes of an exception."""

LINES = 'n=0; trap "echo end \\$n; exit 7" TERM; while :; do echo line $n; n=$((n+1)); usleep 2000; done'
"""Prints numbered lines, and at SIGTERM how many; ends with 7."""

WRITERS = 2
MORE = 1 << 20
_WANTED = struct.Struct("=qqq")


class Allocations:
    """What a supervisor's malloc(3) is told (allocations.c). `prefix` is for its start."""

    def __init__(self, library: Path, path: Path) -> None:
        path.write_bytes(bytes(_WANTED.size))
        self._path = path
        # Every object that Python makes is asked for by itself: it keeps none in store.
        self.prefix = ("env", f"LD_PRELOAD={library}", f"ALLOCATIONS={path}", "PYTHONMALLOC=malloc")

    @contextmanager
    def refused(self, process: int, *, after: int, times: int) -> Iterator[None]:
        """Have a process be refused memory so many times, after it got some so often."""
        self._tell(0, after, times)
        self._tell(process, after, times)
        yield
        self._tell(0, after, times)

    def _tell(self, *words: int) -> None:
        with open(self._path, "r+b") as file:
            file.write(_WANTED.pack(*words))


class Siege:
    """The containers of a supervisor, and what is asked of it. `asked`: by request, what was told."""

    def __init__(self, daemon: Daemon, image: Path, archives: Archives) -> None:
        self.daemon = daemon
        self.died: list[int] = []
        self.asked: list[tuple[str, str]] = []
        self._image = str(image)
        self._archives = archives
        self._images = 0
        self._ended: list[str] = []
        with daemon.client() as client:
            self._writers = [self._start(client) for _ in range(WRITERS)]
            client.run(self._one()).check()

    def _start(self, client: Client) -> str:
        made = client.run_detached(RunSpec(image=self._image, command=("sh", "-c", LINES)))
        assert wait_for(lambda: client.logs(made.id))
        return made.id

    def _one(self, image: str = "") -> RunSpec:
        return RunSpec(image=image or self._image, command=("sh", "-c", "echo out; exit 0"), auto_remove=True)

    def round(self, starving: Callable[[], AbstractContextManager[None]]) -> None:
        """Ask for all there is, and have one end, while somebody starves; then all is well again."""
        with self.daemon.client() as client:
            ending = self._start(client)
            pid = client.inspect(ending).pid
        assert pid is not None
        self._ended.append(ending)
        asking = threading.Thread(target=self._ask, args=(pid,), daemon=True)
        with starving():
            asking.start()
            wait_for(lambda: not asking.is_alive() or not self._lives(), STARVED)
        if not self._answers():
            self.died.append(self.daemon.wait_died())
            self.daemon.start()
        asking.join(PATIENCE)
        assert not asking.is_alive(), f"a request has no end: {self.asked}"
        with self.daemon.client() as client:
            client.wait(ending)
            self._goes_on(client)

    def _lives(self) -> bool:
        return os.waitid(os.P_PID, self.daemon.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def _answers(self) -> bool:
        with Client(self.daemon.run_dir, autostart=False, timeout=PATIENCE) as client:
            try:
                client.ping()
            except WherryError:
                return False
        return True

    def _ask(self, ending: int) -> None:
        """Ask, one after the other; no answer may be missing, whatever it says."""
        writer = self._writers[0]
        with self.daemon.client() as client:
            for name, ask in (
                ("run", lambda: client.run(self._one())),
                ("exec", lambda: client.exec(writer, ("true",))),
                ("end", lambda: os.kill(ending, signal.SIGTERM)),
                ("logs", lambda: client.logs(writer)),
                ("ps", lambda: client.list(all=True)),
                ("unpack", lambda: client.run(self._one(self._archive()))),
            ):
                try:
                    ask()
                except WherryError as error:
                    self.asked.append((name, f"{type(error).__name__}: {error}"))
                else:
                    self.asked.append((name, ""))

    def _archive(self) -> str:
        """Return an archive that has not been unpacked yet."""
        self._images += 1
        path = self.daemon.root / f"image-{self._images}.tar"
        shutil.copy(self._archives.tar, path)
        with tarfile.open(path, "a") as tar:
            member = tarfile.TarInfo("data")
            member.size = MORE
            tar.addfile(member, BytesIO(os.urandom(MORE)))
        return str(path)

    def _goes_on(self, client: Client) -> None:
        """Fail unless all that was refused can be had again, and logs grow."""
        path = client.inspect(self._writers[0]).log_path
        before = os.path.getsize(path)
        client.run(self._one()).check()
        assert client.exec(self._writers[0], ("true",)).exit_code == 0
        assert wait_for(lambda: os.path.getsize(path) > before), "the log does not grow"

    def settle(self, *, orphans: bool = False) -> None:
        """End them all; every exit and every line must be known, nobody was killed for want of memory.

        `orphans`: their launcher died, and an old kernel tells nobody else how they ended.
        """
        with self.daemon.client() as client:
            ours = {*self._writers, *self._ended}
            for each in client.list(all=True):
                if each.id not in ours:  # of a run whose client was lost: it goes by itself, but 5 s later
                    assert each.exit is None or each.exit.code == 0, each
                    client.remove(each.id, force=True)
            for container in self._writers:
                client.stop(container)
            for container in (*self._writers, *self._ended):
                status = client.wait(container)
                unseen = orphans and not TELLS_ORPHANS and status.signal is None
                assert status.code == 7 or (unseen and status.code is None), status
                assert (status.oom_killed, status.oom_kills) == (False, 0), status
                _assert_whole(client.logs(container))
                client.remove(container)


def _assert_whole(log: bytes) -> None:
    *lines, last = log.decode().splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))], "lines are lost or doubled"
    assert last in (f"end {len(lines)}", f"end {len(lines) - 1}"), f"{len(lines)} lines before {last!r}"
