"""What of this process's memory a fork copies: as little as prepared calls need (sequence.py).

A process that only makes prepared system calls never looks at the interpreter, its libraries or its heap.
Without them a fork takes a fraction of the time, charges next to nothing to the child's cgroup, and the child
has nothing of ours to be read, whoever gets hold of it.
"""

from __future__ import annotations

import _thread

from wherryd.kernel.errors import KernelError
from wherryd.kernel.syscalls import madvise

MADV_DONTFORK = 10
_KERNELS = ("[vdso]\n", "[vvar]\n", "[vvar_vclock]\n", "[vsyscall]\n")
_PAGE = 4096
_AROUND_THREAD = 16 * _PAGE
"""The kernel writes to a thread's rseq area, which glibc has beside its descriptor, whenever it is preempted:
a process without one there would be killed. rseq(2)."""


def keep_from_forks(kept: tuple[int, ...]) -> None:
    """Leave all of the memory that is mapped now out of later forks, but the pages at the addresses `kept`.

    Only for a process whose later forks run prepared calls.
    """
    mappings = _mappings()
    pages = [(address & -_PAGE, (address & -_PAGE) + _PAGE) for address in kept]
    holes = sorted([*pages, _around_thread(mappings)])
    for start, end in mappings:
        for first, last in _without(start, end, holes):
            _keep(first, last)


def _around_thread(mappings: list[tuple[int, int]]) -> tuple[int, int]:
    """Return what is kept around our thread's descriptor: of its own mapping, the next may be a library's."""
    thread = _thread.get_ident() & -_PAGE  # pthread_self(3)
    start, end = next((start, end) for start, end in mappings if start <= thread < end)
    return max(start, thread - _AROUND_THREAD), min(end, thread + _AROUND_THREAD)


def _keep(first: int, last: int) -> None:
    try:
        madvise(first, last - first, MADV_DONTFORK)
    except KernelError:
        # A mapping that is gone by now, as the buffer that held the list; or a device's, which is small.
        return


def _mappings() -> list[tuple[int, int]]:
    """Return the ranges of our mappings, but for the kernel's own. proc(5)."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        ranges = [line.split(" ", 1)[0].split("-") for line in lines if not line.endswith(_KERNELS)]
    return [(int(start, 16), int(end, 16)) for start, end in ranges]


def _without(start: int, end: int, holes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return what is left of a range."""
    left: list[tuple[int, int]] = []
    for first, last in holes:
        if first < end and last > start:
            if first > start:
                left.append((start, first))
            start = max(start, last)
    if start < end:
        left.append((start, end))
    return left
