"""A terminal's bytes pass a pipe on their way to the log; the launcher holds that too."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from support.forms import rounds

from wherry import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

KILLS = rounds(short=5, long=10)


def test_killed_supervisor_loses_no_byte_of_a_terminal(fresh_wherryd: Daemon, busybox: Path) -> None:
    """Every numbered line once, in order, over ten kills of the supervisor."""
    chance = random.Random(7)
    line = "echo $i; i=$((i+1)); [ $((i % 50)) = 0 ] && usleep 1000"
    script = f"trap 'echo end; exit' TERM; i=0; while :; do {line}; done"
    spec = RunSpec(image=str(busybox), tty=True, command=("sh", "-c", script))
    with fresh_wherryd.client() as client:
        container = client.run_detached(spec).id
    for _ in range(KILLS):
        with fresh_wherryd.client() as client:
            for _ in range(chance.randrange(20)):
                client.ping()
        fresh_wherryd.kill()
        fresh_wherryd.start()
    with fresh_wherryd.client() as client:
        client.stop(container, timeout=10)
        lines = client.logs(container).decode().split("\r\n")[:-1]
    assert lines.pop() == "end"
    assert len(lines) > 100 * KILLS, "the container hardly ran"
    assert lines == [str(number) for number in range(len(lines))], (
        "a byte of the terminal was lost or doubled"
    )
