"""Two hundred at once want one name: one gets it, the others are told, nothing is left of their tries."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING

from wherry import Conflict, RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

RACERS = 200


def test_one_of_two_hundred_simultaneous_runs_wins_the_name(wherryd: Daemon, busybox: Path) -> None:
    """Exactly one container; 199 clear conflicts; the name is free after it."""
    start = Barrier(RACERS)
    spec = RunSpec(image=str(busybox), command=("sleep", "1000"), name="coveted", stop_timeout=0)

    def race(_: int) -> str:
        with wherryd.client() as client:
            client.ping()
            start.wait(60)
            try:
                return client.run_detached(spec).id
            except Conflict as error:
                assert "name coveted is taken" in str(error)  # noqa: PT017 - one of two good outcomes
                return ""

    with ThreadPoolExecutor(RACERS) as pool:
        winners = [one for one in pool.map(race, range(RACERS)) if one]
    assert len(winners) == 1, f"{len(winners)} containers got the name"
    with wherryd.client() as client:
        assert [row.id for row in client.list(all=True) if row.name == "coveted"] == winners
        client.remove("coveted", force=True)
        again = client.run(spec.replace(command=("true",), auto_remove=True))
        assert again.exit_code == 0
