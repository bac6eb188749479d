"""What a process in a container sees of the machine: namespaces, descriptors, environment, cgroup, mounts."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from inside import mounts_of, run, sh
from support.daemon import Daemon
from support.mounted import mounted
from support.waiting import wait_for

from wherry import RunSpec
from wherry_protocol.run_spec import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherry import ContainerDetails

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")


@contextmanager
def sleeping(daemon: Daemon, image: Path, **spec: Any) -> Iterator[ContainerDetails]:
    """Have a container run while the block does."""
    with daemon.client() as client:
        made = client.run_detached(RunSpec(image=str(image), command=("sleep", "1000"), **spec))
        try:
            yield client.inspect(made.id)
        finally:
            client.remove(made.id, force=True)


def namespaces(pid: int | str | None) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}


# -- namespaces -----


def test_every_namespace_is_its_own(wherryd: Daemon, busybox: Path) -> None:
    """Not the host's, and not another container's."""
    with sleeping(wherryd, busybox) as one, sleeping(wherryd, busybox) as two:
        host, first, second = (namespaces(pid) for pid in ("self", one.pid, two.pid))
    for name in NAMESPACES:
        assert len({host[name], first[name], second[name]}) == 3, f"the {name} namespace is shared"


def test_network_host_shares_the_network_only(wherryd: Daemon, busybox: Path) -> None:
    with sleeping(wherryd, busybox, network="host") as container:
        host, its = namespaces("self"), namespaces(container.pid)
    assert [name for name in NAMESPACES if host[name] == its[name]] == ["net"]


def test_it_is_process_1_and_sees_no_process_of_the_host(wherryd: Daemon, busybox: Path) -> None:
    script = "echo $$; ls /proc | grep -c '^[0-9]'; ls -d /proc/[0-9]*; true"
    mine, count, *_ = sh(wherryd, busybox, script).split()
    assert mine == "1"
    assert int(count) <= 3, "the shell, ls and grep are all there can be"


def test_hostname_is_its_own_and_fixed(wherryd: Daemon, busybox: Path) -> None:
    script = "hostname; cat /etc/hostname; hostname changed 2>&1; hostname"
    lines = sh(wherryd, busybox, script, hostname="inside").splitlines()
    assert lines == ["inside", "inside", "hostname: sethostname: Operation not permitted", "inside"]
    assert socket.gethostname() != "inside"


def test_loopback_is_up_and_all_there_is(wherryd: Daemon, busybox: Path) -> None:
    up_loopback = "0x9"
    assert sh(wherryd, busybox, "ls /sys/class/net; cat /sys/class/net/lo/flags").split() == [
        "lo",
        up_loopback,
    ]
    assert "127.0.0.1" in sh(wherryd, busybox, "ip addr show lo")


def test_the_hosts_abstract_sockets_are_out_of_reach(wherryd: Daemon, busybox: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0wherry-canary")
        listener.listen()
        assert "@wherry-canary" in Path("/proc/net/unix").read_text(encoding="utf-8")
        assert "@" not in sh(wherryd, busybox, "cat /proc/net/unix")


# -- descriptors -----


def open_in(daemon: Daemon, image: Path, **spec: Any) -> dict[str, str]:
    """Return the descriptors of a container's first process: number and what it leads to."""
    with sleeping(daemon, image, **spec) as container:
        folder = f"/proc/{container.pid}/fd"
        # We are told in the middle of its execve(2), which closes one descriptor after the other.
        assert wait_for(lambda: Path(f"/proc/{container.pid}/comm").read_text() == "sleep\n")
        return {number: os.readlink(f"{folder}/{number}") for number in os.listdir(folder)}


@pytest.mark.parametrize("stdin", [False, True])
def test_only_the_standard_streams_are_open(wherryd: Daemon, busybox: Path, *, stdin: bool) -> None:
    found = open_in(wherryd, busybox, stdin=stdin)
    assert set(found) == {"0", "1", "2"}, found
    assert found["0"].startswith("pipe:" if stdin else "/dev/null"), found
    assert all(found[number].startswith("pipe:") for number in "12"), found


def test_a_terminal_is_all_that_is_open(wherryd: Daemon, busybox: Path) -> None:
    assert open_in(wherryd, busybox, tty=True) == dict.fromkeys("012", "/dev/pts/0")


def test_what_the_supervisor_inherited_stays_outside(busybox: Path, ground: Path) -> None:
    """Directories and files that somebody left open for it reach neither launcher nor container."""
    (ground / "secret").write_text("canary")
    daemon = Daemon()
    held = [os.open(ground, os.O_RDONLY), os.open(ground / "secret", os.O_RDWR)]
    daemon.pass_fds = tuple(held)
    try:
        daemon.start()
        inherited = {os.readlink(f"/proc/{daemon.pid}/fd/{number}") for number in held}
        assert inherited == {str(ground), f"{ground}/secret"}, "the supervisor did not even inherit them"
        assert set(open_in(daemon, busybox)) == {"0", "1", "2"}
        launcher = f"/proc/{daemon.launcher_pid}/fd"
        paths = [os.readlink(f"{launcher}/{number}") for number in os.listdir(launcher)]
        assert not [path for path in paths if path.startswith(str(ground))], paths
    finally:
        daemon.close()
        for number in held:
            os.close(number)


# -- environment -----


