"""Which failures mean that descriptors, processes or memory are used up: what comes back by itself.

Owns that question only; what to do about one is said where it is met. Must never take anything else for one.
"""

from __future__ import annotations

import errno

DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
MEMORY = (errno.ENOMEM, errno.ENOBUFS)
PROCESSES = (errno.EAGAIN,)
"""fork(2) and clone(2) at a limit; what never blocks fails with it for no other reason."""

_NO_THREAD = "can't start new thread"
"""All that Python says when pthread_create(3) fails, as a RuntimeError."""


def shortage(error: BaseException) -> int | None:
    """Return the errno of what is used up, when that is why something failed."""
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, RuntimeError):
        return errno.EAGAIN if str(error) == _NO_THREAD else None
    number = getattr(error, "errno", None)
    return number if number in (*DESCRIPTORS, *MEMORY, *PROCESSES) else None
