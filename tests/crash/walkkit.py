"""One round over a fail point: a container's whole life, broken off somewhere, and what must hold."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from support import proc
from support.daemon import entries
from support.forms import within
from support.tracing import threads_of, tracing

from wherry import ConnectionFailed, LogOptions, NotFound, RunSpec, WherryError
from wherry_protocol.ports import PublishedPort
from wherryd.kernel import failpoints

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client
    from wherry_protocol.container_state import ContainerSummary

POLITE = "trap 'echo end; exit 3' TERM; echo up; while :; do read -t 9 x; done"
DEAF = "trap '' TERM; echo up; while :; do read -t 9 x; done"
PATIENCE = within(10.0)
LINES = 400
FILLER = b"".join(b"line %d of some more\n" % number for number in range(LINES))
PRINT = f"i=0; while [ $i -lt {LINES} ]; do echo line $i of some more; i=$((i+1)); done; "
"""Several pieces of a log of the smallest size."""


def life(client: Client, image: Path, point: str) -> None:
    """Run, enter, stop and remove a container; whatever breaks off ends it."""
    deaf = point == "stop.kill"
    fields: dict[str, object] = {"stop_timeout": 0.1 if deaf else 5.0}
    if point.startswith("network."):
        port = PublishedPort(host_port=None, container_port=80)
        fields |= {"network": "bridge", "ports": (port,)}
    script = DEAF if deaf else POLITE
    if point.startswith("rotate."):
        fields |= {"log": LogOptions(max_size=1024, max_file=2)}
        script = PRINT + script
    command = ("sh", "-c", script)
    spec = RunSpec(image=os.fspath(image), command=command, stdin=True, **fields)  # type: ignore[arg-type]  # its fields
    made = client.run_detached(spec)
    with client.log_stream(made.id, follow=True) as printed:
        next(iter(printed))
    client.exec(made.id, ("true",))
    client.stop(made.id)
    client.remove(made.id)


class Round:
    """A supervisor that stumbles at one point, and its successor that must make good."""

    def __init__(self, daemon: Daemon, image: Path) -> None:
        self.daemon = daemon
        self._image = image
        self._point = ""

    def stumble(self, points: str) -> None:
        """Live a life with these points armed, as far as it goes."""
        self.daemon.failpoints = points
        self._new_launcher(points)
        self._point = point = points.partition("=")[0]
        if not self._started(point):
            return
        with self.daemon.client() as client, suppress(WherryError):
            life(client, self._image, point)

    def strike(self, role: str, syscall: str, number: int) -> bool:
        """Live a life in which a process of ours is killed at its so many-th call of a kind; say if it was.

        `role` is "supervisor", "launcher" or "worker"; what is counted is each thread's own calls.
        """
        self._point = f"network.{role}"
        self._fresh()
        threads = threads_of(self.daemon, role)
        inject = f"inject={syscall}:signal=KILL:when={number}"
        options = ["-e", f"trace={syscall}", "-e", inject, "-o", "/dev/null", "-qq"]
        with tracing(threads, *options), self.daemon.client() as client, suppress(WherryError):
            life(client, self._image, self._point)
        return not all(map(proc.alive, threads))

    def calls(self, roles: Iterable[str], output: Path) -> dict[str, Counter[str]]:
        """Return how often each of ours makes each call in such a life: the busiest of its threads."""
        self._fresh()
        self._point = "network."
        threads = {role: threads_of(self.daemon, role) for role in roles}
        everyone = [each for some in threads.values() for each in some]
        with tracing(everyone, "-qq", "-o", str(output)), self.daemon.client() as client:
            life(client, self._image, self._point)
        made = re.findall(r"^(\d+) +(\w+)\(", output.read_text(errors="replace"), re.MULTILINE)
        return {role: _busiest(made, some) for role, some in threads.items()}

    def _fresh(self) -> None:
        """Have supervisor and launcher be new ones."""
        launcher = proc.process(self.daemon.launcher_pid)
        assert launcher is not None
        self.daemon.terminate()
        assert self.daemon._wait_until(lambda: not proc.alive(launcher))
        left = self.daemon._wait_gone()
        assert not left, f"left after the supervisor's end: {', '.join(left)}"
        self.daemon.start()

    def _new_launcher(self, points: str) -> None:
        """Have one that was told of the points; nothing is held, so the old one goes with its supervisor."""
        launcher = proc.process(self.daemon.launcher_pid)
        assert launcher is not None
        self.daemon.terminate()
        if points.startswith(("launcher.", "worker.")):
            assert self.daemon._wait_until(lambda: not proc.alive(launcher))

    def _started(self, point: str) -> bool:
        if point == "network.restore":
            self._leave_one_behind()
        if not point.startswith("recover.") and point != "network.restore":
            self.daemon.start()
            return True
        with suppress(AssertionError, ConnectionFailed):
            self.daemon.start()
        return False

    def _leave_one_behind(self) -> None:
        armed, self.daemon.failpoints = self.daemon.failpoints, ""
        self.daemon.start()
        with self.daemon.client() as client:
            spec = RunSpec(image=os.fspath(self._image), command=("sleep", "60"), network="bridge")
            client.run_detached(spec)
        self.daemon.kill()
        self.daemon.failpoints = armed

    def make_good(self, *, died: bool) -> None:
        """Start a successor that is told of no point, and hold it to the promise."""
        if died:
            assert self.daemon.wait_died() == -signal.SIGKILL, "the point was not reached"
        else:
            self.daemon.kill()
        self.daemon.failpoints = ""
        self.daemon.start()
        with self.daemon.client() as client:
            for row in client.list(all=True):
                self._hold(client, row)
            assert client.list(all=True) == ()
        if self._point.startswith(("worker.", "launcher.")):
            self._new_launcher(self._point)
            self.daemon.start()
        with self.daemon.client() as client:
            life(client, self._image, "")
        assert self.daemon._wait_until(lambda: not self.left()), self.left()

    def _hold(self, client: Client, row: ContainerSummary) -> None:
        """Whatever state a container is in, it is a true one, and everything can be done with it."""
        if row.state == "running":
            # A launcher lives on, and with it the point: the one that was told of it, or its heir.
            if self._point != "worker.join" and not self._point.startswith("launcher."):
                client.exec(row.id, ("true",))
            assert client.stop(row.id, 0.2).exit_code in (3, 137)
        if row.state == "exited":
            status = client.wait(row.id)
            assert status.exit_code in (3, 137, None), status
        if row.state == "created":
            client.start(row.id)
            client.kill(row.id)
            assert client.wait(row.id).signal == signal.SIGKILL
        logged = client.logs(row.id)
        if self._point.startswith("rotate."):
            assert len(logged) >= 1024, row
            assert any((FILLER + end).endswith(logged) for end in (b"up\n", b"up\nend\n")), row
        else:
            assert logged in (b"up\n", b"up\nend\n", b""), row
        with suppress(NotFound):
            client.remove(row.id, force=True)

    def left(self) -> list[str]:
        """Return what no container asks for any more."""
        groups = [each for each in self.daemon.cgroup.iterdir() if each.is_dir()]
        found = [each for each in groups if not each.name.startswith("spare-")]
        state = self.daemon.state_dir
        found += entries(state / "containers") + entries(state / "trash")
        return [str(each) for each in found]


def _busiest(made: list[tuple[str, str]], threads: list[proc.Process]) -> Counter[str]:
    found: Counter[str] = Counter()
    for thread in threads:
        found |= Counter(call for pid, call in made if int(pid) == thread.pid)
    return found


def dies(points: str) -> bool:
    """Say whether it is the supervisor that does not survive a point."""
    name, _, what = points.partition("=")
    return what.startswith("kill") and not name.startswith(("launcher.", "worker."))


def kills() -> list[str]:
    """Return every point, with what kills the process that comes to it."""
    # The first container and its event, each step of its life, its removal.
    often = [
        f"store.{step}=kill@{number}" for step in ("begin", "commit", "committed") for number in range(2, 5)
    ]
    return [f"{name}=kill" for name in failpoints.POINTS if not name.startswith("store.")] + often


def errors() -> list[str]:
    """Return every point that may fail, with an error."""
    return [f"{name}=error:ENOSPC@1" for name in failpoints.POINTS if failpoints.may_fail(name)]
