"""A few instructions that start a process which shares our memory and makes prepared system calls.

An interpreter cannot run in a child that shares its parent's memory, and a child with a copy of it pays for
the copy: the page tables, then every page that it touches, some 0.6 ms and 700 KiB. These instructions
need neither stack nor writable data of their own. They are the whole of a container's first process until
its command executes: no library, no heap, no signal handler.

    long start(struct clone_args *args, size_t size, struct call *calls)

        parent: return what clone3 returned
        child:  for (;; calls++) {
                    calls->result = syscall(calls->number, calls->arguments[0..5]);
                    if (calls->result < 0 and it is none of calls->tolerated[0..2])
                        exit_group(125);
                }

    struct call { int64 number, arguments[6], tolerated[3], result; }

The listings are in tests/kernel/machine/: a test assembles them and compares. Architectures without one go
the slow way, see program.py.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from wherryd.kernel.syscalls import mprotect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CALL_SIZE = 11 * 8
RESULT_OFFSET = 10 * 8

CODE = {
    "x86_64": bytes.fromhex(
        "b8b30100000f054885c07401c34889d3488b03488b7b08488b7310488b53184c8b53204c8b43284c8b4b300f05488943"
        "504885c0791e48394338741848394340741248394348740cbf7d000000b8e70000000f054883c358ebb6"
    ),
    "aarch64": bytes.fromhex(
        "683680d2010000d4400000b4c0035fd6f30302aa680240f9608640a9628e41a9649642a9010000d4602a00f98001f8b6"
        "618a43a91f0001eb200100541f0002ebe0000054612640f91f0001eb80000054a00f80d2c80b80d2010000d473620191"
        "edffff17"
    ),
}  # fmt: skip


def load() -> Callable[[int, int, int], int] | None:
    """Return `start`; None where there is no listing, or where memory may not become executable."""
    code = CODE.get(os.uname().machine)
    if code is None:
        return None
    memory = mmap.mmap(-1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.write(code)
    first = ctypes.c_char.from_buffer(memory)
    address = ctypes.addressof(first)
    try:
        mprotect(address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)
    except OSError:
        return None  # a hardened host: SELinux's execmem, systemd's MemoryDenyWriteExecute
    _mapped.append(first)
    # PYFUNCTYPE keeps the interpreter's lock: nothing of ours runs beside the child.
    function: Callable[[int, int, int], int] = ctypes.PYFUNCTYPE(
        ctypes.c_long, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p
    )(address)
    return function


def addresses() -> tuple[int, ...]:
    """Return where the code is, if it is loaded."""
    return tuple(map(ctypes.addressof, _mapped))


_mapped: list[ctypes.c_char] = []
"""Keeps the code's memory for as long as the process lives."""
