"""The worker's walls, seen from inside: what a takeover of the extractor could reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import errno, json, os, socket, sys
from wherryd.images.confine import confine
before = os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/mnt")
keep = os.open("/proc/self", os.O_RDONLY)
status = os.open("/proc/thread-self/status", os.O_RDONLY)
confine(sys.argv[1])
def attempt(function, *args):
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
lines = [line.split(":\\t") for line in os.pread(status, 1 << 16, 0).decode().splitlines()]
print(json.dumps({
    "root": sorted(os.listdir("/")), "above": sorted(os.listdir("/../..")), "cwd": os.getcwd(),
    "host": attempt(os.open, "/etc/passwd", os.O_RDONLY),
    "mknod": attempt(os.mknod, "/null", 0o20666, os.makedev(1, 3)),
    "mount": attempt(os.chroot, "/"),
    "setuid": attempt(os.setuid, 1000),
    "interfaces": [name for _, name in socket.if_nameindex()],
    "connect": attempt(socket.socket().connect, ("127.0.0.1", 9)),
    "write": attempt(os.mkdir, "/made", 0o4777), "umask": os.umask(0),
    "status": dict(line for line in lines if len(line) == 2),
}))
"""


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("layer")
    done = subprocess.run([sys.executable, "-c", PROBE, folder], check=True, capture_output=True)
    result: dict[str, object] = json.loads(done.stdout)
    assert os.listdir(folder) == ["made"]
    return {**result, "folder": str(folder)}


def test_only_the_layer_is_there(inside: dict[str, object]) -> None:
    """Its root is the empty folder; nothing lies above, and the host's files have no name."""
    assert inside["root"] == inside["above"] == []
    assert inside["cwd"] == "/"
    assert inside["host"] == "ENOENT"
    assert (inside["write"], inside["umask"]) == ("done", 0)


def test_no_network(inside: dict[str, object]) -> None:
    """Not even the host's loopback."""
    assert inside["interfaces"] == ["lo"]
    assert inside["connect"] == "ENETUNREACH"


def test_few_capabilities_and_no_way_to_more(inside: dict[str, object]) -> None:
    """chown, dac_override, fowner, fsetid and setfcap; no devices, no mounts, no other user."""
    status = inside["status"]
    assert isinstance(status, dict)
    wanted = f"{1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 31:016x}"
    assert (status["CapEff"], status["CapPrm"], status["CapBnd"]) == (wanted, wanted, wanted)
    assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)
    assert status["NoNewPrivs"] == "1"
    assert (inside["mknod"], inside["mount"], inside["setuid"]) == ("EPERM", "EPERM", "EPERM")


def test_host_sees_no_mount_of_it(inside: dict[str, object]) -> None:
    """The bind that became the root never shows outside."""
    folder = inside["folder"]
    assert isinstance(folder, str)
    assert folder not in Path("/proc/self/mountinfo").read_text()
