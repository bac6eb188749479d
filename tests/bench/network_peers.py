"""What a network costs with us, docker and podman: start to exit, throughput, latency; interleaved.

    python tests/bench/network_peers.py [--rounds N] [--seconds N] [--folder DIR]

Each engine has a machine of its own, with its own rules, and a neighbour on its wire: network namespaces that
the bench makes. It prints medians of: a container on the default bridge that publishes a port and runs
/bin/true, start to exit; TCP from the neighbour, and from the machine itself by 127.0.0.1, through the
published port of a container that runs iperf3 and redis: Gbit/s in each direction, a round trip's time, and
what a packet costs the processor, which is the one figure that holds on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))
from bench import engines, packets
from support.busybox import make_directory
from support.daemon import Daemon
from support.netns import Place

from wherry import RunSpec, Volume
from wherry_protocol.ports import PublishedPort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import Client

HOST, NEIGHBOUR = "192.0.2.2", "192.0.2.9"
PORT, IPERF, REDIS = 48123, 5201, 6379
WARM_UP = 2
ROUND_TRIPS = 5000
PATIENCE = 10.0
QUIET = 0.3
"""Seconds that a connection stays open if somebody is there: redis does not speak first."""

SERVE = f"redis-server --port {REDIS} --save '' --protected-mode no >/dev/null & exec iperf3 -s -p {IPERF}"
"""What the container runs whose ports are measured."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of starts")
    parser.add_argument("--turns", type=int, default=4, help="of throughput and latency")
    parser.add_argument("--seconds", type=int, default=1, help="of each measurement of throughput")
    parser.add_argument("--folder", default="/dev/shm", help="where everything is kept")
    options = parser.parse_args()
    lacking = engines.missing()
    if lacking:
        sys.exit(f"apt-get install {lacking}")
    if "PRIVATE" not in os.environ:  # what the engines mount is nobody else's business
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, "PRIVATE": "1"})  # noqa: S606 - no shell is wanted
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.folder)))
        _measure(stack, folder, options)


def _measure(stack: ExitStack, folder: Path, options: argparse.Namespace) -> None:
    image = make_directory(folder / "image")
    machines = {name: stack.enter_context(_machine()) for name in ("wherry", "docker", "podman")}
    for name in ("docker", "podman"):
        (folder / name).mkdir()
    docker = stack.enter_context(engines.docker(machines["docker"][0], folder / "docker"))
    podman = stack.enter_context(engines.podman(machines["podman"][0], folder / "podman"))
    for engine in (docker, podman):
        engine.load(image)
    daemon, client = stack.enter_context(_wherry(machines["wherry"][0], options.folder))
    _starts(daemon, client, str(image), {"docker": docker, "podman": podman}, options.rounds)
    _traffic(client, docker, _tools(folder), machines, options)


@contextmanager
def _machine() -> Iterator[tuple[Place, Place]]:
    with Place.new() as host, Place.new() as neighbour:
        host.wire(neighbour, "eth0", "eth0")
        host.ip(f"addr add {HOST}/24 dev eth0")
        neighbour.ip(f"addr add {NEIGHBOUR}/24 dev eth0")
        yield host, neighbour


@contextmanager
def _wherry(place: Place, folder: str) -> Iterator[tuple[Daemon, Client]]:
    daemon = Daemon(folder)
    daemon.default_network = "bridge"
    place.call(daemon.start)
    with contextlib.closing(daemon), daemon.client() as client:
        yield daemon, client


# -- start to exit ------------------------------------------------------------------------------------------


def _starts(
    daemon: Daemon, client: Client, image: str, others: dict[str, engines.Engine], rounds: int
) -> None:
    port = PublishedPort(host_port=PORT, container_port=80)
    bridged = RunSpec(image=image, command=("/bin/true",), auto_remove=True, ports=(port,))
    alone = RunSpec(image=image, command=("/bin/true",), auto_remove=True, network="none")
    command = ("--rm", "-p", f"{PORT}:80")
    runners: dict[str, Callable[[], object]] = {
        "wherry Client": lambda: client.run(bridged).check(),
        "wherry Client, network none": lambda: client.run(alone).check(),
        "wherry run": lambda: _checked(daemon, *command, image, "/bin/true"),
    }
    for name, engine in others.items():
        runners[f"{name} run"] = lambda engine=engine: engine.run(*command, "bench", "/bin/true")  # type: ignore[misc]  # pyright sees it
    times = _interleaved(runners, rounds)
    for name, values in times.items():
        ratio = statistics.median(values) / statistics.median(times["wherry Client"])
        _say(f"start to exit, {name:28} {statistics.median(values) * 1e3:8.2f} ms  {ratio:6.1f} x")


