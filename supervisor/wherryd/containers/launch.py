"""A start on its way: everything that a run needs, made in order and undone in reverse when a step fails.

    directory → cgroup → log → plan → network → launcher → pump

Owns what is made until the command executes; then the run is its supervising task's: see supervise.py.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import Conflict, KernelFailure, NoSpace
from wherryd import journal, no_memory
from wherryd.cgroups.waiting import kill_all, wait_empty
from wherryd.containers import files, joining, warming
from wherryd.containers.container import Run
from wherryd.containers.making import record
from wherryd.containers.start_error import start_error
from wherryd.containers.telling import tell, tell_trouble
from wherryd.kernel import failpoints, inodes
from wherryd.kernel.hints import hint as known_hint
from wherryd.launcher.handle import LOST, UNHELD, SpawnFailed
from wherryd.shortage import until_there_is_some

if TYPE_CHECKING:
    from wherryd.containers.attachment import Attachment
    from wherryd.containers.container import Container
    from wherryd.containers.services import Services
    from wherryd.launcher.handle import Adopted, Asked, Spawned
    from wherryd.launcher.plan import Plan
    from wherryd.network.rules.firewall import Publishing

START_TIMEOUT = 60.0
"""Seconds for the child's set-up; it can hang on a volume whose file system does not answer."""

KILL_TIMEOUT = 5.0
"""Seconds for the processes of a start whose launcher died; what is left then is stuck in the kernel."""


class Launch:
    """One start: what was set up, to be undone in reverse unless the command executes."""

    def __init__(self, container: Container, services: Services) -> None:
        self._container = container
        self._services = services
        self._undo = ExitStack()
        self._plan: Plan | None = None
        self._offset = 0
        self._asked: Asked | None = None
        self._failed: Exception | None = None
        self._network: int | None = None
        self._publishing: Publishing | None = None

    def begin(self) -> None:
        """Set everything up and ask the launcher, in this very step; `finish` is to follow, and tells errors.

        A turn of the event loop earlier than its task could: it is what a start consists of.
        """
        if self._container.readers or warming.is_due(self._container.config):
            return
        try:
            if joining.needs_namespace(self._container):
                self._reserve()
                if not self._join_nowait():
                    return
            plan = self._set_up()
            self._asked = self._services.launcher.ask(plan, self._network)
            os.sched_yield()  # the kernel may have woken the launcher here, behind us: it is waited for
            failpoints.hit("start.asked")
            self._publish()
            self._record()
        except Exception as error:  # noqa: BLE001 - `finish` raises it
            no_memory.ends_us(error)
            self._failed = error

    async def finish(self, attachment: Attachment | None) -> Run:
        """Wait until the command executes, and have its output moved, which an attachment may be waiting for.

        Raises WherryError, and then nothing is left.
        """
        container, services = self._container, self._services
        with self._undo:
            if self._failed is not None:
                if self._asked is not None:
                    await services.launcher.call_off(self._asked)
                raise await services.networks.firewall.explained(self._taken_failure())
            if container.readers:
                await container.readers.wait_gone()
            if self._plan is None and warming.is_due(container.config):
                await warming.warm(container.config)
            if self._plan is None and joining.needs_namespace(container):
                await self._join()
            plan = self._plan or self._set_up()
            self._publish()
            if self._asked is None:
                self._record()
            await self._published()
            spawned = await self._spawned(plan)
            self._undo.pop_all()
        self._let_go()
        if attachment is not None:
            attachment.expect(container.log, self._offset)
        return attach(container, services, spawned, self._offset)

    def _taken_failure(self) -> Exception:
        """Return what `begin` failed with, and keep it no more: what it comes through leads back here."""
        failed, self._failed = self._failed, None
        assert failed is not None  # noqa: S101 - who asks has looked
        return failed

    def _set_up(self) -> Plan:
        container, services = self._container, self._services
        etc = joining.etc_files(container, services)
        taken = files.prepare(container.directory, container.config, etc, services.spares)
        group = services.group_of(container.id)
        self._undo.callback(group.remove)
        group.make(container.config.spec.limits)
        if container.config.spec.limits.memory is not None:
            self._undo.callback(services.oom.forget_start, container)
            services.oom.watch_start(container, group)
        plan = self._plan = services.plan_of(container.id, container.config, taken)
        if journal.debugging():
            journal.debug("plan", id=container.id, plan=plan.describe())
        if not taken.log_ready:
            _open_log(container)
        self._undo.callback(_close_log, container)
        self._offset = 0 if taken.log_ready else container.log.end()
        return plan

    def _join_nowait(self) -> bool:
        """Take a network namespace that is ready; say whether there was one."""
        namespace = joining.join_nowait(self._container, self._services)
        if namespace is not None:
            self._own(namespace)
        return namespace is not None

    async def _join(self) -> None:
        try:
            self._reserve()
        except Conflict as error:
            raise await self._services.networks.firewall.explained(error) from None
        self._own(await joining.join(self._container, self._services))

    def _reserve(self) -> None:
        """Take the ports that are published, before anything is made."""
        if not self._container.ports:
            firewall = self._services.networks.firewall
            firewall.reserve(self._container)
            self._undo.callback(firewall.release, self._container)

    def _publish(self) -> None:
        if self._publishing is None and self._container.ports:
            self._publishing = self._services.networks.firewall.publish_nowait(self._container)

    async def _published(self) -> None:
        """Wait until the published ports are reachable; a start without them is none."""
        try:
            await self._services.networks.firewall.published(self._publishing)
        except BaseException:
            if self._asked is not None:
                await self._services.launcher.call_off(self._asked)
            raise

    def _own(self, namespace: int) -> None:
        self._network = namespace
        self._undo.callback(self._services.networks.detach, self._container)
        self._undo.callback(self._let_go)

    def _let_go(self) -> None:
        """Close the network namespace: the container's processes hold it, or nobody shall."""
        if self._network is not None:
            os.close(self._network)
            self._network = None

    def _record(self) -> None:
        """Put a first run on record, while it is set up: a full disk calls it off long before it executes."""
        if not self._container.recorded:
            record(self._container, self._services)
            failpoints.hit("start.recorded")
        elif self._container.endpoints:
            # A crash must not forget which addresses are taken.
            self._services.records.save(self._container)
            self._services.records.flush()

    async def _spawned(self, plan: Plan) -> Spawned:
        container, launcher = self._container, self._services.launcher
        try:
            with trio.fail_after(START_TIMEOUT):
                if self._asked is not None:
                    return await launcher.answer(self._asked)
                return await launcher.spawn(plan, self._network)
        except SpawnFailed as error:
            if error.step in (LOST, UNHELD):
                await self._end_unknown()
            if error.errno == errno.EROFS and _is_disks_fault(container):
                raise NoSpace(
                    f"container {container.name}: its root is read-only: {os.strerror(errno.ENOSPC)}",
                    hint=f"the disk of {container.directory} has too few inodes left: see 'df -i'",
                    errno=errno.ENOSPC,
                    path=str(container.directory),
                ) from error
            raise start_error(container.name, container.config.args[0], error) from error
        except trio.TooSlowError as error:
            raise KernelFailure(
                f"container {container.name}: its set-up was not done after {START_TIMEOUT:.0f} s",
                hint="does a volume lie on a file system that does not answer?",
            ) from error

    async def _end_unknown(self) -> None:
        """Nobody could tell of a process, or hold it: whatever there is of one is killed."""
        with trio.CancelScope(shield=True), trio.move_on_after(KILL_TIMEOUT) as patience:
            await until_there_is_some("a start that came to nothing", self._kill_all)
        if patience.cancelled_caught:
            cgroup = self._services.cgroup_of(self._container.id)
            journal.error("processes are stuck in the kernel", id=self._container.id, cgroup=cgroup)

    async def _kill_all(self) -> None:
        cgroup = self._services.cgroup_of(self._container.id)
        kill_all(cgroup)
        await wait_empty(cgroup, KILL_TIMEOUT)


