"""Resource limits by their names in getrlimit(2) without RLIMIT_, lower case. Must never choose a value."""

from __future__ import annotations

import errno
import resource

from wherryd.kernel.errors import KernelError

NAMES = tuple(sorted(name[7:].lower() for name in dir(resource) if name.startswith("RLIMIT_")))


def get_rlimit(name: str) -> tuple[int, int]:
    """Return (soft, hard) of this process; -1 is unlimited."""
    return resource.getrlimit(_number(name))


def set_rlimit(name: str, soft: int, hard: int) -> None:
    """Set a limit of this process; -1 is unlimited. Raises KernelError."""
    try:
        resource.setrlimit(_number(name), (soft, hard))
    except (ValueError, OSError) as error:
        # Python turns EPERM into a ValueError; the other cause, soft above hard, is EINVAL by its text.
        denied = isinstance(error, OSError) or "hard" not in str(error) or soft <= hard or hard == -1
        raise KernelError("setrlimit", name, errno.EPERM if denied else errno.EINVAL) from error


def _number(name: str) -> int:
    number: int = getattr(resource, f"RLIMIT_{name.upper()}")
    return number
