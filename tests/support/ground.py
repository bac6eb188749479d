"""What the machine offers, for the report's header: a failure is read differently on another ground."""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

from wherryd.kernel.namespaces import loopback_up
from wherryd.kernel.syscalls import CLONE_NEWNET, unshare

TELLS_ORPHANS = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= (6, 15)
"""Whether the kernel tells how a process ended that is no child of whoever asks (PIDFD_INFO_EXIT)."""

_OUTSIDE = "WHERRY_TESTS_OUTSIDE"


def enter_own_network() -> None:
    """Move this process into a network namespace of its own, with nothing but loopback in it.

    Its environment says where the machine's is: pytest's workers come from a process that has left it.
    """
    if not os.path.exists(os.environ.get(_OUTSIDE, "")):
        left = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        os.environ[_OUTSIDE] = f"/proc/{os.getpid()}/fd/{left}"
    unshare(CLONE_NEWNET)
    loopback_up()


def open_outside() -> int:
    """Return a descriptor of the machine's own network namespace, as it was before this process left it."""
    return os.open(os.environ[_OUTSIDE], os.O_RDONLY | os.O_CLOEXEC)


def header() -> list[str]:
    """Return the lines that pytest prints before the tests."""
    tools = ", ".join(f"{tool} {shutil.which(tool) or 'missing'}" for tool in ("busybox", "nft", "crun"))
    return [
        f"ground: Linux {platform.release()}, uid {os.getuid()}, Python {platform.python_version()}",
        f"ground: cgroup {cgroup_mode()}, overlay {_file_system('overlay')}, {tools}",
    ]


def cgroup_mode() -> str:
    """Return where cgroup v2 is mounted with its controllers, and the controllers that are in v1."""
    v2, v1 = "v2 nowhere", set[str]()
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        where = fields.split(" ")[4]
        if kind == "cgroup2":
            controllers = Path(where, "cgroup.controllers").read_text(encoding="ascii").split()
            v2 = f"v2 at {where} ({' '.join(controllers) or 'no controllers'})"
        elif kind == "cgroup":
            v1.update(option for option in options.split(",") if option not in {"rw", "ro"})
    return v2 + (f", v1 {' '.join(sorted(v1))}" if v1 else "")


def _file_system(name: str) -> str:
    known = Path("/proc/filesystems").read_text(encoding="ascii").split()
    return "here" if name in known else "missing"
