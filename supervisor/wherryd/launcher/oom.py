"""The worker's oom_score_adj, which its children inherit. Must never lower it unless that was asked for."""

from __future__ import annotations

import os

from wherryd.kernel.errors import KernelError

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
        self._changed = False

    def set(self, score: int | None) -> None:
        """Set it; None is 0, if that is more than the host decided. Raises KernelError."""
        score = max(0, self._own) if score is None else score
        if score != self._own:
            self._write(score)
            self._changed = True

    def restore(self) -> None:
        """Undo `set`."""
        if self._changed:
            self._changed = False
            self._write(self._own)

    def _write(self, score: int) -> None:
        try:
            os.write(self._file, b"%d" % score)
        except OSError as error:
            hint = f"to go below {self._own} needs CAP_SYS_RESOURCE, which the supervisor lacks"
            raise KernelError("oom_score_adj", str(score), error.errno or 0, hint) from error
