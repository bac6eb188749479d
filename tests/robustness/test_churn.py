"""Whatever lives and dies, for as long as one likes, leaves the supervisor as it was (long: two hours)."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pytest
from lives import TAKEN, live
from rig import anonymous, descriptors, rss, wait_for
from support import proc
from support.daemon import cgroups_below
from support.forms import LONG, rounds

from wherry import RunSpec
from wherry.errors import KernelFailure

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Client

SECONDS = rounds(short=6, long=7200)
PAUSE = 0.3 if LONG else 0.0
"""Seconds between two turns: who has two hours has other things to do on the machine."""

SETTLED = 0.25
"""The part of the time after which all that is kept for reuse is there, and the window of events is full."""


@dataclass(frozen=True)
class Held:
    """What the supervisor, its launcher and its network process hold."""

    descriptors: tuple[int, ...]
    cgroups: int
    links: int
    rules: int
    files: int

    @classmethod
    def at_rest(cls, daemon: Daemon, pids: tuple[int, ...]) -> Held:
        """Wait until what is made ahead is made and what is thrown away is gone."""
        before = cls.now(daemon, pids)
        for _ in range(40):
            time.sleep(0.3)
            if (after := cls.now(daemon, pids)) == before:
                return after
            before = after
        raise AssertionError(f"it never comes to rest: {before}")

    @classmethod
    def now(cls, daemon: Daemon, pids: tuple[int, ...]) -> Held:
        """Count it, in the middle of whatever it does."""
        rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, check=True).stdout
        return cls(
            descriptors=tuple(map(descriptors, pids)),
            cgroups=len(cgroups_below(daemon.cgroup)),
            links=len(daemon.links()),
            rules=rules.count(b"\n"),
            files=sum(len(names) + len(folders) for _, folders, names in os.walk(daemon.root)),
        )

    def beyond(self, other: Held) -> dict[str, tuple[object, object]]:
        """Return what there is more of."""
        both = {field.name: (getattr(other, field.name), getattr(self, field.name)) for field in fields(self)}
        return {name: (before, after) for name, (before, after) in both.items() if after > before}


def clean(client: Client, kept: str) -> bool:
    """Remove what a turn has left that was interrupted: where others write, an end may wait for the disk."""
    try:
        for container in client.list(all=True):
            if container.id != kept:
                client.remove(container.id, force=True)
        if any(network.name == "lan" for network in client.networks()):
            client.remove_network("lan")
    except KernelFailure:
        return False
    return True


@pytest.mark.timeout(SECONDS + 120)
def test_what_lives_and_dies_leaves_the_supervisor_as_it_was(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Descriptors, cgroups, links, rules and files; and the memory, when there is time to judge it."""
    daemon, turns, stuck = fresh_wherryd, 0, 0
    with daemon.client() as client:
        spec = RunSpec(image=os.fspath(busybox), command=("sleep", "100000"))
        keep = client.run_detached(spec.replace(network="bridge", ports=(TAKEN,)))
        network = next(each.pid for each in proc.descendants(daemon.pid) if each.name == "wherryd: networ")
        pids = (daemon.pid, daemon.launcher_pid, network)

        def churn(until: float) -> None:
            nonlocal turns, stuck
            while time.monotonic() < until:
                try:
                    live(client, busybox)
                except KernelFailure as error:
                    assert "stuck in the kernel" in str(error)  # noqa: PT017 - it hardly ever is
                    stuck += 1
                    wait_for(lambda: clean(client, keep.id))
                turns += 1
                time.sleep(PAUSE)

        began = time.monotonic()
        churn(began + SECONDS * SETTLED)
        held, memory = Held.at_rest(daemon, pids), [*map(rss, pids)]
        own = [*map(anonymous, pids)]
        print(f"settled after {turns} turns: {held}, {memory} KiB, {own} their own", flush=True)
        churn(began + SECONDS)
        left, now = Held.at_rest(daemon, pids), [*map(anonymous, pids)]
        print(
            f"{time.monotonic() - began:.0f} s, {turns} turns, {stuck} stuck: {left}, "
            f"{[*map(rss, pids)]} KiB, {now} their own",
            flush=True,
        )
    assert not left.beyond(held), left.beyond(held)
    if LONG:
        grown = [after - before for before, after in zip(own, now, strict=True)]
        assert all(more <= size * 0.05 for more, size in zip(grown, memory, strict=True)), (memory, own, now)
