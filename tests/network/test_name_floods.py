"""A container that floods the name server: others are answered still, and the supervisor does not grow."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dnskit import ask, gateway, upstream
from networkkit import PEER
from support.forms import rounds, within

from wherryd.network.names.limits import READ_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from networkkit import Box, Machine

SECONDS = rounds(short=1, long=20)
AT_ONCE = within(1.0)
SILENT = "192.0.2.77"
"""A name server that never answers: nobody has its address."""

PACE = 6 / READ_RATE
"""Seconds between an asker's turns of three questions: half of the new ones that one container may ask."""

GROWTH_MAX = 20 << 20
"""Bytes: answers that are kept, questions under way, and what is not collected yet. Reached within 20 s."""

FLOODS = {
    "names of ours": """
sock.connect((server, 53))
while True:
    send(question(b"asker"))
""",
    "garbage": """
sock.connect((server, 53))
while True:
    send(random.randbytes(1400))
""",
    "names of others": """
while True:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((server, 53))
    for _ in range(100):
        send(question(b"%032x" % random.getrandbits(128), b"example", b"org"))
""",
    "connections": """
kept = []
while True:
    try:
        kept.append(socket.create_connection((server, 53), timeout=1))
        kept[-1].sendall(b"\\xff\\xff" + random.randbytes(1000))
    except OSError:
        time.sleep(0.01)
        kept = kept[-900:]
""",
}
FLOOD = """
import random, socket, struct, sys, time
server = sys.argv[1]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def send(data):
    try:
        sock.send(data)
    except OSError:
        pass
def question(*labels):
    name = b"".join(bytes([len(each)]) + each for each in labels)
    head = struct.pack(">HHHHHH", random.getrandbits(16), 0x100, 1, 0, 0, 0)
    return head + name + b"\\0\\0\\1\\0\\1"
"""


@pytest.fixture(scope="module", autouse=True)
def network(machine: Machine) -> None:
    machine.client.create_network("lan")


def resident(pid: int) -> int:
    """The memory that a process has, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) << 10


@contextmanager
def flooding(box: Box, server: str, kind: str) -> Iterator[None]:
    command = [sys.executable, "-c", FLOOD + FLOODS[kind], server]
    process = box.place.call(lambda: subprocess.Popen(command))
    try:
        yield
        assert process.poll() is None, "the flood has dried up"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", FLOODS)
def test_who_floods_the_name_server_harms_itself(machine: Machine, kind: str) -> None:
    """Others are answered at once: by UDP and TCP, of names of ours and of others; so is the supervisor."""
    with (
        machine.run(network="lan", name="flooder", dns=(SILENT,)) as flooder,
        machine.run(network="lan", name="asker", dns=(PEER,)) as asker,
        upstream(machine.peer),
    ):
        server = gateway(asker)
        ask(asker, "example.org")
        calls: list[Callable[[str], object]] = [
            lambda _: ask(asker, "flooder"),
            lambda _: ask(asker, "flooder", tcp=True),
            lambda name: ask(asker, name),
            lambda _: machine.client.info(),
        ]
        before = resident(machine.daemon.pid)
        with flooding(flooder, server, kind):
            end = time.monotonic() + SECONDS
            number, took = 0, list[float]()
            while time.monotonic() < end:
                number += 1
                for call in calls:
                    start = time.monotonic()
                    call(f"n{number}.example.org")
                    took.append(time.monotonic() - start)
                time.sleep(PACE)  # who asks more than it may is not answered, as a flooder is not
        # Each was answered; not each at once, where somebody else has the processor.
        assert statistics.median(took) < AT_ONCE, took
        assert resident(machine.daemon.pid) - before < GROWTH_MAX
