"""What wherry costs while it does nothing: memory, wake-ups, and the command line's start."""

from __future__ import annotations

import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from support import proc

from wherry import RunSpec
from wherry_protocol.ports import PublishedPort

if TYPE_CHECKING:
    from support.daemon import Daemon

MIB = 1 << 20
LAUNCHER_PSS = 12 * MIB
SUPERVISOR_PSS = 45 * MIB
PER_CONTAINER = 100 << 10
IDLE_SECONDS = 5
CLI_RATIO = 3.0


def pss(pid: int) -> int:
    """Proportional set size in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)[1]) * 1024


def sleepers(daemon: Daemon, busybox: Path, count: int) -> None:
    with daemon.client() as client:
        for _ in range(count):
            client.run_detached(RunSpec(image=str(busybox), command=("sleep", "1000"), stop_timeout=0))


def networked(daemon: Daemon, busybox: Path) -> None:
    """Have two containers with a published port each: on the default bridge, and on a network with names."""
    with daemon.client() as client:
        client.create_network("lan", ipv6=True)
        for network in ("bridge", "lan"):
            port = PublishedPort(host_port=None, container_port=80)
            client.run_detached(
                RunSpec(
                    image=str(busybox), command=("sleep", "1000"), stop_timeout=0, network=network,
                    ports=(port,),
                )
            )  # fmt: skip


def network_processes(daemon: Daemon) -> list[int]:
    found = [each.pid for each in proc.descendants(daemon.pid) if each.name == "wherryd: networ"]
    assert len(found) == 1, "there is no network process"
    return found


def test_memory_with_no_and_with_a_hundred_containers(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Supervisor at most 45 MiB, launcher at most 12 MiB, at most 100 KiB of ours a container."""
    daemon = fresh_wherryd
    sleepers(daemon, busybox, 3)
    empty = pss(daemon.pid) + pss(daemon.launcher_pid)
    assert pss(daemon.pid) <= SUPERVISOR_PSS
    assert pss(daemon.launcher_pid) <= LAUNCHER_PSS
    sleepers(daemon, busybox, 100)
    assert pss(daemon.pid) <= SUPERVISOR_PSS
    assert pss(daemon.launcher_pid) <= LAUNCHER_PSS
    each = (pss(daemon.pid) + pss(daemon.launcher_pid) - empty) / 100
    assert each <= PER_CONTAINER, f"{each / 1024:.0f} KiB a container"


def test_idle_processes_are_never_woken(fresh_wherryd: Daemon, busybox: Path) -> None:
    """With idle containers, also on networks, no process makes a system call for five seconds."""
    assert shutil.which("strace"), "strace is missing: apt-get install strace"
    sleepers(fresh_wherryd, busybox, 10)
    networked(fresh_wherryd, busybox)
    pids = [fresh_wherryd.pid, fresh_wherryd.launcher_pid, *network_processes(fresh_wherryd)]
    # The state writer and the trash finish what the starts left, and trio's helper threads end after ten
    # seconds without work: what stays are the event loop and the log pump.
    _wait_threads(fresh_wherryd.pid, 2)
    _wait_still(pids)
    attach = [argument for pid in pids for argument in ("-p", str(pid))]
    trace = subprocess.Popen(["strace", "-f", "-q", *attach], stderr=subprocess.PIPE, text=True)
    try:
        trace.wait(IDLE_SECONDS)
    except subprocess.TimeoutExpired:
        trace.send_signal(signal.SIGINT)
    lines = trace.communicate()[1].splitlines()
    # What each thread sleeps in is shown unfinished when strace comes, and again when it goes.
    calls = [
        line for line in lines if not re.search(r"unfinished|detached|resumed|strace:|restart_syscall", line)
    ]
    assert not calls, "\n".join(calls[:20])
    assert lines, "strace saw no process"


def _wait_threads(pid: int, most: int) -> None:
    deadline = time.monotonic() + 30
    while len(list(Path(f"/proc/{pid}/task").iterdir())) > most:
        assert time.monotonic() < deadline, "a helper thread of the supervisor does not end"
        time.sleep(0.1)


def _wait_still(pids: list[int]) -> None:
    def switches() -> list[str]:
        return [
            line
            for pid in pids
            for task in Path(f"/proc/{pid}/task").iterdir()
            for line in (task / "status").read_text().splitlines()
            if line.startswith("voluntary")
        ]

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        before = switches()
        time.sleep(1)
        if switches() == before:
            return
    raise AssertionError("the idle processes keep waking up")


def test_command_line_starts_quickly(fresh_wherryd: Daemon, tmp_path: Path) -> None:
    """`wherry version` takes at most 3 x `python3 -c pass` of the same interpreter."""
    environment = {**fresh_wherryd.environment, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    # An installed wherry has its bytecode; a CI that forbids to write it would measure the compiler.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = str(Path(sys.executable).with_name("wherry"))
    _seconds([command, "version"], environment)
    ours, bare = [], []
    for _ in range(25):
        ours.append(_seconds([command, "version"], environment))
        bare.append(_seconds([sys.executable, "-c", "pass"], environment))
    ratio = statistics.median(ours) / statistics.median(bare)
    assert ratio <= CLI_RATIO, f"wherry version takes {ratio:.2f} x python3 -c pass"


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
