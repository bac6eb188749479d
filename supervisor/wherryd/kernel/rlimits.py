"""Resource limits by their names in getrlimit(2) without RLIMIT_, lower case. Must never choose a value."""

from __future__ import annotations

import resource

from wherryd.kernel.errors import from_oserror

NAMES = tuple(sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_")))


def get_rlimit(name: str) -> tuple[int, int]:
    """Return (soft, hard) of this process; -1 is unlimited."""
    return resource.getrlimit(number_of(name))


def set_rlimit(name: str, soft: int, hard: int) -> None:
    """Set a limit of this process; raising the hard one is not asked of this. Raises KernelError."""
    try:
        resource.setrlimit(number_of(name), (soft, hard))
    except OSError as error:
        raise from_oserror(error, "setrlimit", name) from error


def number_of(name: str) -> int:
    """Return RLIMIT_*."""
    number: int = getattr(resource, f"RLIMIT_{name.upper()}")
    return number
