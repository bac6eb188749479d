"""Shuts a worker in: another root, no network, few capabilities, bounded memory, no more imports.

Owns what an extraction may do, and how any worker gives up what it does not need. Must run before the first
byte of what is hostile is looked at, and after every import: nothing of the host can be opened afterwards.
"""

from __future__ import annotations

import os
import sys

from wherryd.kernel.capabilities import last_cap
from wherryd.kernel.mounts import attach, clone_tree, make_private, set_options, swap_root
from wherryd.kernel.process import set_undumpable
from wherryd.kernel.program import Program
from wherryd.kernel.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, unshare

CAPABILITIES = ("chown", "dac_override", "fowner", "fsetid", "setfcap")
"""Owners, folders closed to their owner, others' modes, setgid bits, and security.capability."""

_MEMORY = 1 << 30  # bytes of address space: the largest decoder and the list of a million folders fit
_DESCRIPTORS = 32
_OPTIONS = ("nosuid", "nodev", "noexec")


def confine(folder: str, *, read_only: bool = False) -> None:
    """Make `folder` the root of this process, for good. Raises KernelError."""
    highest = last_cap()
    enter(folder, read_only=read_only)
    drop(CAPABILITIES, highest, _DESCRIPTORS)


def confine_below(folder: str, highest: int) -> None:
    """Make a folder below the root that `enter` gave us the root, for good.

    That is far cheaper than namespaces for each of many children; without CAP_SYS_CHROOT there is no way
    back, and nothing but that root beyond. `highest` is the last capability. Raises KernelError, OSError.
    """
    os.chroot(folder)
    os.chdir("/")
    drop(CAPABILITIES, highest, _DESCRIPTORS)


def enter(folder: str, *, read_only: bool = False) -> None:
    """Make `folder` the root, in namespaces of our own. Raises KernelError."""
    unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)
    make_private("/")
    _enter(folder, ("ro", *_OPTIONS) if read_only else _OPTIONS)


def drop(capabilities: tuple[str, ...], highest: int, descriptors: int) -> None:
    """Give up all but `capabilities`; `highest` is the last one that the kernel knows. Raises KernelError."""
    # The new root is somebody else's: a module that is still missing must not be taken from there.
    sys.path.clear()
    sys.meta_path.clear()
    program = Program()
    program.join_new_session_keyring()
    program.set_rlimit("as", _MEMORY, _MEMORY)
    program.set_rlimit("nofile", descriptors, descriptors)
    program.set_rlimit("core", 0, 0)
    program.set_no_new_privs()
    program.limit_bounding(capabilities, range(highest + 1))
    program.set_capabilities(capabilities)
    failed = program.run()
    if failed is not None:
        raise failed[1]
    set_undumpable()
    os.umask(0)


def _enter(folder: str, options: tuple[str, ...]) -> None:
    tree = clone_tree(folder, recursive=False)
    set_options(tree, options)
    below = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    attach(tree, below)
    os.close(below)
    # the name now leads to the mount on top of it, which `tree` is
    swap_root(tree)
    os.close(tree)
