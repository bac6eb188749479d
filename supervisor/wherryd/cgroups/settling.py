"""Limits of a container that runs, changed: all of them, or, when the kernel refuses one, none.

Blocks: the kernel may have to free memory, or wait until processes are where they shall be. For a thread.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict, KernelFailure
from wherryd.cgroups.lifting import default_of, lifts, size_of
from wherryd.cgroups.limits import controllers_of
from wherryd.kernel import cgroups
from wherryd.kernel.errors import KernelError
from wherryd.kernel.procfs import cgroup_pids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wherry_protocol.limits import Limits
    from wherryd.cgroups.group import Group
    from wherryd.cgroups.limits import Write

_TRIES = 3

_ROUNDS = 50
"""How often to look for processes that were forked while others were moved."""


def change(group: Group, old: Limits, new: Limits) -> Callable[[], None]:
    """Bound a running container anew; return what undoes it.

    Raises Conflict (more is in use than it may have then), KernelFailure, KernelError, Unsupported; then
    nothing is changed. One that ends meanwhile has no groups any more: that is an error, too.
    """
    change_ = _Change(group)
    try:
        change_.apply(old, new)
    except BaseException:
        change_.undo()
        raise
    return change_.undo


class _Change:
    """What was written and made so far."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._written: list[tuple[str, str]] = []
        self._made: list[str] = []

    def apply(self, old: Limits, new: Limits) -> None:
        group = self._group
        joined = group.to_join(old)
        self._made = [path for path in group.to_join(new) if path not in joined]
        group.add([name for name in controllers_of(new) if name not in controllers_of(old)])
        before, after = group.writes(old), group.writes(new)
        changed = [write for write in after if write not in before]
        for write in self._ordered([*changed, *lifts(before, after)]):
            self._write(write)
        for path in self._made:
            _gather(group.v2, path)

    def _ordered(self, writes: list[Write]) -> list[Write]:
        """Put v1's limit of memory and swap first where it grows: it may never be below that of memory."""
        files = {write.file: write for write in writes}
        memory, both = files.get("memory.limit_in_bytes"), files.get("memory.memsw.limit_in_bytes")
        found = self._group.path_of("memory")
        if memory is None or both is None or found is None:
            return writes
        path = f"{found[0]}/{both.file}"
        if size_of(memory.text) <= int(_read_if_there(path) or 0):
            return writes
        return [both, *(write for write in writes if write is not both)]

    def _write(self, write: Write) -> None:
        if write.file == "memory.max":
            self._make_room(write)
        before = {path: cgroups.read(path) for path in self._group.files_of(write)}
        self._write_or_say_why(write)
        self._written += [(path, _restoring(write, text)) for path, text in before.items()]

    def _write_or_say_why(self, write: Write) -> None:
        for _ in range(_TRIES):
            try:
                self._group.write(write)
            except KernelFailure as error:
                if error.errno != errno.EBUSY or write.controller != "memory":
                    raise
            else:
                return
            if _used(self._group) > size_of(write.text):
                break  # else what v1 freed by this try was enough
        raise _in_use(write, _used(self._group))

    def _make_room(self, write: Write) -> None:
        """Have the kernel free what it can: v2 would kill processes rather than refuse a limit below use."""
        found = self._group.path_of("memory")
        if found is None or _used(self._group) <= size_of(write.text):
            return
        high = f"{found[0]}/memory.high"
        before = cgroups.read(high)
        cgroups.write(high, write.text)
        try:
            used = _used(self._group)
        finally:
            cgroups.write(high, before.strip())
        if used > int(write.text):
            raise _in_use(write, used)

    def undo(self) -> None:
        """Write what was there; leave groups that were made, and are not needed, to the container's end."""
        for path, text in reversed(self._written):
            try:
                cgroups.write(path, text)
            except KernelError as error:
                if error.errno not in cgroups.GONE:
                    raise KernelFailure(str(error), errno=error.errno, path=path) from error
        self._written.clear()


def _restoring(write: Write, before: str) -> str:
    """Return what to write to have a file say again what it said."""
    if not write.file.startswith(("io.max", "blkio.throttle")):
        return before.strip() or "\n"
    number = write.text.partition(" ")[0]
    for line in before.splitlines():
        if line.startswith(f"{number} "):
            return line
    return default_of(write)


def _used(group: Group) -> int:
    found = group.path_of("memory")
    if found is None:
        return 0
    path, version = found
    file = "memory.usage_in_bytes" if version == 1 else "memory.current"
    return int(_read_if_there(f"{path}/{file}") or 0)


def _in_use(write: Write, used: int) -> Conflict:
    return Conflict(
        f"memory limit {write.text} bytes is below the {used} bytes that the container uses now, "
        "and the kernel cannot free them",
        hint="nothing was changed; stop some of its processes first, or choose a higher limit",
    )


def _read_if_there(path: str) -> str | None:
    try:
        return cgroups.read(path)
    except KernelError as error:
        if error.errno in cgroups.GONE:
            return None
        raise


def _gather(source: Path, target: str) -> None:
    """Move the processes of the v2 group into a v1 group, and those they fork meanwhile."""
    for _ in range(_ROUNDS):
        there = set(cgroup_pids(target))
        missing = [pid for pid in cgroup_pids(str(source)) if pid not in there]
        if not missing:
            return
        for pid in missing:
            try:
                cgroups.write(f"{target}/cgroup.procs", str(pid))
            except KernelError as error:
                if error.errno != errno.ESRCH:
                    raise KernelFailure(str(error), errno=error.errno, path=target) from error
    raise KernelFailure(
        f"cgroup {target}: processes are forked faster than they can be moved there",
        hint="pause the container first",
        path=target,
    )
