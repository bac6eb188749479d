"""System calls that make, move and take away mounts: C names, C argument order, KernelError on failure.

Owns their prototypes, flags and structures; mounts.py says what they are used for.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int, c_uint, c_uint64, c_ulong

from wherryd.kernel.libc import checked, function, numbered

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2

MOUNT_ATTR_RDONLY = 1
MOUNT_ATTR_NOSUID = 2
MOUNT_ATTR_NODEV = 4
MOUNT_ATTR_NOEXEC = 8
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC = 1
_PIVOT_ROOT = 155 if os.uname().machine == "x86_64" else 41


class MountAttr(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2)."""

    _fields_ = [
        ("attr_set", c_uint64),
        ("attr_clr", c_uint64),
        ("propagation", c_uint64),
        ("userns_fd", c_uint64),
    ]


_mount = function("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p)
_umount2 = function("umount2", c_char_p, c_int)
_open_tree = numbered(c_int, c_char_p, c_uint)
_move_mount = numbered(c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = numbered(c_char_p, c_uint)
_fsconfig = numbered(c_int, c_uint, c_char_p, c_char_p, c_int)
_fsmount = numbered(c_int, c_uint, c_uint)
_mount_setattr = numbered(c_int, c_char_p, c_uint, POINTER(MountAttr), c_ulong)
_pivot_root = numbered(c_char_p, c_char_p)


def mount(source: str, target: str, fstype: str, flags: int, data: str) -> None:
    """mount(2)."""
    op = "mount overlay" if fstype == "overlay" else "mount"
    checked(_mount(*map(os.fsencode, (source, target, fstype)), flags, os.fsencode(data)), op, target)


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    checked(_umount2(os.fsencode(target), flags), "umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    checked(_pivot_root(_PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old)), "pivot_root", new_root)


def open_tree(dirfd: int, path: str, flags: int) -> int:
    """Return a descriptor of a mount, with OPEN_TREE_CLONE of a detached copy. open_tree(2)."""
    return checked(_open_tree(_OPEN_TREE, dirfd, os.fsencode(path), flags), "open_tree", path)


def move_mount(from_fd: int, from_path: str, to_fd: int, to_path: str, flags: int) -> None:
    """move_mount(2)."""
    result = _move_mount(_MOVE_MOUNT, from_fd, os.fsencode(from_path), to_fd, os.fsencode(to_path), flags)
    checked(result, "move_mount", to_path or None)


def fsopen(fstype: str) -> int:
    """Return a context to configure a new file system in. fsopen(2)."""
    return checked(_fsopen(_FSOPEN, os.fsencode(fstype), _CLOEXEC), f"fsopen {fstype}")


def fsconfig(context: int, command: int, key: str, value: str | None) -> None:
    """Set an option of a context. fsconfig(2)."""
    text = None if value is None else os.fsencode(value)
    checked(_fsconfig(_FSCONFIG, context, command, os.fsencode(key), text, 0), f"fsconfig {key}")


def fsmount(context: int, attributes: int) -> int:
    """Make the file system and return a detached mount of it, with MOUNT_ATTR_*. fsmount(2)."""
    checked(_fsconfig(_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), "fsconfig create")
    return checked(_fsmount(_FSMOUNT, context, _CLOEXEC, attributes), "fsmount")


def mount_setattr(dirfd: int, path: str, flags: int, attr_set: int, propagation: int = 0) -> None:
    """Set MOUNT_ATTR_* and, if not 0, the propagation (MS_SLAVE …) of a mount. mount_setattr(2)."""
    attr = MountAttr(attr_set=attr_set, propagation=propagation)
    result = _mount_setattr(
        _MOUNT_SETATTR, dirfd, os.fsencode(path), flags, ctypes.byref(attr), ctypes.sizeof(attr)
    )
    checked(result, "mount_setattr", path or None)
