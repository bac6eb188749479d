"""Wrappers of the kernel's interface, against the kernel itself."""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wherryd.kernel import cgroups, features, machine, mount_syscalls, pidfd, syscalls
from wherryd.kernel.capabilities import NUMBERS, last_cap
from wherryd.kernel.errors import KernelError
from wherryd.kernel.hierarchies import find_hierarchies
from wherryd.kernel.mounts import Mount, mountinfo
from wherryd.kernel.namespaces import new_network_namespace
from wherryd.kernel.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


WALL = 0x40000000
"""waitpid(2): also for children without an exit signal."""


@pytest.fixture
def cgroup() -> Iterator[str]:
    path = f"{find_hierarchies().v2}/wherry-test-kernel-{os.getpid()}"
    cgroups.create(path)
    yield path
    cgroups.cgroup_kill(path)
    cgroups.remove(path)


def test_error_says_operation_path_reason_and_hint() -> None:
    error = KernelError("clone3", "/x", errno.EAGAIN)
    assert str(error).startswith("clone3 /x: Resource temporarily unavailable (a limit on processes")
    assert error.errno == errno.EAGAIN


def test_this_machine_has_what_containers_need() -> None:
    assert features.problems() == []


def test_missing_call_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise KernelError("openat2", None, errno.ENOSYS)

    monkeypatch.setattr(features, "_CALLS", (("openat2", "5.6", absent),))
    assert features.problems() == ["no openat2: Linux 5.6 or newer is needed"]


def test_capability_numbers_are_the_kernels() -> None:
    assert max(NUMBERS.values()) >= last_cap() >= NUMBERS["checkpoint_restore"]
    assert (NUMBERS["chown"], NUMBERS["sys_admin"], NUMBERS["setfcap"]) == (0, 21, 31)


def test_mountinfo_line_with_spaces_and_optional_fields() -> None:
    mount = Mount(
        "36 35 98:0 /a\\040b /mnt\\134x rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue"
    )
    assert (mount.root, mount.mountpoint, mount.fstype) == ("/a b", "/mnt\\x", "ext3")
    assert (mount.options, mount.super_options) == (("rw", "noatime"), ("rw", "errors=continue"))


def test_mountinfo_of_this_process_has_its_root() -> None:
    assert [mount for mount in mountinfo() if mount.mountpoint == "/"]


def test_hierarchies_are_found_where_they_are() -> None:
    found = find_hierarchies()
    assert found.v2 is not None
    assert Path(found.v2, "cgroup.procs").exists()
    for controller, path in found.v1.items():
        assert controller in Path("/proc/cgroups").read_text()
        assert Path(path, "tasks").exists()


def test_populated_follows_processes_and_the_event_wakes_once(cgroup: str) -> None:
    assert not cgroups.populated(cgroup)
    events = cgroups.open_events(cgroup)
    with select.epoll() as poll:
        poll.register(events, select.EPOLLPRI)
        poll.poll(0)
        cgroups.read_events(events)
        process = subprocess.Popen(["sleep", "1000"])
        cgroups.write(f"{cgroup}/cgroup.procs", str(process.pid))
        assert poll.poll(5), "no event"
        assert cgroups.read_events(events).populated
        cgroups.cgroup_kill(cgroup)
        process.wait()
        assert poll.poll(5), "no event"
        assert not cgroups.read_events(events).populated
        assert not poll.poll(0.05), "the event does not end by being read"
    os.close(events)


def test_cgroup_with_a_process_cannot_be_removed_and_says_so(cgroup: str) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    cgroups.write(f"{cgroup}/cgroup.procs", str(process.pid))
    with pytest.raises(KernelError, match="processes are still in it"):
        cgroups.remove(cgroup)
    process.kill()
    process.wait()


def test_cgroup_that_is_gone_is_empty_killed_and_removed(cgroup: str) -> None:
    gone = f"{cgroup}/never-there"
    assert not cgroups.populated(gone)
    cgroups.cgroup_kill(gone)
    cgroups.remove(gone)


@pytest.mark.parametrize(("command", "status"), [("exit 7", 7 << 8), ("kill -9 $$", 9)])
def test_exit_of_a_reaped_process_is_read_through_its_pidfd(command: str, status: int) -> None:
    process = subprocess.Popen(["sh", "-c", f"read x; {command}"], stdin=subprocess.PIPE)
    fd = pidfd.pidfd_open(process.pid)
    assert pidfd.exit_status(fd) is None, "it is alive"
    process.communicate(b"\n")
    release = tuple(map(int, os.uname().release.split(".")[:2]))
    assert pidfd.exit_status(fd) == (status if release >= (6, 15) else None)
    os.close(fd)


