"""A real supervisor, started from this environment, on directories of its own.

Owns the process and all that comes from it: when it is stopped, nothing may be left.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support import proc
from support.forms import within
from support.terminal import Terminal

from wherry_protocol.errors import NotFound
from wherryd.kernel.hierarchies import find_hierarchies
from wherryd.network.model import LinkNames
from wherryd.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wherry import Client

READY_TIMEOUT = within(15.0)
STOP_TIMEOUT = within(15.0)
GONE_TIMEOUT = within(10.0)
COMMAND_TIMEOUT = within(60.0)

living: list[Daemon] = []
"""Every supervisor that runs now, for the leak guard."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended and what it printed; with a tty everything is in `stdout`."""

    exit_code: int
    stdout: str
    stderr: str


class Daemon:
    """A supervisor. `log` is what it printed; `cgroup` is the parent of its containers' cgroups.

    `pass_fds` are descriptors of the test's that it inherits.
    """

    def __init__(self, folder: str = "/var/tmp") -> None:
        # Not pytest's tmp_path: socket paths end at 107 bytes, and overlayfs wants a disk below it.
        self.root = Path(tempfile.mkdtemp(prefix="wherry-", dir=folder))
        self.state_dir = self.root / "state"
        self.run_dir = self.root / "run"
        self.cgroup = Path()
        self.python = sys.executable
        """The interpreter of the environment that its next start is from."""
        self.pass_fds: tuple[int, ...] = ()
        self.prefix: tuple[str, ...] = ()
        """A command that executes the one that follows it: where it is to be started."""
        self.default_network = "none"
        """What containers get that ask for no network: most tests need none."""
        self.failpoints = ""
        """What the next start is told to stumble over: see wherryd/kernel/failpoints.py."""
        self.ready_after = 0.0
        """Seconds that the last start took until it said that it is ready."""
        self._log_path = self.root / "stderr"
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[proc.Process] = set()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None, "the supervisor does not run"
        return self._process.pid

    @property
    def launcher_pid(self) -> int:
        """The launcher's process id."""
        with self.client() as client:
            pid = client.info().launcher_pid
        assert pid is not None, "the supervisor has no launcher"
        return pid

    @property
    def log(self) -> str:
        """What the supervisor printed on standard error, over all its lives."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def environment(self) -> dict[str, str]:
        """An environment in which commands find this supervisor and start no other."""
        return {
            **os.environ,
            "WHERRY_STATE_DIR": str(self.state_dir),
            "WHERRY_RUN_DIR": str(self.run_dir),
            "WHERRY_NO_AUTOSTART": "1",
            "WHERRY_DEFAULT_NETWORK": self.default_network,
            "WHERRY_FAILPOINTS": self.failpoints,
        }

    def start(self, *flags: str) -> None:
        """Start it and wait until it says that it is ready."""
        command = [*self.prefix, self.python, "-m", "wherryd.main", "--state-dir", self.state_dir]
        command += ["--run-dir", self.run_dir, *flags]
        address = self.root / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, self._log_path.open("ab") as log:
            address.unlink(missing_ok=True)  # of a start that failed
            notify.bind(str(address))
            environment = {**self.environment, "NOTIFY_SOCKET": str(address)}
            began = time.monotonic()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, env=environment, pass_fds=self.pass_fds
            )
            living.append(self)
            self._wait_ready(notify)
            self.ready_after = time.monotonic() - began
            address.unlink()
        with self.client() as client:
            self.cgroup = Path(client.info().cgroup_path)
        self.look_around()

    def _wait_ready(self, notify: socket.socket) -> None:
        pidfd = os.pidfd_open(self.pid)
        try:
            ready, _, _ = select.select([notify, pidfd], [], [], READY_TIMEOUT)
        finally:
            os.close(pidfd)
        assert notify in ready, f"wherryd did not become ready: {self.log}"
        assert notify.recv(1000).split(b"\n")[0] == b"READY=1"

    def client(self) -> Client:
        """Return a new client, to be closed by the caller."""
        from wherry import Client

        return Client(self.run_dir, autostart=False)

    def cli(
        self,
        *args: str | Path,
        input: str | bytes | None = None,  # noqa: A002 - as subprocess.run calls it
        tty: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: float = COMMAND_TIMEOUT,
    ) -> Done:
        """Run the `wherry` command to its end; without `input` its standard input is empty."""
        data = input.encode() if isinstance(input, str) else input
        if tty:
            with self.terminal(*args, env=env) as terminal:
                terminal.send(data or b"")
                code = terminal.wait(timeout)
                return Done(exit_code=code, stdout=terminal.text, stderr="")
        done = subprocess.run(
            self._command(args),
            input=data or b"",
            capture_output=True,
            env={**self.environment, **(env or {})},
            timeout=timeout,
            check=False,
        )
        return Done(exit_code=done.returncode, stdout=_text(done.stdout), stderr=_text(done.stderr))

    def popen(self, *args: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the `wherry` command with pipes; to be used as a context manager and ended by the caller."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self._command(args), stdin=pipe, stdout=pipe, stderr=pipe, env={**self.environment, **(env or {})}
        )

    def terminal(self, *args: str | Path, env: Mapping[str, str] | None = None) -> Terminal:
        """Start the `wherry` command on a terminal of its own."""
        return Terminal(self._command(args), {**self.environment, **(env or {})})

    def _command(self, args: tuple[str | Path, ...]) -> list[str]:
        return [str(Path(sys.executable).with_name("wherry")), *map(str, args)]

    def remove_containers(self, keep: frozenset[str] = frozenset()) -> None:
        """Kill and remove every container, but those with these ids."""
        with self.client() as client:
            for container in client.list(all=True):
                if container.id not in keep:
                    with suppress(NotFound):  # it was to be removed at its end, and has ended meanwhile
                        client.remove(container.id, force=True)

    def container_ids(self) -> frozenset[str]:
        """Return the ids of all containers."""
        with self.client() as client:
            return frozenset(container.id for container in client.list(all=True))

    def kill(self) -> None:
        """Kill the supervisor with SIGKILL; its launcher and containers go on."""
        self.look_around()
        self._end(signal.SIGKILL)

    def wait_died(self) -> int:
        """Wait until the supervisor has ended by itself; return how."""
        assert self._process is not None, "the supervisor does not run"
        code = self._process.wait(STOP_TIMEOUT)
        self._process = None
        living.remove(self)
        return code

    def terminate(self) -> int:
        """Stop the supervisor with SIGTERM; return its exit code."""
        self.look_around()
        return self._end(signal.SIGTERM)

    def close(self) -> None:
        """Remove the containers, stop the supervisor, and fail if anything is left."""
        try:
            if self._process is None:
                self.start()
            assert self._process is not None
            died = self._process.poll()
            assert died is None, f"wherryd ended by itself with {died}: {self.log}"
            self.remove_containers()
            assert self._wait_until(lambda: not entries(self.state_dir / "trash")), (
                "the trash is never emptied"
            )
            code = self.terminate()
            assert code == 0, f"wherryd exited with {code}: {self.log}"
            left = self._wait_gone()
            assert not left, f"left after the supervisor's end: {', '.join(left)}"
        finally:
            self._clean_up()

    def look_around(self) -> None:
        """Remember every process of ours, to know at the end whether it is gone."""
        ours = [each.pid for each in self._seen if proc.alive(each)]
        with self.client() as client:
            launcher = client.info().launcher_pid
        self._seen.update(proc.descendants(self.pid, *filter(None, (launcher,)), *ours))

    def _look_once_more(self) -> None:
        ours = [each.pid for each in self._seen if proc.alive(each)]
        self._seen.update(proc.descendants(*ours))

    def _end(self, signum: int) -> int:
        assert self._process is not None, "the supervisor does not run"
        self._process.send_signal(signum)
        return self.wait_died()

    def _wait_gone(self) -> list[str]:
        self._wait_until(lambda: not self._left())
        return self._left()

    @staticmethod
    def _wait_until(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + GONE_TIMEOUT
        while not (so := condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return so

    def _left(self) -> list[str]:
        left = [f"process {each}" for each in self._seen if proc.alive(each)]
        left += [f"socket {path}" for path in proc.socket_paths(self.run_dir)]
        left += [f"cgroup {path}" for path in cgroups_below(self.cgroup)]
        left += [f"mount {line}" for line in mounts(self.root)]
        left += [f"container {path}" for path in (self.state_dir / "containers").iterdir()]
        left += [f"link {name}" for name in self.links()]
        return left

    @property
    def instance(self) -> str:
        """Its name wherever the kernel has one name space for all."""
        return Settings(state_dir=self.state_dir, run_dir=self.run_dir).instance

    def links(self) -> list[str]:
        """Return the links on the host that are this supervisor's."""
        names = LinkNames.of(self.instance)
        ours = (names.bridges, names.ends)
        return [name for _, name in socket.if_nameindex() if name == names.default or name.startswith(ours)]

    def _clean_up(self) -> None:
        """Leave the machine as it was, also after a failure."""
        self._look_once_more()
        for each in self._seen:
            if proc.alive(each):
                os.kill(each.pid, signal.SIGKILL)
        if self._process is not None:
            self._end(signal.SIGKILL)
        for line in mounts(self.root):
            subprocess.run(["umount", "-l", line.split(" ")[4]], check=False)
        for name in self.links():
            subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)
        for path in reversed(cgroups_below(self.cgroup)):
            _remove_cgroup(path)
        shutil.rmtree(self.root)


