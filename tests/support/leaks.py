"""The leak guard: what a test must not leave behind, of supervisors that live on after it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

from support import daemon, proc
from support.forms import within

PATIENCE = within(5.0)
"""Seconds for what a supervisor does after it answered: deleting files, closing descriptors."""

NFT = shutil.which("nft")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What there is: things by name, with how many of each."""

    things: Counter[str]

    def new_since(self, before: Snapshot) -> list[str]:
        """Return what is here and was not there before."""
        return sorted((self.things - before.things).elements())


def snapshot() -> Snapshot:
    """Look at everything that could be left behind."""
    # Not /sys/class/net: it shows the network of who mounted it.
    things = Counter(f"link {name}" for _, name in socket.if_nameindex())
    things.update(f"nft {line.strip()}" for line in _nft_lines())
    things.update(f"zombie {each}" for each in _zombies(os.getpid()))
    for each in daemon.living:
        things.update(_of_daemon(each))
    return Snapshot(things=things)


def wait_clean(before: Snapshot) -> list[str]:
    """Return what is left compared with before, after giving it a moment to go."""
    deadline = time.monotonic() + PATIENCE
    while (left := snapshot().new_since(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _of_daemon(each: daemon.Daemon) -> Counter[str]:
    things: Counter[str] = Counter()
    launcher = each.launcher_pid
    for process in proc.descendants(each.pid, launcher):
        # Not the launcher's workers: another one may be there, with or without what it keeps ready.
        if process.name.startswith("wherryd") and process.parent != launcher:
            kinds = proc.descriptors(process.pid)
            # sqlite keeps what a checkpoint closes for the next one: closing would drop its locks.
            kinds.pop(f"{each.state_dir}/state.db", None)
            things.update({f"descriptor {kind} of {process.name}": count for kind, count in kinds.items()})
    things.update(f"zombie {one}" for one in _zombies(each.pid, launcher))
    # Not the supervisor's own: one is made in a hierarchy when the first container needs it.
    ours = daemon.cgroups_below(each.cgroup)
    things.update(f"cgroup {path}" for path in ours if path.name != each.cgroup.name)
    things.update(f"mount {line}" for line in daemon.mounts(each.root))
    # Not the trash: it is emptied for many at once, and Daemon.close waits for that.
    for folder in ("containers", "volumes"):
        things.update(f"directory {path}" for path in daemon.entries(each.state_dir / folder))
    return things


def _zombies(*parents: int) -> list[proc.Process]:
    return [each for each in proc.everyone() if each.state == "Z" and each.parent in parents]


def _nft_lines() -> list[str]:
    if NFT is None:
        return []
    command = [NFT, "--stateless", "list", "ruleset"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.splitlines()
