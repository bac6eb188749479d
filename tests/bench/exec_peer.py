"""What exec is measured against: crun, in a mount namespace of its own where it finds a v2 hierarchy.

One container runs meanwhile; as in peers.py, without a cgroup manager and from a minimal config.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from bench.peers import CRUN_CONFIG

_CRUN = ["crun", "--cgroup-manager=disabled"]


class CrunExec:
    """A container of crun's, and a process that executes /bin/true in it whenever asked."""

    def __init__(self, image: Path, directory: Path) -> None:
        bundle = directory / "bundle"
        bundle.mkdir()
        config = json.loads(json.dumps(CRUN_CONFIG))
        config["process"]["args"] = ["/bin/sleep", "1000"]
        config["root"]["path"] = str(image)
        (bundle / "config.json").write_text(json.dumps(config))
        self._server = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", sys.executable, "-m", "bench.exec_peer", bundle],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def seconds(self) -> float:
        """One exec, from the call to the exit."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write("exec\n")
        return float(self._server.stdout.readline())


def _serve(bundle: str) -> None:
    from wherryd.kernel.hierarchies import find_hierarchies
    from wherryd.kernel.mount_syscalls import MS_BIND, mount

    v2 = find_hierarchies().v2
    if v2 != "/sys/fs/cgroup":
        mount(v2 or "", "/sys/fs/cgroup", "", MS_BIND, "")
    name = f"exec-bench-{os.getpid()}"
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    subprocess.run([*_CRUN, "run", "--detach", "--bundle", bundle, name], check=True, **quiet)
    try:
        for _ in sys.stdin:
            started = time.perf_counter()
            subprocess.run([*_CRUN, "exec", name, "/bin/true"], check=True, **quiet)
            sys.stdout.write(f"{time.perf_counter() - started}\n")
            sys.stdout.flush()
    finally:
        subprocess.run([*_CRUN, "delete", "--force", name], check=True, **quiet)


if __name__ == "__main__":
    _serve(sys.argv[1])