def attach(container: Container, services: Services, held: Spawned | Adopted, offset: int) -> Run:
    """Hand the output to the log's pump and return the rest as this run's."""
    log = container.log
    log.continues = True
    log.on_trouble = partial(_on_trouble, container, services)
    log.on_notice = partial(_on_notice, container)
    log.on_dropped = partial(_on_dropped, container, services)
    log.on_full = partial(services.packer.take, container.directory)
    tty = None
    if held.tty is not None and held.stdout is not None and held.staging is not None:
        tty = fcntl.fcntl(held.tty, fcntl.F_DUPFD_CLOEXEC, 3)
        services.pump.attach(log, {1: held.tty}, tty=True, staging=(held.stdout, held.staging))
    else:
        streams = {number: fd for number, fd in ((1, held.stdout), (2, held.stderr)) if fd is not None}
        if not services.pump.attach(log, streams):
            log.silent_at = offset
    container.pid = held.pid
    return Run(pidfd=held.pidfd, log_offset=offset, stdin=held.stdin, tty=tty)


def _is_disks_fault(container: Container) -> bool:
    """Say whether it is the disk that made a root read-only, and no volume that is so."""
    return not container.config.mounts or inodes.used_up(str(container.directory))


def _close_log(container: Container) -> None:
    if not container.log.continues:  # else its followers stay, and whoever tries again closes it
        container.log.close()


def _open_log(container: Container) -> None:
    try:
        container.log.prepare()
    except OSError as error:
        kind = NoSpace if error.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT) else KernelFailure
        raise kind(
            f"log {container.directory / 'log'}: {error.strerror}",
            hint=known_hint("open", error.errno or 0),
            errno=error.errno,
            path=error.filename,
        ) from error


def _on_trouble(container: Container, services: Services, trouble: str | None) -> None:
    container.log_trouble = trouble
    tell_trouble(container, services, trouble)
    if trouble is None:
        journal.info("log is written again", id=container.id, name=container.name)
    else:
        journal.error("log cannot be written", id=container.id, name=container.name, trouble=trouble)


def _on_dropped(container: Container, services: Services, count: int, lines: int) -> None:
    tell(container, services, "log_dropped", {"bytes": str(count), "lines": str(lines)})
    services.records.save(container)
    journal.warning("log was not written", id=container.id, name=container.name, bytes=count, lines=lines)


def _on_notice(container: Container, notice: str) -> None:
    journal.warning("log was changed by somebody", id=container.id, name=container.name, notice=notice)
