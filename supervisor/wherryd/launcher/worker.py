"""A worker: builds one container at a time, in its own memory, and forks its first process.

Long-lived because a fresh fork would pay for every page of the interpreter that it touches. It takes the
namespaces of a container on, makes the root, forks (the child is the launcher's), and goes back to the
host's. It alone waits for the container's files: when they hang, so does it, and nothing else.

    launcher → worker    a plan, with: the status socket, the standard streams, a network namespace if any
                         (join.py has the other kind of order: to enter a container that runs)
                         or PREPARE rooted: make the kit for the next container, while there is time
                         or WAKE: one of them is about to follow
    worker → launcher    one byte, when it is free again: FREE, SPENT without a kit, READY with one that has
                         a root
    worker → status      "executing" pid, or "forked" pid and why it failed, with pidfd and terminal
"""

from __future__ import annotations

import _socket
import errno
import gc
import os
import sys

from wherryd.kernel.errors import KernelError, from_oserror
from wherryd.kernel.program import Program
from wherryd.kernel.rlimits import set_rlimit
from wherryd.kernel.syscalls import close_range, setns, sigprocmask
from wherryd.launcher import wire
from wherryd.launcher.bounding import Bounding
from wherryd.launcher.exec_plan import JOIN, ExecPlan
from wherryd.launcher.job import Job
from wherryd.launcher.join import GroupsGone, Join
from wherryd.launcher.kit import TAKEN_ON, Kit, OwnNetwork, Shape
from wherryd.launcher.oom import OomScore
from wherryd.launcher.plan import Plan
from wherryd.launcher.root import DESCRIPTORS_FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wherryd.launcher.join import Groups


CONTROL_FD = 3
HOST_FD = 4
_FIRST_FD = DESCRIPTORS_FD + 1  # from here on the kit's, and those of the current job
_MAX_FD = (1 << 32) - 1
FREE = b"\x01"
SPENT = b"\x02"
READY = b"\x03"
PREPARE = "prepare"
WAKE = b"\0"


class Worker:
    """The worker's loop. `host` is a pidfd of the launcher: its namespaces are the host's."""

    def __init__(self, control: _socket.socket, host: int) -> None:
        self._control = control
        self._host = host
        self._bounding = Bounding()
        self._oom = OomScore()
        self._model: Plan | None = None
        self._kit: Kit | None = None
        self._network: OwnNetwork | None = None
        self._last_join: tuple[bytes, ExecPlan] | None = None
        self._groups: Groups | None = None

    def run(self) -> None:
        """Serve until the launcher hangs up."""
        while True:
            try:
                self._control.send(self._word())
                request = self._receive()
            except (BrokenPipeError, ConnectionResetError):
                return
            if request is None:
                return
            self._obey(*request)

    def _receive(self) -> tuple[bytes, list[int]] | None:
        while True:
            request = wire.receive_packed(self._control)
            if request is None or request[0] != WAKE:
                return request

    def _word(self) -> bytes:
        if self._kit is not None:
            return READY if self._kit.rooted else FREE
        return SPENT if self._model is not None else FREE

    def _obey(self, data: bytes, fds: list[int]) -> None:
        last = self._last_join
        if last is not None and last[0] == data:
            self._do(Join(last[1], fds, self._oom, self._groups))
            return
        fields, own = wire.opened(data, fds)
        if fields[0] == PREPARE:
            self._prepare(rooted=fields[1])
        elif fields[0] == JOIN:
            plan = ExecPlan.from_wire(fields[1:])
            if own is fds:  # else the plan was elsewhere, in a file
                self._last_join = data, plan
            self._do(Join(plan, own, self._oom, self._groups))
        else:
            self._start(Plan.from_wire(fields), own)

    def _prepare(self, *, rooted: bool) -> None:
        self._groups = None
        model = self._model
        if model is None:
            return
        try:
            if self._network is None and "network" in model.namespaces:
                self._network = OwnNetwork(model, self._host)
            self._kit = Kit(Shape(model), self._host)
            successor = model.root.successor
            # It may be somebody's by now: two that start at once get one each.
            if rooted and successor is not None and os.path.isdir(successor):
                self._kit.make_root(model, successor)
        except OSError as error:
            # The next start makes its own, and says what is wrong.
            self._kit = self._model = None
            setns(self._host, TAKEN_ON)
            if error.errno != errno.ENOENT:  # the image, or the directory, has been removed
                _complain(f"made no kit: {error}")
        self._close_others()

    def _start(self, plan: Plan, fds: list[int]) -> None:
        job = Job(plan, fds, self._oom, self._host)
        if self._kit is not None:
            if self._kit.fits(plan, job.shape):
                job.kit = self._kit
            else:
                self._kit.discard()
        self._kit, self._model = None, plan
        if "network" in plan.namespaces:
            job.network, self._network = self._network, None
        self._do(job)

    def _do(self, job: Job | Join) -> None:
        try:
            try:
                job.build(self._bounding)
            except GroupsGone:
                setns(self._host, job.entered)
                job.build(self._bounding)
        except OSError as error:
            job.status.failed(job.step, from_oserror(error, job.step))
        except Exception as error:  # noqa: BLE001 - a defect of ours is one container's, not the worker's
            job.status.failed(job.step, KernelError("internal", None, 0, f"{type(error).__name__}: {error}"))
        finally:
            setns(self._host, job.entered)
            os.umask(0)
            if self._kit is not None and job.entered & TAKEN_ON:
                self._kit.enter()
            self._groups = job.groups if isinstance(job, Join) else None
            self._close_others()

    def _close_others(self) -> None:
        kept = (self._kit, self._network, self._groups)
        _close_all_but(tuple(fd for each in kept if each is not None for fd in each.fds))


def _close_all_but(kept: tuple[int, ...]) -> None:
    first = _FIRST_FD
    for fd in sorted(kept):
        if fd > first:
            close_range(first, fd - 1, 0)
        first = fd + 1
    close_range(first, _MAX_FD, 0)


def _complain(text: str) -> None:
    print(f"wherryd: worker {os.getpid()} {text}", file=sys.stderr, flush=True)  # noqa: T201 - its journal


def _keep_descriptors() -> None:
    path = "/proc/self/fd"
    folder = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.dup2(folder, DESCRIPTORS_FD, inheritable=False)
    os.close(folder)


def run(control: int, host: int, nofile: tuple[int, int]) -> NoReturn:
    """Be a worker. Runs in a fork of the launcher, whose descriptors end here."""
    try:
        os.dup2(control, CONTROL_FD, inheritable=False)
        os.dup2(host, HOST_FD, inheritable=False)
        close_range(HOST_FD + 1, _MAX_FD, 0)
        _keep_descriptors()
        sigprocmask()
        os.umask(0)
        set_rlimit("nofile", *nofile)
        gc.freeze()
        gc.disable()
        Program.keep_memory()
        Worker(_socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL_FD), HOST_FD).run()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must not run the launcher's loop
        if isinstance(error, KernelError) and (error.op, error.errno) == ("setns", errno.ESRCH):
            os._exit(0)  # the launcher ended while we were busy, and its namespaces are no way back
        _complain(f"ended: {error!r}")
        os._exit(1)
    os._exit(0)
