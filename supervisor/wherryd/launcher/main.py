"""Start of the launcher's process. Owns what is set once: title, signals, limits, the listening socket.

Started by `start.py` as `python -I -S -c … RUN_DIR CONNECTION_FD`, and never by hand.
"""

from __future__ import annotations

import _socket
import codecs
import gc
import os
import sys

from wherryd.kernel import failpoints, process
from wherryd.kernel.rlimits import get_rlimit, set_rlimit
from wherryd.kernel.syscalls import signal_default, signalfd, sigprocmask
from wherryd.launcher.loop import Loop
from wherryd.launcher.worker import CONTROL_FD, HOST_FD

_SIGHUP, _SIGINT, _SIGPIPE, _SIGTERM, _SIGCHLD = 1, 2, 13, 15, 17
_BLOCKED = (_SIGHUP, _SIGINT, _SIGPIPE, _SIGTERM, _SIGCHLD)
_LAST_SIGNAL = 64
_BACKLOG = 16


def main() -> None:
    """Serve the supervisor at the other end of the inherited connection, and those that come after it."""
    run_dir, connection = sys.argv[1], int(sys.argv[2])
    codecs.lookup("ascii")  # `open` would import it when it is first needed: our files may be gone by then
    failpoints.arm(os.environ.get(failpoints.VARIABLE))
    process.set_title("wherryd: launcher")
    process.set_undumpable()
    process.set_child_subreaper()
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, _reserve_descriptors(connection))
    sock.setblocking(False)
    nofile = get_rlimit("nofile")
    set_rlimit("nofile", nofile[1], nofile[1])
    path = f"{run_dir}/launcher.sock"
    listener = _listen(path)
    inode = os.stat(path).st_ino
    loop = Loop(listener, _take_signals(), nofile)
    loop.connect(sock)
    # What lives now lives for ever; a collection would touch, and in a child so copy, every page of it.
    gc.freeze()
    loop.run()
    _unlink(run_dir, inode)


def _reserve_descriptors(connection: int) -> int:
    """Move the connection away from the descriptors that a worker uses, and occupy those."""
    moved = os.dup(connection)
    while moved <= HOST_FD:
        moved = os.dup(moved)
    os.closerange(CONTROL_FD, moved)
    for expected in (CONTROL_FD, HOST_FD):
        fd = os.open("/dev/null", os.O_PATH | os.O_CLOEXEC)
        if fd != expected:
            raise RuntimeError(f"descriptor {expected} is taken")
    return moved


def _take_signals() -> int:
    # Dispositions that a parent set to "ignore" would reach every container.
    for signum in range(1, _LAST_SIGNAL + 1):
        signal_default(signum)
    # Blocked, SIGTERM and the like wait for ever: only the last container's end ends us. So does SIGPIPE.
    sigprocmask(*_BLOCKED)
    return signalfd(_SIGCHLD)


def _listen(path: str) -> _socket.socket:
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    listener.setblocking(False)
    fresh = f"{path}.{os.getpid()}"
    os.umask(0o177)
    listener.bind(fresh)
    listener.listen(_BACKLOG)
    os.rename(fresh, path)
    return listener


def _unlink(run_dir: str, inode: int) -> None:
    """Remove our socket, under whichever name it is by now: a younger launcher may have the first one."""
    try:
        for name in os.listdir(run_dir):
            path = f"{run_dir}/{name}"
            if name.startswith("launcher") and os.stat(path).st_ino == inode:
                os.unlink(path)
    except FileNotFoundError:
        return  # the run directory went before us, or the supervisor was faster
