"""What start-to-exit is measured against: the C floor and Debian's crun, each at its best on this host.

crun 1.8 refuses hybrid cgroups, so it runs in a mount namespace of its own where the v2 hierarchy is all
there is, without a cgroup manager, from a minimal config, on a fresh volatile overlay each time (mounted by a
system call from here, which costs it nothing).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent

_TMPFS = {"type": "tmpfs", "source": "tmpfs"}
_SAFE = ["nosuid", "noexec", "nodev"]
CRUN_CONFIG = {
    "ociVersion": "1.0.0",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "bench",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", **_TMPFS, "options": ["nosuid", "mode=755", "size=65536k"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/dev/shm", **_TMPFS, "options": [*_SAFE, "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": _SAFE},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*_SAFE, "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
    },
}


def build_floor(directory: Path) -> Path:
    """Compile the C floor; return the program."""
    program = directory / "floor"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, HERE / "floor.c"], check=True)
    return program


def floor_seconds(program: Path, image: Path) -> float:
    """One start-to-exit of the C floor, as it measures itself."""
    from wherryd.kernel.hierarchies import find_hierarchies

    command = [program, image, "1", find_hierarchies().v2 or ""]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) / 1e6


class Crun:
    """A process in a mount namespace of its own that runs crun whenever asked."""

    def __init__(self, image: Path, directory: Path) -> None:
        bundle = directory / "bundle"
        (bundle / "rootfs").mkdir(parents=True)
        (bundle / "config.json").write_text(json.dumps(CRUN_CONFIG))
        self._server = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", sys.executable, __file__, image, directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def seconds(self) -> float:
        """One start-to-exit of crun, its overlay included."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write("run\n")
        return float(self._server.stdout.readline())


def _serve_crun(image: str, directory: str) -> None:
    from wherryd.kernel.hierarchies import find_hierarchies
    from wherryd.kernel.mount_syscalls import MS_BIND, mount, umount2

    v2 = find_hierarchies().v2
    if v2 != "/sys/fs/cgroup":
        mount(v2 or "", "/sys/fs/cgroup", "", MS_BIND, "")
    bundle = f"{directory}/bundle"
    for number, _ in enumerate(sys.stdin):
        layers = f"{directory}/overlay{number}"
        os.makedirs(f"{layers}/upper")
        os.makedirs(f"{layers}/work")
        options = f"lowerdir={image},upperdir={layers}/upper,workdir={layers}/work,volatile"
        started = time.perf_counter()
        mount("overlay", f"{bundle}/rootfs", "overlay", 0, options)
        subprocess.run(
            ["crun", "--cgroup-manager=disabled", "run", "--bundle", bundle, f"bench-{os.getpid()}-{number}"],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        umount2(f"{bundle}/rootfs", 0)
        sys.stdout.write(f"{time.perf_counter() - started}\n")
        sys.stdout.flush()
        shutil.rmtree(layers)


if __name__ == "__main__":
    _serve_crun(*sys.argv[1:])
