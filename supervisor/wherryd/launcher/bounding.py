"""A worker's capability bounding set, which its children inherit.

To take one capability out of it costs a call, and a container's process lacks some thirty: the worker gives
them up itself, once, for all that it will fork. Nothing can be got back: crew.py gives a worker no order that
needs more than its first one did.
"""

from __future__ import annotations

import errno

from wherryd.kernel.capabilities import NUMBERS, last_cap
from wherryd.kernel.errors import KernelError
from wherryd.kernel.program import Program


class Bounding:
    """The set. `present` are the capabilities that may be in it."""

    def __init__(self) -> None:
        self.present = tuple(range(last_cap() + 1))
        self._first: tuple[str, ...] | None = None

    def narrow(self, names: tuple[str, ...]) -> None:
        """Keep what an order needs, if it is the first. Raises KernelError, also if it needs what is gone."""
        if names == self._first:
            return
        needed = {NUMBERS[name] for name in names}
        if not needed.issubset(self.present):
            hint = "its worker had given that up: a defect of the launcher's"
            raise KernelError("capabilities", " ".join(names), errno.EPERM, hint)
        if self._first is None:
            program = Program()
            program.limit_bounding(names, self.present)
            failed = program.run()
            if failed is not None:
                raise failed[1]
            self._first = names
            self.present = tuple(sorted(needed))