def _checked(daemon: Daemon, *args: str) -> None:
    done = daemon.cli("run", *args)
    assert done.exit_code == 0, done.stderr


def _interleaved(runners: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runners}
    order = [*runners.items()]
    for number in range(-WARM_UP, rounds):
        random.shuffle(order)  # what one leaves for the kernel to do shall not always be the same one's load
        for name, run in order:
            before = time.perf_counter()
            run()
            if number >= 0:
                times[name].append(time.perf_counter() - before)
    return times


# -- throughput and latency ---------------------------------------------------------------------------------


def _tools(folder: Path) -> Path:
    """Make an image that has nothing but this machine's /usr, once it is mounted there."""
    image = folder / "tools"
    for name in ("usr", "tmp", "proc", "sys", "dev", "etc"):
        (image / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (image / name).symlink_to(f"usr/{name}")
    return image


def _traffic(
    client: Client,
    docker: engines.Engine,
    image: Path,
    machines: dict[str, tuple[Place, Place]],
    options: argparse.Namespace,
) -> None:
    command = ("/bin/sh", "-c", SERVE)
    numbers = (IPERF, REDIS)
    docker.load(image)
    published = (*(f"-p{each}:{each}" for each in numbers), f"-p{packets.PORT}:{packets.PORT}/udp")
    docker_id = docker.run("-d", "-v", "/usr:/usr:ro", *published, "bench", *command).strip()
    ports = [PublishedPort(host_port=each, container_port=each) for each in numbers]
    ports.append(PublishedPort(host_port=packets.PORT, container_port=packets.PORT, protocol="udp"))
    usr = Volume(source="/usr", target="/usr", read_only=True)
    spec = RunSpec(image=str(image), command=command, ports=tuple(ports), volumes=(usr,))
    pids = {
        "wherry": client.inspect(client.run_detached(spec).id).pid or 0,
        "docker": int(docker("inspect", "-f", "{{.State.Pid}}", docker_id)),
    }
    for name in pids:
        _await(machines[name][1], REDIS)
    found: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(options.turns):
        for name, pid in pids.items():
            host, neighbour = machines[name]
            for where, place, address in (("neighbour", neighbour, HOST), ("127.0.0.1", host, "127.0.0.1")):
                for what, value in _look(place, address, options.seconds):
                    found.setdefault((where, what, name), []).append(value)
            with Place.of(pid) as container:
                costs = packets.costs(neighbour, HOST, container)
            for what, cost in zip(("us of cpu, a packet in", "us of cpu, a packet out"), costs, strict=True):
                found.setdefault(("neighbour", what, name), []).append(cost * 1e6)
    for (where, what, name), values in sorted(found.items()):
        _say(f"{where:10} {what:24} {name:8} {statistics.median(values):8.2f}  of {len(values)}")


def _await(place: Place, port: int) -> None:
    """Wait until somebody listens there; docker takes connections before its container does."""

    def greeted() -> bool:
        with socket.create_connection((HOST, port), timeout=PATIENCE) as sock:
            sock.settimeout(QUIET)
            try:
                return bool(sock.recv(1))
            except TimeoutError:
                return True

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if place.call(greeted):
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"nobody listens on port {port}"
        time.sleep(0.1)


def _look(place: Place, address: str, seconds: int) -> Iterator[tuple[str, float]]:
    yield "Gbit/s in", _gigabits(place, address, seconds)
    yield "Gbit/s out", _gigabits(place, address, seconds, "-R")
    yield "us for a round trip", place.call(lambda: _round_trip(address)) * 1e6


def _gigabits(place: Place, address: str, seconds: int, *flags: str) -> float:
    deadline = time.monotonic() + PATIENCE
    while True:
        printed = place.run(
            "iperf3", "-c", address, "-p", str(IPERF), "-t", str(seconds), "-J", *flags, check=False
        )
        found = json.loads(printed)
        if "error" not in found:
            break
        # it may not be done with the one before
        assert time.monotonic() < deadline, found["error"]
    return float(found["end"]["sum_received"]["bits_per_second"]) / 1e9


def _round_trip(address: str) -> float:
    """Return the median seconds of a ping of redis."""
    times: list[float] = []
    with socket.create_connection((address, REDIS), timeout=PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(ROUND_TRIPS):
            before = time.perf_counter()
            sock.sendall(b"PING\r\n")
            sock.recv(100)
            times.append(time.perf_counter() - before)
    return statistics.median(times)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
