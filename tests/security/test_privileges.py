"""What a process in a container may do: capabilities, no_new_privs, setuid files, device nodes."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from inside import CAPABILITIES, copy_of, run, sh, status

from wherry import Tmpfs, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

DEFAULT = sum(1 << number for number in CAPABILITIES.values())
SETUID = """
cp /usr/bin/id {where} && chmod 4755 {where} &&
exec setpriv --reuid=1000 --regid=1000 --clear-groups {where} -u
"""


@pytest.mark.parametrize("network", ["none", "host"])
def test_root_has_exactly_the_default_capabilities(wherryd: Daemon, busybox: Path, network: str) -> None:
    seen = status(run(wherryd, busybox, "cat", "/proc/self/status", network=network).stdout.decode())
    sets = {name: int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert sets == {"CapInh": 0, "CapPrm": DEFAULT, "CapEff": DEFAULT, "CapBnd": DEFAULT, "CapAmb": 0}


def test_another_user_has_no_capability(wherryd: Daemon, busybox: Path) -> None:
    seen = status(run(wherryd, busybox, "cat", "/proc/self/status", user="user").stdout.decode())
    sets = {name: int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert sets == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": DEFAULT, "CapAmb": 0}
    assert seen["Uid"].split() == ["1000"] * 4
    assert seen["Gid"].split() == ["1000"] * 4
    assert seen["Groups"].split() == ["2000"], "the groups of /etc/group, and none of the supervisor's"


def test_root_has_no_group_of_the_supervisors(wherryd: Daemon, busybox: Path) -> None:
    seen = status(run(wherryd, busybox, "cat", "/proc/self/status").stdout.decode())
    assert seen["Groups"] in {"", "0"}, seen["Groups"]


@pytest.mark.parametrize("user", ["", "user"])
def test_no_new_privs_is_set(wherryd: Daemon, busybox: Path, user: str) -> None:
    seen = status(run(wherryd, busybox, "cat", "/proc/self/status", user=user).stdout.decode())
    assert seen["NoNewPrivs"] == "1"


def test_a_setuid_file_gives_nothing(wherryd: Daemon, ground: Path) -> None:
    """The same lines give root to anybody outside of a container."""
    ground.chmod(0o755)
    outside = subprocess.run(
        ["sh", "-c", SETUID.format(where=ground / "id")], check=True, capture_output=True, text=True
    )
    assert outside.stdout == "0\n", "the attack does not even work on the host"
    assert sh(wherryd, "host", SETUID.format(where="/root/../id")) == "1000\n"


def test_signals_of_the_launcher_are_neither_blocked_nor_ignored(wherryd: Daemon, busybox: Path) -> None:
    seen = status(run(wherryd, busybox, "cat", "/proc/self/status").stdout.decode())
    # 32 and 33 are the C library's own, no program can set them by it; one build of Python 3.13 ignores 32.
    others = ~(0b11 << 31)
    assert {name: int(seen[name], 16) & others for name in ("SigBlk", "SigIgn", "SigCgt")} == {
        "SigBlk": 0, "SigIgn": 0, "SigCgt": 0,
    }  # fmt: skip


def test_mknod_fails(wherryd: Daemon, busybox: Path) -> None:
    """Disks, memory, tun: a node of another device would be the device."""
    for node in ("b 8 0", "c 1 1", "c 10 200", "b 254 0"):
        result = run(wherryd, busybox, "mknod", "/tmp/node", *node.split())
        assert result.exit_code == 1, f"{node}: {result}"
        assert b"Operation not permitted" in result.stderr, f"{node}: {result}"


def test_a_device_node_of_the_image_cannot_be_opened(wherryd: Daemon, busybox: Path, ground: Path) -> None:
    """A directory image holds what its owner put there; /dev/zero's numbers, so that nothing is at stake."""
    image = copy_of(busybox, ground / "image")
    os.mknod(image / "node", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    with (image / "node").open("rb") as node:
        assert node.read(1) == b"\0", "the node is none even outside"
    result = run(wherryd, image, "head", "-c", "1", "/node")
    assert (result.exit_code, result.stdout) == (1, b""), "a device of the host's could be read"
    assert b"Permission denied" in result.stderr


@pytest.mark.parametrize("target", ["volume", "tmpfs"])
def test_a_device_node_on_a_volume_cannot_be_opened(
    wherryd: Daemon, busybox: Path, ground: Path, target: str
) -> None:
    (ground / "v").mkdir()
    os.mknod(ground / "v/node", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    spec = {"volumes": (Volume(source=f"{ground}/v", target="/m"),)}
    script = "head -c 1 /m/node | wc -c; exit 0"
    if target == "tmpfs":
        spec = {"tmpfs": (Tmpfs(target="/m"),)}
        script = "grep ' /m ' /proc/mounts | grep -q nodev && echo 0"
    assert sh(wherryd, busybox, script, **spec) == "0\n"
