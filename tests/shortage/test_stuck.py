"""A process that waits in the kernel for a disk, where not even SIGKILL reaches it (state D)."""

from __future__ import annotations

import subprocess
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from shortagekit import one
from support import proc
from support.forms import within
from support.loopdisk import loop_disk
from support.waiting import wait_for

from wherry import Event, KernelFailure, RunSpec
from wherry_protocol.run_spec import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon

WRITER = "cat >/dev/null; while :; do echo x >>/data/file; usleep 1000; done"


@contextmanager
def frozen(mounted: Path) -> Iterator[None]:
    """Have whoever writes to a file system wait, for as long as the block runs (fsfreeze(8))."""
    subprocess.run(["fsfreeze", "--freeze", mounted], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", mounted], check=True)


def told(daemon: Daemon, deed: str, container: str, errors: list[str]) -> None:
    """Have it ended in one of two ways, and note what is told."""
    with daemon.client() as client:
        end = {"stop": partial(client.stop, timeout=0.1), "rm": partial(client.remove, force=True)}[deed]
        with pytest.raises(KernelFailure) as raised:
            end(container)
    errors.append(str(raised.value))


def test_what_is_stuck_is_told_and_ends_by_itself_later(
    fresh_wherryd: Daemon, busybox: Path, tmp_path: Path
) -> None:
    """Whoever ends it is told which process it is, others notice nothing; then it ends, and is told so."""
    with loop_disk(tmp_path) as disk, fresh_wherryd.client() as client:
        volume = Volume(source=str(disk.mounted), target="/data")
        spec = RunSpec(image=str(busybox), command=("sh", "-c", WRITER), stdin=True, volumes=(volume,))
        made = client.run_detached(spec)
        pid = client.inspect(made.id).pid
        assert pid is not None
        with frozen(disk.mounted):
            client.close_stdin(made.id)
            assert wait_for(lambda: (found := proc.process(pid)) and found.state == "D"), "it does not wait"
            errors: list[str] = []
            began = time.monotonic()
            asking = [
                threading.Thread(target=told, args=(fresh_wherryd, deed, made.id, errors))
                for deed in ("stop", "rm")
            ]
            for each in asking:
                each.start()
            slowest = 0.0
            while any(each.is_alive() for each in asking):
                asked = time.monotonic()
                assert client.run(one(busybox)).exit_code == 0
                slowest = max(slowest, time.monotonic() - asked)
            assert time.monotonic() - began < within(9), "it takes long to be told"
            assert slowest < within(2), f"another run took {slowest:.1f} s meanwhile"
            for text in errors:
                assert f"process {pid} (sh) waits in " in text
                assert "\n" not in text
            assert len(errors) == 2
            assert client.inspect(made.id).summary.state == "running"
        assert client.wait(made.id).signal == 9
        events = [each for each in client.events(since=0, until=time.time()) if isinstance(each, Event)]
        assert ("die", made.id) in [(each.action, each.actor) for each in events]
        client.remove(made.id)
