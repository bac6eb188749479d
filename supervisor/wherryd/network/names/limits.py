"""How much each container may ask: so many questions at once, and so many a second after that. No IO."""

from __future__ import annotations

import trio

from wherryd.network.rules.tables import BURST, RATE

READ_RATE, READ_BURST = 500, 250
"""Of these, questions that it did not ask a moment before: to read one takes four times as long."""

ASKERS_MAX = 4096
"""Of whom it is known what they asked for; with more all begin anew."""


class Allowance:
    """What is left to whom."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, asker: str) -> bool:
        """Say whether somebody may ask once more, and count that."""
        now = trio.current_time()
        left, since = self._left.get(asker, (float(self._burst), now))
        left = min(self._burst, left + (now - since) * self._rate)
        if len(self._left) > ASKERS_MAX:
            self._left.clear()
        self._left[asker] = (max(left - 1, 0.0), now)
        return left >= 1


class Limits:
    """What all containers may still ask."""

    def __init__(self) -> None:
        self.questions = Allowance(RATE, BURST)
        self.readings = Allowance(READ_RATE, READ_BURST)