def test_signal_through_a_pidfd_reaches_the_process() -> None:
    with subprocess.Popen(["sleep", "1000"]) as process:
        fd = pidfd.pidfd_open(process.pid)
        pidfd.pidfd_send_signal(fd, signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM
        with pytest.raises(KernelError) as caught:
            pidfd.pidfd_send_signal(fd, signal.SIGTERM)
        assert caught.value.errno == errno.ESRCH
        os.close(fd)


def test_fresh_network_namespace_leaves_the_thread_where_it_was() -> None:
    seen: list[str] = []

    def work() -> None:
        before = os.readlink("/proc/thread-self/ns/net")
        fd = new_network_namespace()
        seen.extend([before, os.readlink("/proc/thread-self/ns/net"), f"net:[{os.fstat(fd).st_ino}]"])
        os.close(fd)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before, after, fresh = seen
    assert before == after == os.readlink("/proc/self/ns/net")
    assert fresh != before


def test_clone3_starts_inside_the_cgroup(cgroup: str) -> None:
    """The child is this test process's fork, so all that it does is wait on a pipe and end."""
    read, write = os.pipe()
    group = os.open(cgroup, os.O_PATH)
    pid, fd = syscalls.clone3(syscalls.CLONE_INTO_CGROUP, signal.SIGCHLD, group)
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(11)
    assert cgroups.read(f"{cgroup}/cgroup.procs").split() == [str(pid)]
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11
    for each in (read, group, fd):
        os.close(each)


@pytest.fixture(params=["start", "start_copy"])
def outcome(request: pytest.FixtureRequest) -> Callable[[Program], str]:
    """Both ways to start a program: what it says of the call that failed, empty if the command executed."""

    def started(program: Program) -> str:
        namespace = syscalls.CLONE_NEWPID  # as it is meant for
        pid, pidfd = getattr(program, request.param)(namespace, 0)
        os.close(pidfd)
        _pid, status = os.waitpid(pid, WALL)
        failed = program.failure()
        if failed is None:
            return f"exit {os.waitstatus_to_exitcode(status)}"
        step, error = failed
        assert os.waitstatus_to_exitcode(status) == 125
        return f"{step} {error.op} {error.path} {error.errno}"

    return started


def test_program_executes_the_first_that_can_be(outcome: Callable[[Program], str]) -> None:
    program = Program()
    program.execve(["/no/such", "/etc/passwd", "/bin/true"], ("true",), {})
    assert outcome(program) == "exit 0"


def test_a_program_started_again_makes_its_own_calls_again(outcome: Callable[[Program], str]) -> None:
    """Whatever was left of the last time: results, and what a process of then may have written there."""
    program = Program()
    program.step = "where"
    program.chdir("/proc/self/fdinfo")
    program.execve(["/bin/sh"], ("sh", "-c", "exit 6"), {})
    for _ in range(3):
        assert outcome(program) == "exit 6"
        memory = program._memory
        memory[: len(memory)] = b"\xff" * len(memory)


def test_program_stops_at_the_call_that_fails_and_names_it(outcome: Callable[[Program], str]) -> None:
    program = Program()
    program.step = "first"
    program.chdir("/")
    program.step = "second"
    program.chdir("/no/such")
    program.execve(["/bin/true"], ("true",), {})
    assert outcome(program) == f"second chdir /no/such {errno.ENOENT}"


def test_program_tells_denied_before_not_found(outcome: Callable[[Program], str]) -> None:
    program = Program()
    program.step = "exec"
    program.execve(["/no/such", "/etc/passwd", "/no/other"], ("x",), {})
    assert outcome(program) == f"exec execve /etc/passwd {errno.EACCES}"


def test_program_goes_over_a_mount_whose_target_is_not_there(outcome: Callable[[Program], str]) -> None:
    program = Program()
    program.mount("/dev/null", "/no/such/file", "", mount_syscalls.MS_BIND, if_there=True)
    program.execve(["/bin/true"], ("true",), {})
    assert outcome(program) == "exit 0"


def test_a_program_passes_every_byte_on(outcome: Callable[[Program], str]) -> None:
    """Arguments and environment arrive as they were given, whatever is in them, in any number."""
    words = tuple(f"w{number}\udcff ü" for number in range(3000))
    script = "import os, sys; sys.exit(7 if sys.argv[1:] == WORDS and os.environ['K'] == 'a=b' else 1)"
    program = Program()
    command = (sys.executable, "-c", script.replace("WORDS", ascii(list(words))), *words)
    program.execve([sys.executable], command, {"K": "a=b", "EMPTY": ""})
    assert outcome(program) == "exit 7"


@pytest.mark.parametrize(
    ("architecture", "assembler", "objcopy"),
    [
        ("x86_64", ["as", "--64"], "objcopy"),
        ("aarch64", ["aarch64-linux-gnu-as"], "aarch64-linux-gnu-objcopy"),
    ],
)
def test_the_instructions_are_those_of_the_listing(
    architecture: str, assembler: list[str], objcopy: str, tmp_path: Path
) -> None:
    """Nobody has to trust hexadecimal."""
    if shutil.which(assembler[0]) is None:
        pytest.skip(f"{assembler[0]} is missing: apt-get install binutils-aarch64-linux-gnu")
    listing = Path(__file__).parent / "machine" / f"{architecture}.S"
    subprocess.run([*assembler, "-o", tmp_path / "o", listing], check=True)
    subprocess.run([objcopy, "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "bin"], check=True)
    assert machine.CODE[architecture] == (tmp_path / "bin").read_bytes()
