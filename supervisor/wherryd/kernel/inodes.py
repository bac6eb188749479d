"""Whether a file system has inodes left: without them it says that there is no space, or worse.

An overlay whose work directory cannot be made is mounted read-only, with a word in dmesg alone
(fs/overlayfs/super.c): what is written then fails with EROFS. Owns that question; must never write.
"""

from __future__ import annotations

import os

_FEW = 16
"""Less than a start takes: what failed for want of one may have given some back."""


def used_up(path: str) -> bool:
    """Say whether a path's file system has hardly any left; not where it has no fixed number of them."""
    try:
        found = os.statvfs(path)
    except OSError:
        return False  # what cannot be looked at is nothing that we know
    return found.f_files > 0 and found.f_ffree < _FEW
