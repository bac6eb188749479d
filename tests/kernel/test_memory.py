"""A process that makes prepared calls is a copy of next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wherryd.kernel import machine

PROGRAM = """
import os, sys
from wherryd.kernel.program import Program

Program.keep_memory()
codes = []
for number in range(int(sys.argv[1])):
    program = Program()
    program.execve(["/bin/sh"], ("sh", "-c", f"exit {number % 100}"), {"K": "v"})
    pid, pidfd = program.start_copy(0, 0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0x40000000)[1]))
    os.close(pidfd)
print("right" if codes == [number % 100 for number in range(len(codes))] else codes)
"""

needs_listing = pytest.mark.skipif(
    os.uname().machine not in machine.CODE, reason=f"machine.py has no listing for {os.uname().machine}"
)


@needs_listing
def test_commands_execute_from_a_copy_without_the_interpreter() -> None:
    """Many times, so that some are preempted on their way: the kernel then writes to the thread's area."""
    command = [sys.executable, "-c", PROGRAM, "400"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "right\n"


FAULTS = """
import os, resource
from wherryd.kernel.program import Program

def faults(kept):
    if kept:
        Program.keep_memory()
    program = Program()
    program.chdir("/no/such")
    pid, pidfd = program.start_copy(0, 0)
    os.close(pidfd)
    usage = os.wait3(0x40000000)[2]
    return usage.ru_minflt, usage.ru_maxrss

print(*faults(False), *faults(True))
"""


@needs_listing
def test_the_copy_holds_next_to_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True)
    _, before, _, after = map(int, done.stdout.split())
    assert after <= before / 4, f"{before} KiB in an ordinary copy, {after} KiB in this one"
