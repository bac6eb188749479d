"""What an operation of the network process may answer beside a plain value."""

from __future__ import annotations

from typing import Any, NamedTuple


class Made(NamedTuple):
    """A value with descriptors, which are closed once they are sent."""

    value: Any
    fds: tuple[int, ...]
