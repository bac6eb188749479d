"""Known ways out of a container, each tried: working directories, descriptors, our interpreter, the root."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from inside import Canary, attempt, copy_of, fingerprint, run, sh

from wherry import Volume, WherryError

if TYPE_CHECKING:
    from support.daemon import Daemon

DESCRIPTORS = 32
"""More than any process of ours has open while a container starts."""


def test_a_working_directory_cannot_be_a_descriptor_of_ours(wherryd: Daemon, busybox: Path) -> None:
    """CVE-2024-21626: `-w /proc/self/fd/N`, where N led to a directory of the host's."""
    for number in range(DESCRIPTORS):
        for path in (f"/proc/self/fd/{number}", f"/proc/1/fd/{number}", f"/proc/thread-self/fd/{number}"):
            outcome = attempt(wherryd, busybox, "sh", "-c", "pwd -P; ls -A .", workdir=path)
            assert isinstance(outcome, WherryError), f"{path} is a directory left open: {outcome}"
            assert "cwd" in str(outcome), outcome


ETC = ["group", "hostname", "hosts", "passwd", "resolv.conf"]


@pytest.mark.parametrize("workdir", ["/link", "/link/..", "/link/etc"])
@pytest.mark.parametrize("to", ["/proc/self/fd/{n}", "../proc/self/fd/{n}", "/proc/1/root", "/proc/self/cwd"])
def test_a_working_directory_behind_a_link_stays_inside(
    wherryd: Daemon, busybox: Path, ground: Path, workdir: str, to: str
) -> None:
    image = copy_of(busybox, ground / "image")
    (image / "mark").mkdir()
    for number in range(3, 12) if "{n}" in to else [0]:
        (image / "link").symlink_to(to.format(n=number))
        outcome = attempt(wherryd, image, "/bin/busybox", "ls", "/proc/self/cwd/", workdir=workdir)
        if isinstance(outcome, WherryError):
            assert "cwd" in str(outcome), outcome
        else:
            seen = outcome.stdout.decode().split()
            assert "mark" in seen or seen == ETC, f"{workdir} with {to} leads to {seen}"
        (image / "link").unlink()


def test_a_working_directory_that_is_missing_is_made_inside(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary
) -> None:
    image = copy_of(busybox, ground / "image")
    (image / "link").symlink_to("../" * 30 + str(canary.path).lstrip("/"))
    (image / "there").symlink_to(".")
    with pytest.raises(WherryError, match="cwd"):
        run(wherryd, image, "true", workdir="/link/made")
    assert run(wherryd, image, "/bin/busybox", "pwd", workdir="/there/made").stdout == b"/made\n"
    assert not (image / "made").exists()


INTERPRETER = """
import os, sys
fd = os.open("/proc/self/exe", os.O_RDONLY)
seen = os.fstat(fd)
print(seen.st_dev, seen.st_ino, os.fstatvfs(fd).f_flag & os.ST_RDONLY, flush=True)
os.set_inheritable(fd, True)
os.execv("/bin/sh", ["sh", "-c", f"exec 2>&1; : >> /proc/self/fd/{fd} && echo written"])
"""


@pytest.mark.parametrize("way", ["command", "script", "link"])
def test_our_interpreter_cannot_be_overwritten(wherryd: Daemon, ground: Path, way: str) -> None:
    """CVE-2019-5736: a container starts /proc/self/exe, which is what the launcher runs at that moment.

    The image brings what an interpreter needs. What it gets hold of is ours, but on a read-only mount.
    """
    (ground / "attack.py").write_text(INTERPRETER)
    (ground / "script").write_text("#!/proc/self/exe -S\nimport runpy; runpy.run_path('/v/attack.py')\n")
    (ground / "script").chmod(0o755)
    (ground / "link").symlink_to("/proc/self/exe")
    command = {
        "command": ("/proc/self/exe", "-S", "/v/attack.py"),
        "script": ("/v/script",),
        "link": ("/v/link", "-S", "/v/attack.py"),
    }[way]
    volumes = [Volume(source=str(ground), target="/v")]
    if not sys.base_prefix.startswith("/usr"):
        volumes.append(Volume(source=sys.base_prefix, target=sys.base_prefix, read_only=True))
    env = {"PYTHONHOME": sys.base_prefix}
    result = run(wherryd, "host", *command, env=env, volumes=tuple(volumes))
    lines = result.stdout.decode().splitlines()
    ours = os.stat(sys.executable)
    assert lines[0].split()[:2] == [str(ours.st_dev), str(ours.st_ino)], f"it is no attack: {result}"
    assert lines[0].split()[2] == "1", "our interpreter can be written from a container"
    assert "written" not in lines, result


def test_nothing_above_the_root(wherryd: Daemon, busybox: Path, canary: Canary) -> None:
    """`..` of the root, the root of every process in it, and a chroot in a chroot lead to the same place."""
    script = (
        "stat -L -c %d:%i / /.. /../.. /proc/1/root /proc/self/root /proc/1/cwd | sort -u | wc -l;"
        f"ls -d {canary.path} 2>/dev/null; find / -xdev -name secret; true"
    )
    assert sh(wherryd, busybox, script) == "1\n"


CHROOT = """
mkdir -p /a/b /a/bin && cp /bin/busybox /a/bin && cd /a/b
exec chroot /a /bin/busybox sh -c '
/bin/busybox mkdir c; /bin/busybox chroot c /bin/true 2>/dev/null
cd ../../../../../../../../../..; /bin/busybox ls -d bin b; /bin/busybox ls /proc/1/root 2>&1'
"""


def test_a_chroot_is_no_way_out(wherryd: Daemon, busybox: Path) -> None:
    """sys_chroot is among the capabilities; what it can reach is the container's own."""
    result = run(wherryd, busybox, "sh", "-c", CHROOT)
    assert result.stdout.decode().split()[:2] == ["b", "bin"], result


def test_processes_of_the_host_cannot_be_touched(wherryd: Daemon, busybox: Path) -> None:
    """By number: neither the supervisor nor the launcher has one in there."""
    for pid in (wherryd.pid, wherryd.launcher_pid):
        result = run(wherryd, busybox, "kill", "-0", str(pid))
        assert (result.exit_code, b"No such process" in result.stderr) == (1, True), result


def test_the_hosts_image_is_read_only(wherryd: Daemon) -> None:
    """`host` shows the machine's own /usr: what is done to it stays in the container or is refused."""
    seen = os.lstat("/usr/bin")
    result = run(wherryd, "host", "sh", "-c", "touch /usr/bin/canary; chmod 700 /usr/bin; rm /usr/bin/id")
    assert result.exit_code == 1
    assert result.stderr.count(b"Read-only file system") == 3, result
    assert (os.lstat("/usr/bin").st_mode, os.lstat("/usr/bin").st_mtime) == (seen.st_mode, seen.st_mtime)
    assert not Path("/usr/bin/canary").exists()


def test_what_a_container_writes_never_reaches_its_image(
    wherryd: Daemon, busybox: Path, ground: Path
) -> None:
    image = copy_of(busybox, ground / "image")
    (image / "file").write_text("the image's\n")
    before = fingerprint(image)
    script = (
        "echo x >> /file; rm /etc/passwd; chmod 700 /home; chown 5 /tmp; mkdir /new; cp /bin/busybox /new"
    )
    run(wherryd, image, "/bin/busybox", "sh", "-c", f"/bin/busybox --install /bin; {script}")
    assert fingerprint(image) == before