def environment_of(container: ContainerDetails) -> bytes:
    """Wait for it: an execve closes descriptors, by which it is told, a moment before this is there."""
    file = Path(f"/proc/{container.pid}/environ")
    assert wait_for(file.read_bytes)
    return file.read_bytes().rstrip(b"\0")


@pytest.mark.parametrize(("tty", "names"), [(False, "HOME HOSTNAME PATH"), (True, "HOME HOSTNAME PATH TERM")])
def test_the_environment_is_what_was_given_and_no_more(
    wherryd: Daemon, busybox: Path, names: str, *, tty: bool
) -> None:
    """As the kernel handed it over: a shell adds its own."""
    with sleeping(wherryd, busybox, tty=tty, env={"GIVEN": "1"}) as container:
        entries = environment_of(container).split(b"\0")
    assert sorted(entry.partition(b"=")[0].decode() for entry in entries) == sorted(["GIVEN", *names.split()])


def test_a_thousand_variables_arrive(wherryd: Daemon, busybox: Path) -> None:
    env = {f"V{number}": f"{number}\nsecond line\t" * 3 for number in range(1000)}
    with sleeping(wherryd, busybox, env=env) as container:
        entries = environment_of(container).decode().split("\0")
    found = dict(entry.split("=", 1) for entry in entries)
    assert {key: found.get(key) for key in env} == env


def test_arguments_that_are_too_long_are_a_clear_error(wherryd: Daemon, busybox: Path) -> None:
    """One string of more than 128 KiB is E2BIG (execve(2)); less than that arrives as it is."""
    from wherry import CommandNotExecutable

    assert run(wherryd, busybox, "echo", "x" * 100_000).stdout == b"x" * 100_000 + b"\n"
    with pytest.raises(CommandNotExecutable, match="Argument list too long"):
        run(wherryd, busybox, "echo", "x" * (1 << 17))
    with pytest.raises(CommandNotExecutable, match="Argument list too long"):
        run(wherryd, busybox, "true", env={"BIG": "x" * (1 << 17)})


# -- cgroup -----


def test_its_cgroup_is_the_root_of_what_it_sees(wherryd: Daemon, busybox: Path) -> None:
    own = {line for line in sh(wherryd, busybox, "cat /proc/self/cgroup").splitlines() if line[:2] == "0:"}
    assert own == {"0::/"}
    with sleeping(wherryd, busybox), sleeping(wherryd, busybox):
        listed = sh(wherryd, busybox, "ls /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.procs")
    assert "cgroup.procs" in listed
    assert "wherry" not in listed
    assert not [name for name in listed.split() if len(name) == 64], "it sees the cgroups of others"


def test_its_cgroup_is_read_only(wherryd: Daemon, busybox: Path) -> None:
    writes = [f"echo 1 > cgroup.{file}" for file in ("procs", "freeze", "kill", "max.depth")]
    for attempt in ("mkdir x", *writes):
        result = run(wherryd, busybox, "sh", "-c", attempt, workdir="/sys/fs/cgroup")
        assert result.exit_code == 1, f"{attempt}: {result}"
        assert b"Read-only file system" in result.stderr, f"{attempt}: {result}"


# -- mounts -----


def test_no_mount_of_it_shows_on_the_host(wherryd: Daemon, busybox: Path) -> None:
    before = mounted(wherryd.root)
    with sleeping(wherryd, busybox) as container:
        assert mounted(wherryd.root) == before
        inside = Path(f"/proc/{container.pid}/mountinfo").read_text(encoding="utf-8")
    assert mounted(wherryd.root) == before
    assert " overlay " in inside


def test_its_mounts_are_these_and_private(wherryd: Daemon, busybox: Path) -> None:
    """Nothing of the old root is left, and no mount passes anything on to the host or from it."""
    found = mounts_of(sh(wherryd, busybox, "cat /proc/self/mountinfo"))
    beside = {path for path in found if not path.startswith(("/proc/", "/sys/"))}
    assert beside == {
        "/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue",
        "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    }  # fmt: skip
    assert {path: fields for path, (_, _, fields) in found.items() if fields} == {}, "a mount is not private"


def test_what_it_mounts_from_does_not_tell_of_the_host(wherryd: Daemon, busybox: Path) -> None:
    """The overlay's options name no path of the host's."""
    lines = sh(wherryd, busybox, "cat /proc/self/mountinfo").splitlines()
    (root,) = (line for line in lines if line.split(" ")[4] == "/")
    assert str(wherryd.root) not in root
    assert str(busybox) not in root


def test_the_host_may_unmount_what_a_container_has(wherryd: Daemon, busybox: Path, ground: Path) -> None:
    """Its copy of the mounts does not pin the host's, nor does a later mount of the host's reach it."""
    (ground / "before").mkdir()
    (ground / "after").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", ground / "before"], check=True)
    try:
        with sleeping(wherryd, busybox, volumes=(Volume(source=str(ground), target="/v"),)) as container:
            subprocess.run(["mount", "-t", "tmpfs", "none", ground / "after"], check=True)
            subprocess.run(["umount", ground / "after"], check=True)
            text = Path(f"/proc/{container.pid}/mountinfo").read_text(encoding="utf-8")
            assert {path for path in mounts_of(text) if path.startswith("/v")} == {"/v", "/v/before"}
    finally:
        subprocess.run(["umount", ground / "before"], check=True)
