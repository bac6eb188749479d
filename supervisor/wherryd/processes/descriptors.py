"""Several descriptors at once: all of them, or none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def copies(fds: Iterable[int]) -> list[int]:
    """Return duplicates of descriptors: all of them, or an error and none."""
    made: list[int] = []
    try:
        made += map(os.dup, fds)
    except OSError:
        close_all(made)
        raise
    return made


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)
