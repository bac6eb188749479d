"""The worker's oom_score_adj, which its children inherit. Must never lower what the host decided."""

from __future__ import annotations

import os

OOM_FD = 5


class OomScore:
    """The worker's oom_score_adj, which a fork inherits. proc(5)."""

    def __init__(self) -> None:
        # Kept open: by the time of the fork, the host's /proc is out of reach.
        file = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        if file != OOM_FD:
            os.dup2(file, OOM_FD, inheritable=False)
            os.close(file)
        self._file = OOM_FD
        self._own = int(os.read(self._file, 16))

    def raise_to(self, score: int) -> None:
        """Raise it, never lower it: that would need CAP_SYS_RESOURCE, and undo what the host decided."""
        if score > self._own:
            os.write(self._file, b"%d" % score)

    def restore(self, score: int) -> None:
        """Undo `raise_to`."""
        if score > self._own:
            os.write(self._file, b"%d" % self._own)
