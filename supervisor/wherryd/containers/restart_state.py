"""What a container's restart policy goes by: what was tried, whether somebody stopped it, when it is next.

Owns the form on record. The time of the next try is kept by the monotonic clock, which all processes of a
boot share: a clock that is set meanwhile makes nobody wait longer, and what people see of it is right.
"""

from __future__ import annotations

import time
from typing import Any

from wherryd.containers.restart_policy import LONGEST_DELAY, UNTRIED, Tries


class RestartState:
    """Of one container. `due` is the next try's time by time.monotonic(), None unless it waits for one.

    `stopped`: somebody stopped it, and has not started it since. `error` is why the last try came to nothing.
    `began` is when the present run began, by the same clock; None when another supervisor saw that.
    """

    __slots__ = ("began", "due", "error", "stopped", "tries")

    def __init__(self) -> None:
        self.tries = UNTRIED
        self.stopped = False
        self.due: float | None = None
        self.error: str | None = None
        self.began: float | None = None

    def clear(self) -> None:
        """Somebody starts it: what was before counts no more."""
        self.tries = UNTRIED
        self.stopped = False
        self.due = self.error = None

    def wait(self, tries: Tries, seconds: float) -> None:
        """Have the next try in so many seconds."""
        self.tries = tries
        self.due = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds until the next try."""
        return 0.0 if self.due is None else max(0.0, self.due - time.monotonic())

    @property
    def due_at(self) -> float | None:
        """The next try's time in seconds since the epoch."""
        return None if self.due is None else time.time() + self.due - time.monotonic()

    def lasted(self, started_at: float | None, finished_at: float | None) -> float:
        """Return the seconds that the run which has just ended took."""
        if self.began is not None:
            return time.monotonic() - self.began
        return max(0.0, (finished_at or 0.0) - (started_at or 0.0))

    def to_json(self) -> dict[str, Any]:
        """Return what `restore` takes back; nothing when there is nothing to say."""
        said = {
            "tries": [self.tries.count, self.tries.delay] if self.tries is not UNTRIED else None,
            "stopped": self.stopped or None,
            "due": self.due,
            "error": self.error,
        }
        return {key: value for key, value in said.items() if value is not None}

    def restore(self, data: dict[str, Any]) -> None:
        """Take back what `to_json` gave."""
        if "tries" in data:
            count, delay = data["tries"]
            self.tries = Tries(count=count, delay=delay)
        self.stopped = data.get("stopped", False)
        if "due" in data:
            # Also where nobody knows any more which boot's clock that was.
            self.due = min(data["due"], time.monotonic() + LONGEST_DELAY)
        self.error = data.get("error")
