"""Starting a supervisor when none answers.

Owns finding `wherryd` and waiting, within a bound, until it is ready. Must never import it, and
never decide which of two supervisors wins: their lock does.
"""

from __future__ import annotations

import os
import sys

from wherry_protocol.errors import ConnectionFailed
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.settings import Directories

START_TIMEOUT = 30.0
"""Seconds: a supervisor with a thousand containers to take over again needs a few."""


_HELD_EXIT = 3
"""What `wherryd` ends with when another supervisor has its directories."""

_OTHER_TIMEOUT = 5.0
"""Seconds for that other one to answer. If it never does, it serves another run directory: no use to us."""


def autostart_allowed() -> bool:
    """Whether the environment lets a client start a supervisor."""
    return os.environ.get("WHERRY_NO_AUTOSTART", "") in {"", "0"}


def refused(error: ConnectionFailed) -> ConnectionFailed:
    """Return what to raise where there is no supervisor and none may be started."""
    hint = "WHERRY_NO_AUTOSTART is set: start one with 'wherryd'"
    return ConnectionFailed(error.message, hint=hint, errno=error.errno, path=error.path)


def not_started(reason: str | None) -> ConnectionFailed:
    """Return what to raise where a start did not help."""
    if reason:
        return ConnectionFailed(f"the supervisor did not start: {reason}")
    return ConnectionFailed("the supervisor ended at once", hint="run 'wherryd' to see its messages")


def start_supervisor(directories: Directories) -> str | None:
    """Start a supervisor and wait until it is ready; return the reason if it did not come up.

    A reason is no verdict: another client may have started one at the same moment.
    Where another client's start was quicker, it is that supervisor which is waited for.
    Raises ConnectionFailed when there is no `wherryd` to start.
    """
    import subprocess  # 10 ms that only a start pays
    import tempfile

    command = [find_wherryd(), "--detach", "--run-dir", directories.run_dir]
    if directories.state_dir is not None:
        command += ["--state-dir", directories.state_dir]
    # A file, not a pipe: the supervisor lives on and would hold a pipe open.
    with tempfile.TemporaryFile() as said:
        try:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                start_new_session=True, timeout=START_TIMEOUT, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"not ready within {START_TIMEOUT:.0f} s"
        except OSError as error:
            return f"{command[0]}: {error.strerror}"
        said.seek(0)
        if code == 0 or (code == _HELD_EXIT and _answers_soon(directories.socket)):
            return None
        return _reason(said.read(), code)


def _answers_soon(path: str) -> bool:
    """Wait for the supervisor that another client is starting just now; False if there is none."""
    import socket
    import time

    deadline = time.monotonic() + _OTHER_TIMEOUT
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path) == 0:
                return True
        time.sleep(0.02)
    return False


def find_wherryd() -> str:
    """Return the path of `wherryd`: beside this interpreter, else on PATH. Raises ConnectionFailed."""
    beside = os.path.dirname(sys.executable)
    for directory in [beside, *os.get_exec_path()]:
        path = os.path.join(directory, "wherryd")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    raise ConnectionFailed(
        f"no supervisor answers and there is no wherryd in {beside} or on PATH", hint="install wherry"
    )


def _reason(said: bytes, code: int) -> str:
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("wherryd: ") if lines else f"wherryd ended with code {code}"
