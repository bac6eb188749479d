"""Debian's docker and podman as peers of benches, each on a machine of its own: a network namespace.

Owns what it takes to run them beside systemd-less, hybrid cgroups: docker's two daemons with all state below
a directory, podman with runc (crun refuses such cgroups) and limits that it may set. Both leave nothing but
empty cgroups, which are removed. To be used in a mount namespace that nobody else sees.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.netns import Place

NEEDED = {
    "docker": "docker.io",
    "dockerd": "docker.io",
    "containerd": "containerd",
    "podman": "podman",
    "runc": "runc",
    "iptables": "iptables",
    "iperf3": "iperf3",
    "redis-server": "redis-server",
}
"""Programs, and the Debian packages that have them."""

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 30.0


def missing() -> str:
    """Return which packages have to be installed first; "" if none."""
    return " ".join(sorted({package for tool, package in NEEDED.items() if shutil.which(tool) is None}))


class Engine:
    """A container engine's command line. `command` is how each of its commands begins."""

    def __init__(self, place: Place, command: Sequence[str], run: Sequence[str] = ()) -> None:
        self._place = place
        self._command = command
        self._run = run

    def __call__(self, *args: str) -> str:
        """Run a command; return what it printed."""
        return self._place.run(*self._command, *args)

    def load(self, image: Path) -> None:
        """Have a directory as the image "bench"."""
        archive = image.with_suffix(".tar")
        subprocess.run(["tar", "-C", image, "-cf", archive, "."], check=True)
        self("import", str(archive), "bench")

    def run(self, *args: str) -> str:
        """Run a container."""
        return self("run", *self._run, *args)


@contextmanager
def docker(place: Place, folder: Path) -> Iterator[Engine]:
    """Have a docker daemon with its containerd."""
    with _cgroups_removed("docker"), (folder / "log").open("wb") as log:
        containerd = ["containerd", "--root", f"{folder}/c", "--state", f"{folder}/cs"]
        containerd += ["--address", f"{folder}/containerd"]
        with _process(place, containerd, log.fileno()):
            _await(folder / "containerd")
            daemon = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"]
            daemon += ["--pidfile", f"{folder}/pid", "-H", f"unix://{folder}/docker"]
            daemon += ["--containerd", f"{folder}/containerd", "--exec-opt", "native.cgroupdriver=cgroupfs"]
            with _process(place, daemon, log.fileno()):
                _await(folder / "pid")
                _await(folder / "docker")
                engine = Engine(place, ("docker", "-H", f"unix://{folder}/docker"))
                engine("info")
                yield engine


@contextmanager
def podman(place: Place, folder: Path) -> Iterator[Engine]:
    """Have podman; it has no daemon."""
    command = [
        "podman",
        "--root",
        f"{folder}/data",
        "--runroot",
        f"{folder}/run",
        "--tmpdir",
        f"{folder}/tmp",
    ]
    command += ["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"]
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    with _cgroups_removed("libpod_parent", "conmon"):
        yield Engine(place, command, limits)


@contextmanager
def _process(place: Place, command: Sequence[str], log: int) -> Iterator[None]:
    process = place.call(lambda: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
    try:
        yield
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT)


def _await(path: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not path.exists():
        if time.monotonic() > deadline:
            message = f"{path} does not come to be: see {path.parent}/log"
            raise TimeoutError(message)
        time.sleep(0.05)


@contextmanager
def _cgroups_removed(*names: str) -> Iterator[None]:
    """Remove the cgroups of these names that were not there before."""
    before = set(_cgroups(names))
    try:
        yield
    finally:
        for top in set(_cgroups(names)) - before:
            for parent, _, _ in os.walk(top, topdown=False):
                os.rmdir(parent)


def _cgroups(names: Sequence[str]) -> list[Path]:
    return [path for name in names for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
