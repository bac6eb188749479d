"""Starting a launcher that is nobody's child, and connecting to one that runs. Supervisor side.

Which of them is there and which is to be started is found out in finding.py.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgpack  # type: ignore[import-untyped]  # it has no types

import wherryd
from wherryd.kernel import failpoints

_TIMEOUT = 20.0  # seconds; a start takes 0.05, on a machine that swaps much longer
_ROOTS = tuple(dict.fromkeys(str(Path(module.__file__ or "").parent.parent) for module in (wherryd, msgpack)))


class LauncherUnavailable(Exception):  # noqa: N818 - as trio names its own: what happened
    """A launcher could not be started, or one cannot be talked to. One line, for a person."""


def _program(module: str) -> str:
    # Neither site-packages' .pth files nor the environment have a say in what runs as root: -I -S.
    return f"import sys; sys.path += {list(_ROOTS)!r}; from wherryd.launcher.{module} import main; main()"


def connect(path: Path) -> socket.socket | None:
    """Return a connection to the launcher that listens at a path; None if there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    try:
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED):
            return None
        raise
    return sock


def start(run_dir: Path) -> socket.socket:
    """Start a launcher and return a connection to it. Blocks for some 50 ms. Raises LauncherUnavailable."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-I", "-S", "-c", _program("detach"), _program("main")]
        try:
            subprocess.run(
                [*command, str(run_dir), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=failpoints.environment(),
                check=True,
                timeout=_TIMEOUT,
            )
        except (OSError, subprocess.SubprocessError) as error:
            ours.close()
            raise LauncherUnavailable(f"cannot start the launcher: {error}") from error
    ours.setblocking(False)
    os.set_inheritable(ours.fileno(), False)
    return ours
