"""Named points at which a test has one of our processes die, stop, stumble or dawdle. Off unless asked for.

    WHERRY_FAILPOINTS="end.saved=kill;start.cgroup=error:ENOSPC;launcher.exited=stop@2"

    kill          SIGKILL for this very process
    stop          SIGSTOP
    sleep:SECONDS it does nothing else meanwhile
    error:ERRNO   the step fails with it; only where POINTS says so
    @N            at the N-th time only; without it, every time

`python -m wherryd.kernel.failpoints` prints all of them. Must cost nothing when off: `hit` is then a function
without a body. The launcher and its workers get the variable, containers never.
"""

from __future__ import annotations

import errno
import os
import time

from wherryd.kernel.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = "WHERRY_FAILPOINTS"

POINTS = {
    "start.directory": "the container's directory is about to be made (error)",
    "start.cgroup": "its cgroup is about to be made (error)",
    "start.asked": "the launcher was asked to start it",
    "start.recorded": "a new container is on record",
    "start.executing": "its command executes, nothing says so yet",
    "start.answered": "who asked for the start has the answer",
    "stop.signal": "the stop signal was sent",
    "stop.kill": "the time is over, SIGKILL is next",
    "end.exited": "its first process has ended",
    "end.drained": "every byte is in its log",
    "end.saved": "the end is on record, its cgroups are not gone",
    "end.groups": "the cgroups are gone, the launcher holds it still",
    "end.released": "the launcher was told to forget it",
    "exec.join": "an exec is about to be asked for",
    "exec.joined": "it executes, nobody was told",
    "exec.ended": "it has ended, the launcher holds it still",
    "rm.recorded": "the record is gone, the directory is not",
    "rm.trashed": "the directory is in the trash, the launcher may hold something",
    "trash.empty": "the trash is about to be emptied",
    "network.address": "addresses are chosen",
    "network.namespace": "a network namespace with links is made",
    "network.admitted": "the rules let its packets pass",
    "network.published": "published ports are on their way into the rules",
    "network.left": "addresses are given back",
    "network.restore": "a new supervisor is about to mend links and rules",
    "rotate.begin": "a log's piece is full (error)",
    "rotate.linked": "it has its second name, and its index, too (error)",
    "rotate.indexed": "the next piece's index is there, its file is not (error)",
    "rotate.turned": "the log goes on in the next piece",
    "rotate.removed": "the oldest piece is gone (error)",
    "store.begin": "a transaction is about to begin",
    "store.commit": "a transaction is about to be committed",
    "store.committed": "a transaction was committed",
    "recover.loaded": "the database is read, nothing was done about it",
    "recover.swept": "everything was found again, nobody is served yet",
    "launcher.spawn": "the launcher was asked for a container",
    "launcher.ordered": "a worker has the order",
    "launcher.told": "a worker has told how the start went, the supervisor does not know",
    "launcher.exec": "the launcher was asked for an exec",
    "launcher.exited": "a process was reaped, the supervisor does not know",
    "launcher.release": "the launcher is about to forget",
    "launcher.keep": "a new launcher is given what a dead one held",
    "launcher.list": "a new supervisor asks what there is",
    "worker.build": "a worker begins to set a container up (error)",
    "worker.fork": "a worker is about to fork the first process (error)",
    "worker.forked": "a worker has forked it, and told nobody",
    "worker.join": "a worker begins to enter a container (error)",
}


class BadFailpoint(ValueError):  # noqa: N818 - named for what it is
    """A list of fail points cannot be understood."""


class _Armed:
    """What is to happen at one point."""

    def __init__(self, name: str, text: str) -> None:
        action, _, number = text.partition("@")
        kind, _, detail = action.partition(":")
        if name not in POINTS:
            raise BadFailpoint(f"there is no point {name!r}")
        if number and not (number.isascii() and number.isdigit()):
            raise BadFailpoint(f"{name}={text}: expected @NUMBER")
        self.name = name
        self.at = int(number or 0)
        self.hits = 0
        self.act = _action(name, kind, detail)

    def hit(self) -> None:
        """Count, and act when it is time."""
        self.hits += 1
        if self.at in (0, self.hits):
            self.act()


def _action(name: str, kind: str, detail: str) -> Callable[[], None]:
    if kind in ("kill", "stop") and not detail:
        number = 9 if kind == "kill" else 19
        return lambda: os.kill(os.getpid(), number)
    if kind == "sleep":
        try:
            seconds = float(detail)
        except ValueError:
            raise BadFailpoint(f"{name}=sleep:{detail}: expected seconds") from None
        return lambda: time.sleep(seconds)
    refusal = getattr(errno, detail, None) if detail.isidentifier() else None
    if kind == "error" and isinstance(refusal, int) and may_fail(name):
        return lambda: _refuse(name, refusal)
    raise BadFailpoint(
        f"{name}={kind}:{detail}: expected kill, stop, sleep:SECONDS or, where it may, error:ERRNO"
    )


def _refuse(name: str, number: int) -> None:
    raise KernelError("failpoint", name, number)


def may_fail(name: str) -> bool:
    """Say whether a point is one at which the kernel could refuse the step."""
    return POINTS[name].endswith("(error)")


def _nothing(_name: str) -> None:
    """Pass a point by."""


def environment() -> dict[str, str]:
    """Return what a process of ours gets that is to have no environment: the points, if there are."""
    text = os.environ.get(VARIABLE)
    return {VARIABLE: text} if text else {}


hit: Callable[[str], None] = _nothing
"""Pass a point. To be called as `failpoints.hit(NAME)`: `arm` replaces it. Raises KernelError if so asked."""


def arm(text: str | None) -> None:
    """Have happen what a list of points says; None or nothing turns them off. Raises BadFailpoint."""
    global hit  # noqa: PLW0603 - that is what makes it free when off
    hit = _passing(text) if text else _nothing


def _passing(text: str) -> Callable[[str], None]:
    armed: dict[str, _Armed] = {}
    for part in filter(None, text.replace(",", ";").split(";")):
        name, _, what = part.strip().partition("=")
        armed[name] = _Armed(name, what)

    def passing(name: str) -> None:
        found = armed.get(name)
        if found is not None:
            found.hit()

    return passing


if __name__ == "__main__":
    for each, meaning in POINTS.items():
        print(f"{each:<20}{meaning}")  # noqa: T201 - that is what it is run for
