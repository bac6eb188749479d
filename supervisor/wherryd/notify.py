"""What we and a service manager tell each other: state, liveness, a socket that is open already.

sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3), sd_booted(3), systemctl(1). All of it does nothing
when there is none.
"""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict
from wherryd import journal

if TYPE_CHECKING:
    from pathlib import Path

FIRST_FD = 3
"""SD_LISTEN_FDS_START."""

BOOTED = "/run/systemd/system"
"""There where systemd is the machine's service manager, be we a service of it or not."""

ANSWER_TIMEOUT = 5.0
"""Seconds for systemd to say whether the machine goes down: it is busy then."""

ANSWER_TRIES = 4
"""How often it is asked: who asks is in our group, and may be ended with all that is there."""


def sd_notify(*states: str) -> None:
    """Send e.g. "READY=1" or "STOPPING=1" to $NOTIFY_SOCKET, all in one message."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.connect(address)
            sock.send("\n".join(states).encode())
    except OSError as error:
        journal.warning("the service manager was not told", state=" ".join(states), error=error)


def tell_reloading() -> None:
    """Say that the settings are being read again; READY=1 is to follow."""
    sd_notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


async def machine_goes_down() -> bool:
    """Say whether we are being stopped because the machine is: shut down, or started again."""
    if not _managed():
        return False
    try:
        with trio.fail_after(ANSWER_TIMEOUT):
            for _ in range(ANSWER_TRIES):
                done = await trio.run_process(
                    ["systemctl", "is-system-running"], capture_stdout=True, capture_stderr=True, check=False
                )
                if done.returncode >= 0:
                    return done.stdout.strip() == b"stopping"
    except FileNotFoundError:
        return False  # the service manager is another one
    except (OSError, trio.TooSlowError) as error:
        journal.warning("whether the machine goes down is not known", error=error)
    return False


def _managed() -> bool:
    return bool(os.environ.get("NOTIFY_SOCKET")) or os.path.isdir(BOOTED)


def watchdog_interval() -> float | None:
    """Return after how many seconds the manager wants to hear of us; None when it does not watch us."""
    period, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not period.isdigit() or int(period) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(period) / 1e6 / 2


async def pet_watchdog(interval: float) -> None:
    """Say that the event loop turns, until cancelled."""
    while True:
        sd_notify("WATCHDOG=1")
        await trio.sleep(interval)


def inherited_socket(path: Path) -> socket.socket | None:
    """Return the socket that listens at `path` and came with us; None when none did. To be called once.

    Raises Conflict for any other one: our clients would not find us there.
    """
    if os.environ.pop("LISTEN_PID", None) != str(os.getpid()):
        return None
    count = os.environ.pop("LISTEN_FDS", "0")
    os.environ.pop("LISTEN_FDNAMES", None)
    if count != "1":
        raise Conflict(f"LISTEN_FDS={count}: one socket is expected", hint=f"listen at {path} only")
    os.set_inheritable(FIRST_FD, False)
    try:
        sock = socket.socket(fileno=FIRST_FD)
    except OSError as error:
        raise Conflict(f"LISTEN_FDS: descriptor {FIRST_FD} is no socket", errno=error.errno) from error
    name = sock.getsockname()
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or name != os.fspath(path):
        sock.close()
        raise Conflict(
            f"the socket that came with us listens at {name!r}, clients look at {path}",
            hint="let the socket unit's ListenStream and the run directory agree",
        )
    sock.setblocking(False)
    return sock
