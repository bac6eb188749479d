"""The state database lost, and what the launcher or a stranger has of it: nobody is killed for that."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import zlib
from typing import TYPE_CHECKING

from wherry import RunSpec

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def forge_running(path: Path, pid: int) -> None:
    """Let the database say that its container runs as a process."""
    status = {"phase": "running", "created_at": 1.0, "started_at": 2.0, "finished_at": None, "exit": None}
    text = json.dumps({**status, "pid": pid})
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "UPDATE containers SET status = ?, status_sum = ?", (text, zlib.crc32(text.encode()))
        )
    database.close()


def test_what_runs_without_a_record_is_taken_in_not_killed(fresh_wherryd: Daemon, busybox: Path) -> None:
    """All is lost but the launcher: the process goes on, and it can be stopped and removed."""
    daemon = fresh_wherryd
    with daemon.client() as client:
        made = client.run_detached(RunSpec(image=str(busybox), command=("sleep", "1000")))
        lost = client.run_detached(RunSpec(image=str(busybox), name="lost", command=("true",)))
        client.wait(lost.id)
        pid = client.inspect(made.id).pid
    assert daemon.terminate() == 0
    for path in (daemon.state_dir / "records").iterdir():
        path.unlink()
    (daemon.state_dir / "state.db").write_text("this is no database\n" * 1000)
    daemon.start()
    with daemon.client() as client:
        (found,) = client.list(all=True)
        assert (found.id, found.state, client.inspect(found.id).pid) == (made.id, "running", pid)
        assert found.name == f"recovered-{made.id[:12]}"
        assert found.command == ("sleep", "1000")
        assert client.stop(found.id, timeout=0).signal == signal.SIGKILL
        client.remove(found.id)
    assert list((daemon.state_dir / "aside").glob(f"*/container-{lost.id}/log")), "its files were thrown away"


def test_a_process_that_has_a_lost_containers_pid_is_left_alone(fresh_wherryd: Daemon, busybox: Path) -> None:
    """The database says that a container runs as some pid; the launcher has no such container."""
    daemon = fresh_wherryd
    with daemon.client() as client:
        idle = client.create(RunSpec(image=str(busybox), name="idle", command=("true",)))
    assert daemon.terminate() == 0
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            forge_running(daemon.state_dir / "state.db", stranger.pid)
            daemon.start()
            with daemon.client() as client:
                details = client.inspect(idle.id)
                assert details.summary.state == "exited"
                assert details.summary.exit is not None
                assert details.summary.exit.exit_code is None, "an exit was made up"
            assert stranger.poll() is None, "a foreign process was signalled"
        finally:
            stranger.kill()
