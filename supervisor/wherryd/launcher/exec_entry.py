"""A process beside a container's first one, as the launcher holds it: entered by exec.

Its cgroup is the container's: unlike a container it cannot be found, nor killed, by that.
"""

from __future__ import annotations

import _socket
import errno

from wherryd.launcher.entry import Entry
from wherryd.launcher.told import Listener

SO_PASSCRED = 16
_SIGKILL = 9


class ExecEntry(Entry):
    """An exec from the request until its release. `note` is the supervisor's, to know it again."""

    def __init__(self, name: str, note: bytes, *, brief: bool = False) -> None:
        super().__init__(name, "")
        self.note = note
        self.brief = brief
        self._listener: Listener | None = None

    @property
    def over(self) -> bool:
        """Whether a start that came to nothing has left nothing."""
        if not self.pending or self.status is not None:
            return False
        # No pid after everybody let go of the status socket: there never was a process, or it is gone.
        return self.exit is not None if self.pid else True

    def watch(self, status: _socket.socket) -> None:
        """Take the status socket; what arrives on it names its sender."""
        status.setsockopt(_socket.SOL_SOCKET, SO_PASSCRED, 1)
        self.status = status

    def close_status(self) -> None:
        """Close the status socket. A process whose worker died too soon to tell of it is taken in, to die."""
        super().close_status()
        self._look_for_listener()
        if self.executing and not self.pid and self.failure is None:
            self.pid = self.sender
            self.failure = ("set-up", "exec", None, errno.EINTR, "its worker was killed while it was set up")
            self.doomed = True

    def end(self, ended: tuple[int | None, int | None]) -> None:
        """Take note of its exit, and tell its client, if that takes it from us.

        Not that SIGKILL ended it: the supervisor finds out why.
        """
        super().end(ended)
        if self._listener is not None and ended[1] != _SIGKILL and self.failure is None and not self.doomed:
            self.told = self._listener.tell(self.pid, *ended)

    def _look_for_listener(self) -> None:
        """See whether its client listens for the end. One that waits for a terminal waits for that first."""
        lifeline = self.fds.get("lifeline")
        if lifeline is not None and self.executing and "tty" not in self.fds:
            self._listener = Listener.at(lifeline)

    def drop(self, kind: str) -> None:
        """Close our duplicate of a descriptor; without a lifeline nobody listens."""
        super().drop(kind)
        if kind == "lifeline":
            self._hang_up()

    def close(self) -> None:
        """Close every descriptor."""
        super().close()
        self._hang_up()

    def _hang_up(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def call_off(self) -> None:
        """Have the process killed as soon as it is known which it is."""
        self.doomed = True
