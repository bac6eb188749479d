"""A program that runs the pump and kills it, again and again, while it holds duplicates of the streams.

Usage: killed_pump.py DIRECTORY KILLS SEED (pipes | terminal)

Prints how many lines the container wrote to each stream: more than KILLS, for which it kills on where the
machine has other things to do. Forks from one process that has imported everything, so that a round takes
milliseconds.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import time
import tty
from mmap import mmap
from pathlib import Path

import trio

from wherryd.logs.log import Log
from wherryd.logs.pump import LogPump

Streams = dict[int, int]

_COUNT = struct.Struct("=I")


def line(stream: int, number: int) -> bytes:
    """Return a line whose length and content are its number's own."""
    return b"%d %d %s\n" % (stream, number, b"x" * (number * 7919 % 3000))


def write_lines(ends: Streams, stop: int, report: int, written: mmap) -> None:
    """Be the container: print lines to all streams until `stop` is at end of file."""
    counts = dict.fromkeys(ends, 0)
    os.set_blocking(stop, False)
    while not _stopped(stop):
        for stream, fd in ends.items():
            view = memoryview(line(stream, counts[stream]))
            while view:
                view = view[os.write(fd, view) :]
            counts[stream] += 1
        _COUNT.pack_into(written, 0, min(counts.values()))
        time.sleep(0.0002)
    os.write(report, " ".join(str(count) for count in counts.values()).encode())


def _stopped(stop: int) -> bool:
    try:
        return os.read(stop, 1) == b""
    except BlockingIOError:
        return False


async def pump_until_drained(directory: Path, streams: Streams, staging: tuple[int, int] | None) -> None:
    """Be the supervisor."""
    pump, log = LogPump(), Log.open(directory)
    pump.start()
    pump.attach(log, streams, tty=staging is not None, staging=staging)
    await log.wait_drained()
    pump.close()


def fork(be: object, *args: object) -> int:
    """Start a child that does one thing and ends."""
    pid = os.fork()
    if pid == 0:
        be(*args)  # type: ignore[operator]
        os._exit(0)
    return pid


def main(directory: Path, kills: int, seed: int, kind: str) -> None:
    """Run the container, kill the supervisor many times, then let the last one finish."""
    chance = random.Random(seed)
    reads, writes, staging = _streams(kind)
    stop, stop_end = os.pipe()
    report, report_end = os.pipe()
    written = mmap(-1, _COUNT.size)

    def container() -> None:
        os.close(stop_end)
        write_lines(writes, stop, report_end, written)

    def supervisor() -> None:
        os.close(stop_end)
        trio.run(pump_until_drained, directory, reads, staging)

    writer = fork(container)
    for fd in (*writes.values(), report_end):
        os.close(fd)
    killed = 0
    while killed < kills or _COUNT.unpack_from(written)[0] <= kills:
        victim = fork(supervisor)
        # Longer and longer, where none of them comes to a byte in that time.
        time.sleep(chance.uniform(0.002, 0.016) * max(1.0, killed / kills) ** 2)
        os.kill(victim, signal.SIGKILL)
        os.waitpid(victim, 0)
        killed += 1
    # The container may wait on a full pipe: the last supervisor empties it.
    last = fork(supervisor)
    os.close(stop_end)
    os.waitpid(writer, 0)
    os.waitpid(last, 0)
    sys.stdout.write(os.read(report, 100).decode())


def _streams(kind: str) -> tuple[Streams, Streams, tuple[int, int] | None]:
    if kind == "terminal":
        master, slave = os.openpty()
        tty.setraw(slave)
        return {1: master}, {1: slave}, os.pipe()
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    return {1: out, 2: err}, {1: out_end, 2: err_end}, None


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