def entries(folder: Path) -> list[Path]:
    """Return what is in a directory; nothing when it is not there."""
    return list(folder.iterdir()) if folder.is_dir() else []


def cgroups_below(path: Path) -> list[Path]:
    """Return a v2 cgroup, its namesakes in v1 hierarchies, and all below, parents first; none when gone.

    Those that a supervisor has made ahead are none of anybody's.
    """
    if path == Path():
        return []
    found: list[Path] = []
    for top in filter(Path.is_dir, (path, *_namesakes(path))):
        # os.walk goes over what vanishes while it looks.
        below = sorted(Path(parent, name) for parent, names, _ in os.walk(top) for name in names)
        found += [top, *(each for each in below if not each.name.startswith("spare-"))]
    return found


def _namesakes(path: Path) -> list[Path]:
    return [Path(mountpoint, path.name) for mountpoint in set(find_hierarchies().v1.values())]


def mounts(below: Path) -> list[str]:
    """Return the lines of this mount namespace's mountinfo that name a path below a directory."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if f"{below}/" in line]


def _remove_cgroup(path: Path) -> None:
    deadline = time.monotonic() + GONE_TIMEOUT
    if (path / "cgroup.kill").exists():
        (path / "cgroup.kill").write_text("1", encoding="ascii")
    for spare in path.glob("spare-*"):
        spare.rmdir()
    while (path / "cgroup.procs").read_text(encoding="ascii") and time.monotonic() < deadline:
        time.sleep(0.01)
    path.rmdir()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
