"""What is over is freed at once, not when the collector comes: what has become old hardly ever is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from lives import TAKEN, live
from support import uncollected

from wherry import RunSpec

if TYPE_CHECKING:
    import pytest
    from support.daemon import Daemon

LIVES = 8


def test_nothing_of_what_is_over_waits_for_the_collector(
    fresh_wherryd: Daemon, busybox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, told = fresh_wherryd, tmp_path / "told"
    (tmp_path / "sitecustomize.py").write_text(uncollected.CODE)
    daemon.terminate()
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{tmp_path}:{Path(uncollected.__file__).parents[1]}")
        patch.setenv(uncollected.VARIABLE, str(told))
        daemon.start()
    with daemon.client() as client:
        command = ("sleep", "1000")
        spec = RunSpec(image=os.fspath(busybox), command=command, network="bridge", ports=(TAKEN,))
        client.run_detached(spec)
        for _ in range(LIVES):
            live(client, busybox)
    daemon.terminate()
    counts = json.loads(told.read_text())
    print(counts)
    assert counts, "nobody told"
    left = {name: count for name, count in counts.items() if count >= LIVES and name.startswith("wherryd.")}
    assert not left, left
    daemon.start()
