"""Ways out, or up, that lead through exec: a hostile container runs already when we enter it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.waiting import wait_for

from wherry import RunSpec, Volume, WherryError

if TYPE_CHECKING:
    from support.daemon import Daemon

DESCRIPTORS = 32
"""More than any process of ours has open while it enters a container."""


def start(daemon: Daemon, image: Path | str, *command: str, **spec: object) -> None:
    """Start the container `c`."""
    with daemon.client() as client:
        made = RunSpec(image=str(image), command=command or ("sleep", "1000"), name="c", **spec)  # type: ignore[arg-type]  # its fields
        client.run_detached(made)


def test_a_working_directory_cannot_be_a_descriptor_of_ours(wherryd: Daemon, busybox: Path) -> None:
    """CVE-2024-21626."""
    start(wherryd, busybox)
    with wherryd.client() as client:
        for number in range(DESCRIPTORS):
            for path in (f"/proc/self/fd/{number}", f"/proc/thread-self/fd/{number}", f"/proc/1/fd/{number}"):
                with pytest.raises(WherryError, match="cwd"):
                    client.exec("c", ["ls", "-A", "."], workdir=path)


def test_a_command_gets_three_descriptors_and_no_more(wherryd: Daemon, busybox: Path) -> None:
    start(wherryd, busybox)
    with wherryd.client() as client:
        for tty in (False, True):
            shown = client.exec("c", ["sh", "-c", "echo /proc/self/fd/*"], tty=tty).stdout.decode()
            numbers = {int(Path(path).name) for path in shown.split()}
            # The fourth is the directory itself, which the shell has open while it reads it.
            assert {0, 1, 2} <= numbers, shown
            assert len(numbers) <= 4, f"something of ours is open: {shown}"


INTERPRETER = """
import os
fd = os.open("/proc/self/exe", os.O_RDONLY)
seen = os.fstat(fd)
print(seen.st_dev, seen.st_ino, os.fstatvfs(fd).f_flag & os.ST_RDONLY, flush=True)
os.set_inheritable(fd, True)
os.execv("/bin/sh", ["sh", "-c", f"exec 2>&1; : >> /proc/self/fd/{fd} && echo written"])
"""


def test_our_interpreter_cannot_be_overwritten(wherryd: Daemon, tmp_path: Path) -> None:
    """CVE-2019-5736: exec of /proc/self/exe, which is what enters the container at that moment."""
    (tmp_path / "attack.py").write_text(INTERPRETER)
    volumes = [Volume(source=str(tmp_path), target="/v")]
    if not sys.base_prefix.startswith("/usr"):
        volumes.append(Volume(source=sys.base_prefix, target=sys.base_prefix, read_only=True))
    start(wherryd, "host", volumes=tuple(volumes), env={"PYTHONHOME": sys.base_prefix})
    with wherryd.client() as client:
        result = client.exec("c", ["/proc/self/exe", "-S", "/v/attack.py"])
    lines = result.stdout.decode().splitlines()
    ours = os.stat(sys.executable)
    assert lines[0].split()[:2] == [str(ours.st_dev), str(ours.st_ino)], f"it is no attack: {result}"
    assert lines[0].split()[2] == "1", "our interpreter can be written from a container"
    assert "written" not in lines, result


WATCH = """
echo ready
while [ ! -e /stop ]; do
    for p in /proc/[0-9]*; do
        [ $p = /proc/1 ] && continue
        ls -l $p/exe $p/cwd $p/root $p/fd/ 2>/dev/null
        cat $p/environ 2>/dev/null
    done >> /seen
done
exec sleep 1000
"""


def test_who_enters_shows_nothing_to_who_is_inside(wherryd: Daemon, busybox: Path) -> None:
    """CVE-2016-9962: between its fork and its command, nobody may look into what enters, nor trace it."""
    start(wherryd, busybox, "sh", "-c", WATCH)
    with wherryd.client() as client:
        for _ in range(300):
            client.exec("c", ["true"], env={"SECRET": "x"}).check()

        def look() -> bytes:
            return client.exec("c", ["cat", "/seen"]).stdout

        with client.popen("c", ["cat"], stdin=-1):  # which lasts, and is no secret
            assert wait_for(lambda: b"/bin/busybox" in look()), "it saw nothing at all"
        # To look is to enter, too: sooner or later it meets one of us, and reads no link of it.
        assert wait_for(lambda: re.search(rb"/proc/\d+/exe\n", look())), "it met nobody who entered"
        client.exec("c", ["touch", "/stop"]).check()
        seen = look()
    for ours in (sys.executable.encode(), b"python", b"wherry", b"pidfd", b"memfd", b"cgroup"):
        assert ours not in seen, f"{ours.decode()} is visible from inside"


@pytest.mark.parametrize(
    "user", ["4294967296", "-1", "+0", "root\n", "0x0", "missing", "root:missing", ":", "0 0"]
)
def test_a_user_is_exact_or_refused(wherryd: Daemon, busybox: Path, user: str) -> None:
    start(wherryd, busybox)
    with wherryd.client() as client, pytest.raises(WherryError, match="user"):
        client.exec("c", ["id"], user=user)


def test_another_user_has_no_capability_and_gains_none(wherryd: Daemon, busybox: Path) -> None:
    start(wherryd, busybox)
    with wherryd.client() as client:
        shown = client.exec(
            "c", ["grep", "-E", "Cap(Eff|Prm|Amb|Inh)|NoNewPrivs", "/proc/self/status"], user="user"
        )
    values = dict(line.split(":\t") for line in shown.stdout.decode().splitlines())
    assert values.pop("NoNewPrivs") == "1"
    assert {int(value, 16) for value in values.values()} == {0}


@pytest.mark.parametrize(
    "spoiled",
    [
        "rm /dev/null; mkfifo /dev/null",
        "rm /dev/null; ln -s /proc/1/mem /dev/null",
        "rm /dev/null; echo > /dev/null",
    ],
)
def test_a_container_without_its_null_holds_nobody_up(wherryd: Daemon, busybox: Path, spoiled: str) -> None:
    start(wherryd, busybox, "sh", "-c", f"{spoiled}; exec sleep 1000")
    with wherryd.client() as client:
        while client.exec("c", ["readlink", "/proc/1/exe"], input=b"").stdout != b"/bin/busybox\n" or (
            client.top("c")[0].comm != "sleep"
        ):
            pass
        with pytest.raises(WherryError, match="/dev/null"):
            client.exec("c", ["true"])


def test_a_hostile_users_file_holds_nobody_up(wherryd: Daemon, busybox: Path) -> None:
    start(wherryd, busybox, "sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd; exec sleep 1000")
    with wherryd.client() as client:
        while client.top("c")[0].comm != "sleep":
            pass
        with pytest.raises(WherryError, match="not a regular file"):
            client.exec("c", ["true"], user="user")
