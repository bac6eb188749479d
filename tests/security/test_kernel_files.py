"""The kernel's files as a container sees them: /proc and /sys masked and read-only, a /dev of its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from inside import mounts_of, run, sh

if TYPE_CHECKING:
    from support.daemon import Daemon

MASKED = [
    *(
        f"/proc/{name}"
        for name in (
            "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats"
        ).split()
    ),
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
]
READ_ONLY = [f"/proc/{name}" for name in "bus fs irq sys sysrq-trigger".split()]
DEV = "console fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split()
"""With a terminal; `console` is not there without."""


def here(paths: list[str]) -> list[str]:
    found = [path for path in paths if os.path.exists(path)]
    assert found, "this kernel has none of them"
    return found


def test_a_masked_path_says_nothing(wherryd: Daemon, busybox: Path) -> None:
    """Where the kernel has no such file, there must be none in the container either."""
    for path in MASKED:
        script = f"if [ -d {path} ]; then ls -A {path}; else head -c 100 {path}; fi"
        result = run(wherryd, busybox, "sh", "-c", script)
        assert result.stdout == b"", f"{path} tells of the host: {result.stdout!r}"
        missing = b"No such file" in result.stderr
        assert missing is not os.path.exists(path), f"{path}: {result}"


def test_what_is_masked_does_tell_of_the_host(wherryd: Daemon) -> None:
    """Else the test above could not fail."""
    readable = [path for path in here(MASKED) if (os.listdir(path) if os.path.isdir(path) else _head(path))]
    assert {"/proc/interrupts", "/proc/timer_list"} & set(readable), readable


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def test_a_mask_cannot_be_written_through(wherryd: Daemon, busybox: Path) -> None:
    """A masked file is the container's own null device, a masked directory is read-only."""
    for path in here(MASKED):
        script = f"[ -d {path} ] && mkdir {path}/x"
        result = run(wherryd, busybox, "sh", "-c", script)
        assert result.exit_code == 1, result
        if os.path.isdir(path):
            assert b"Read-only file system" in result.stderr, result


SETTINGS = [
    "echo 1 > /proc/sysrq-trigger", "echo x > /proc/sys/kernel/hostname",
    "echo '|/x' > /proc/sys/kernel/core_pattern", "echo 1 > /proc/sys/net/ipv4/ip_forward",
    "echo 0 > /proc/sys/vm/overcommit_memory", "chmod 777 /proc/sys/kernel/core_pattern",
    "echo 1 > /sys/kernel/profiling", "chmod 777 /sys/kernel", "echo 1 > /proc/irq/default_smp_affinity",
]  # fmt: skip


def test_the_kernels_settings_are_read_only(wherryd: Daemon, busybox: Path) -> None:
    here_too = [attempt for attempt in SETTINGS if os.path.exists(attempt.rpartition(" ")[2])]
    assert len(here_too) > len(SETTINGS) // 2, "this kernel has hardly any of them"
    for attempt in ("mkdir /sys/x", *here_too):
        result = run(wherryd, busybox, "sh", "-c", attempt)
        assert result.exit_code != 0, f"{attempt} worked"
        assert b"Read-only file system" in result.stderr, f"{attempt}: {result}"


def test_read_only_paths_are_mounts_of_their_own(wherryd: Daemon, busybox: Path) -> None:
    found = mounts_of(sh(wherryd, busybox, "cat /proc/self/mountinfo"))
    for path in here(READ_ONLY):
        assert {"ro", "nosuid", "nodev", "noexec"} <= found[path][1], (path, found[path])
    for path in (path for path in found if path == "/sys" or path.startswith("/sys/")):
        assert "ro" in found[path][1], (path, found[path])
    for path in ("/proc", "/dev/shm", "/dev/mqueue"):
        assert {"nosuid", "nodev", "noexec"} <= found[path][1], (path, found[path])
    assert {"nosuid", "noexec"} <= found["/dev/pts"][1]
    assert "nosuid" in found["/dev"][1]


