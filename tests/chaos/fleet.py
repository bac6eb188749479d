"""The containers of a chaos run, and the account of each: what it wrote, how it was ended, what may be lost.

What may be lost, and nothing else:
    a launcher is killed        nothing: the supervisor has every pipe, and gives it to the next launcher; the
                                kernel tells it each exit (before Linux 6.15 they are unknown)
    another release takes over  nothing: its supervisor asks the launchers of the one before
    launchers and supervisor    what the pipes hold at that moment, and the exits, which are called unknown:
                                the containers are ended, as nobody can take them back
"""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from support.forms import within
from support.ground import TELLS_ORPHANS

from wherry import RunSpec, Volume
from wherry_protocol.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from wherry import Client, ExitStatus

PATIENCE = within(20.0)
PIPE = 1 << 20
MEMORY = 16 << 20
_MASK = (1 << 32) - 1


def checksum(seed: int, number: int) -> int:
    """Do as writer.c does."""
    value = 2166136261 ^ seed
    for shift in range(0, 32, 8):
        value = ((value ^ (number >> shift & 255)) * 16777619) & _MASK
    return value


def pidfds(holder: int) -> set[int]:
    """Return of which processes a process has a pidfd."""
    found: set[int] = set()
    for path in Path(f"/proc/{holder}/fdinfo").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it is closed meanwhile
            found.update(map(int, re.findall(r"^Pid:\t(\d+)$", path.read_text(), re.MULTILINE)))
    return found


@dataclass
class Member:
    """A container. `end` is how we ended it; `orphan`: its launcher died; `lost`: and our supervisor."""

    name: str
    seed: int
    code: int
    count: Path
    pid: int
    pidfd: int
    end: str = ""
    orphan: bool = False
    lost: bool = False

    def send(self, how: str, number: int) -> None:
        """End it."""
        self.end = how
        with suppress(ProcessLookupError):  # it was lost
            signal.pidfd_send_signal(self.pidfd, number)

    @property
    def written(self) -> int:
        """How many lines it has written, maybe one more."""
        return int(struct.unpack("=I", self.count.read_bytes())[0])


@dataclass
class Sums:
    """What a run came to."""

    containers: int = 0
    written: int = 0
    seen: int = 0
    lost_lines: int = 0
    exits: int = 0
    unknown: int = 0
    ooms: int = 0

    def __str__(self) -> str:
        return (
            f"{self.containers} containers; lines: {self.written} written, {self.seen} seen, "
            f"{self.lost_lines} lost with both; "
            f"exits: {self.exits} exact, {self.ooms} of them OOM, {self.unknown} unknown"
        )


@dataclass
class Fleet:
    """All containers; those that are alive, and those that were ended."""

    image: Path
    folder: Path
    random: Random
    alive: list[Member] = field(default_factory=list)
    ended: list[Member] = field(default_factory=list)
    started: int = 0

    def start(self, client: Client) -> None:
        """Start one more."""
        number, self.started = self.started, self.started + 1
        name, seed, code = f"w{number}", self.random.getrandbits(31), self.random.randrange(1, 100)
        count = self.folder / name
        count.write_bytes(bytes(4))
        spec = RunSpec(
            image=os.fspath(self.image),
            command=("/writer", f"/count/{name}", str(seed), str(code)),
            name=name,
            volumes=(Volume(source=os.fspath(self.folder), target="/count"),),
            limits=Limits(memory=MEMORY),
            network="bridge" if number % 2 else "none",
        )
        client.run_detached(spec)
        pid = client.inspect(name).pid
        assert pid is not None, f"{name} ended by itself"
        member = Member(name, seed, code, count, pid, os.pidfd_open(pid))
        self.alive.append(member)
        # The kernel drops a signal that a first process has no handler for yet.
        deadline = time.monotonic() + PATIENCE
        while not member.written:
            assert time.monotonic() < deadline, f"{name} writes nothing"
            time.sleep(0.002)

    def end_one(self) -> None:
        """End one of them in some way."""
        how, number = self.random.choice(
            [("term", signal.SIGTERM), ("kill", signal.SIGKILL), ("oom", signal.SIGUSR1)]
        )
        member = self.alive.pop(self.random.randrange(len(self.alive)))
        member.send(how, number)
        self.ended.append(member)

    def end_all(self) -> None:
        """Ask all to end."""
        for member in self.alive:
            member.send("term", signal.SIGTERM)
        self.ended += self.alive
        self.alive.clear()

    def launcher_died(self) -> None:
        """Note whose parent is gone."""
        for member in (*self.alive, *self.ended):
            member.orphan = True

    def held_by(self, launchers: Iterable[int]) -> bool:
        """Say whether each that is alive is held by one of these processes."""
        held = set[int]().union(*map(pidfds, launchers))
        return held.issuperset(member.pid for member in self.alive)

    def both_died(self) -> None:
        """Note who has nobody left that could take it back."""
        for member in (*self.alive, *self.ended):
            member.lost = True
        self.ended += self.alive
        self.alive.clear()

    def account(self, client: Client, sums: Sums) -> None:
        """Hold every ended one to the promise, and remove it."""
        while self.ended:
            member = self.ended[-1]
            status = client.wait(member.name)
            self._exit(member, status, sums)
            # A follower, who is there until all is in the log: a full disk has an end told before that.
            with client.log_stream(member.name, follow=True) as log:
                self._lines(member, b"".join(output.data for output in log), sums)
            client.remove(member.name)
            member.count.unlink()
            os.close(self.ended.pop().pidfd)
            sums.containers += 1

    def close(self) -> None:
        """Close what is held, after a failure."""
        for member in (*self.alive, *self.ended):
            os.close(member.pidfd)

    @staticmethod
    def _exit(member: Member, status: ExitStatus, sums: Sums) -> None:
        found = (status.code, status.signal)
        if found == (None, None):
            assert member.lost or (member.orphan and not TELLS_ORPHANS), f"{member} ended unseen: {status}"
            sums.unknown += 1
            return
        expected = (member.code, None) if member.end == "term" else (None, signal.SIGKILL)
        assert found == expected, f"{member} ended as {status}"
        assert bool(status.oom_killed) == (member.end == "oom"), f"{member} ended as {status}"
        sums.exits += 1
        sums.ooms += member.end == "oom"

    @staticmethod
    def _lines(member: Member, log: bytes, sums: Sums) -> None:
        lines = log.decode().splitlines(keepends=True)
        written, whole = member.written, member.end == "term" and not member.lost
        if lines and (whole or lines[-1].startswith("end")):
            assert lines.pop() == f"end {written}\n", f"{member}: its last line is lost"
        for number, line in enumerate(lines):
            expected = f"{number} {checksum(member.seed, number):08x}\n"
            if member.lost and number == len(lines) - 1:
                expected = expected[: len(line)]  # what the pipe held from there on went with its readers
            assert line == expected, f"{member}: line {number} of {written} is {line!r}, not {expected!r}"
        missing = max(0, written - len(lines))
        assert len(lines) <= written + 1, f"{member}: {len(lines)} lines of {written}"
        may_miss = PIPE // len("0 00000000\n") if member.lost else 0
        assert missing <= may_miss, f"{member}: {missing} of {written} lines are lost"
        sums.written += max(written, len(lines))
        sums.seen += len(lines)
        sums.lost_lines += missing
