"""Ten thousand processes that nobody waits for any more, all at once: a container ends, or its init reaps."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.forms import rounds, within
from support.pings import pinging
from support.waiting import wait_for

from wherry import RunSpec
from wherry_protocol.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

    from wherry import Client

COUNT = rounds(short=1000, long=10_000)


@pytest.fixture(scope="session")
def orphans_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory image of one static program."""
    image = tmp_path_factory.mktemp("orphans")
    source = Path(__file__).with_name("orphans.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-static", "-o", image / "orphans", source], check=True)
    return image


@contextmanager
def answered(daemon: Daemon) -> Iterator[None]:
    """Fail unless every ping is answered within a second, meanwhile."""
    with pinging(daemon) as took:
        yield
    print(f"{len(took)} pings, the slowest took {max(took):.3f} s")
    assert max(took) < within(1), f"a ping took {max(took):.2f} s"


def parent(client: Client, image: Path, *words: str, init: bool = False) -> str:
    """Start the program, and wait until it has its children."""
    made = client.run_detached(
        RunSpec(
            image=str(image),
            command=("/orphans", str(COUNT), *words),
            stdin=True,
            init=init,
            stop_timeout=0,
            limits=Limits(pids=COUNT + 50),
        )
    )
    assert wait_for(lambda: client.logs(made.id) == b"up\n", within(60)), client.logs(made.id)
    return made.id


def test_a_first_process_that_leaves_thousands_ends_soon(wherryd: Daemon, orphans_image: Path) -> None:
    """Its end is told when all of them are gone; the supervisor answers meanwhile."""
    with wherryd.client() as client, answered(wherryd):
        container = parent(client, orphans_image)
        began = time.monotonic()
        client.close_stdin(container)
        assert client.wait(container).code == 5
        seconds = time.monotonic() - began
        print(f"{COUNT} orphans: told after {seconds:.2f} s")
        assert seconds < within(10), f"told after {seconds:.1f} s"
        assert wait_for(lambda: not (wherryd.cgroup / container).exists()), "its group is left"
        client.remove(container)


def test_an_init_reaps_thousands_that_end_at_once(wherryd: Daemon, orphans_image: Path) -> None:
    """All of them are its children by then, and gone a moment later; it goes on."""
    with wherryd.client() as client, answered(wherryd):
        container = parent(client, orphans_image, "reaped", init=True)
        pid = client.inspect(container).pid
        children = Path(f"/proc/{pid}/task/{pid}/children")  # zombies, too, which cgroup.procs leaves out
        assert len(children.read_text().split()) == COUNT + 1
        began = time.monotonic()
        client.close_stdin(container)
        assert wait_for(lambda: len(children.read_text().split()) == 1, within(10)), "they are not reaped"
        print(f"{COUNT} zombies: gone after {time.monotonic() - began:.2f} s")
        assert client.stop(container).signal == 9
        client.remove(container)