def test_none_of_it_can_be_undone(wherryd: Daemon, busybox: Path) -> None:
    """Mounting needs what root in a container has not."""
    mask = here(MASKED)[0]
    for attempt in (
        "umount /proc/sys", f"umount {mask}", "mount -o remount,rw /sys", "mount -t proc proc /tmp",
        "mount --bind / /tmp", "mount -t tmpfs none /tmp", "unshare -m true",
    ):  # fmt: skip
        result = run(wherryd, busybox, *attempt.split())
        assert result.exit_code != 0, attempt
        assert any(word in result.stderr for word in (b"permitted", b"denied", b"Invalid")), result


# -- /dev -----


@pytest.mark.parametrize("tty", [False, True])
def test_dev_holds_exactly_this(wherryd: Daemon, busybox: Path, *, tty: bool) -> None:
    expected = set(DEV) - (set() if tty else {"console"})
    assert set(sh(wherryd, busybox, "ls -A /dev", tty=tty).split()) == expected


def test_device_nodes_are_the_harmless_ones(wherryd: Daemon, busybox: Path) -> None:
    script = "cd /dev && find . -type c -o -type b | while read f; do stat -c '%n %F %t:%T %a' $f; done"
    lines = sh(wherryd, busybox, script).splitlines()
    assert sorted(line.replace("character special file", "c") for line in lines) == [
        "./full c 1:7 666", "./null c 1:3 666", "./pts/ptmx c 5:2 666", "./random c 1:8 666",
        "./tty c 5:0 666", "./urandom c 1:9 666", "./zero c 1:5 666",
    ]  # fmt: skip


def test_its_terminals_are_its_own(wherryd: Daemon, busybox: Path) -> None:
    """A devpts instance of its own: the host's terminals are not in it, nor is another container's."""
    master, slave = os.openpty()
    try:
        assert len(os.listdir("/dev/pts")) > 1, "the host has no terminal to be seen"
        assert sh(wherryd, busybox, "ls /dev/pts").split() == ["ptmx"]
        assert sh(wherryd, busybox, "ls /dev/pts; tty", tty=True).split() == ["0", "ptmx", "/dev/pts/0"]
    finally:
        os.close(master)
        os.close(slave)


def test_a_terminal_is_the_containers_controlling_one(wherryd: Daemon, busybox: Path) -> None:
    """setsid: TIOCSTI or a signal by ctrl-c reaches nobody's terminal but its own."""
    fields = sh(wherryd, busybox, "cat /proc/self/stat", tty=True).rpartition(") ")[2].split()
    session, tty_nr = int(fields[3]), int(fields[4])
    assert session == 1
    assert (os.major(tty_nr), os.minor(tty_nr)) == (136, 0)
    fields = sh(wherryd, busybox, "cat /proc/self/stat").rpartition(") ")[2].split()
    assert (int(fields[3]), int(fields[4])) == (1, 0), "it has a terminal, though none was asked for"


def test_shared_memory_and_queues_are_its_own(wherryd: Daemon, busybox: Path) -> None:
    name = f"wherry-canary-{os.getpid()}"
    canary = Path("/dev/shm", name)
    canary.write_text("the host's", encoding="ascii")
    try:
        script = f"ls -A /dev/shm /dev/mqueue; echo mine > /dev/shm/{name}; cat /dev/shm/{name}"
        assert sh(wherryd, busybox, script).split() == ["/dev/mqueue:", "/dev/shm:", "mine"]
        assert canary.read_text(encoding="ascii") == "the host's"
    finally:
        canary.unlink()
    assert int(sh(wherryd, busybox, "df -k /dev/shm | awk 'NR==2{print $2}'")) == 64 << 10


def test_what_it_does_to_its_null_device_stays_inside(wherryd: Daemon, busybox: Path) -> None:
    """Root owns the node: its mode and its being there are the container's own business."""
    before = os.stat("/dev/null")
    sh(wherryd, busybox, "chmod 600 /dev/null && chown 1000 /dev/null && rm /dev/null")
    sh(wherryd, busybox, "chmod 600 /proc/self/fd/0; chown 1000 /proc/self/fd/0; true")
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert stat.S_ISCHR(after.st_mode)
