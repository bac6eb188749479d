"""`wherry stats` and the client's: the kernel's own numbers, of containers that come and go."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support import proc
from support.forms import within

from wherry import AsyncClient, BadRequest, Conflict, NotFound, RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

    from wherry import Client, Stats
    from wherry_protocol.stats import StatsSample

MIB = 1 << 20
TICK = 1 / os.sysconf("SC_CLK_TCK")
BUSY = ("sh", "-c", "while :; do :; done")


def start(client: Client, image: Path, *command: str, **fields: Any) -> str:
    """Start a container; return its name. It says "ready" when it has begun, unless it only sleeps."""
    spec = RunSpec(image=str(image), command=command, stop_timeout=0, **fields)
    return client.run_detached(spec).name


def await_word(client: Client, name: str, word: bytes = b"ready") -> None:
    with client.log_stream(name, follow=True) as lines:
        assert word in next(iter(lines)).data


def used(pid: int) -> float:
    """Processor seconds of a process, as /proc has them."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def test_processor_time_is_that_of_proc(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        name = start(client, busybox, *BUSY)
        pid = client.inspect(name).pid
        assert pid is not None
        with client.watch_stats([name], interval=0.3) as samples:
            first, second = [next(samples).containers[0] for _ in range(2)]
        before = used(pid)
        stats = client.stats(name)
        after = used(pid)
    assert stats.cpu is not None
    # Ticks are counted when they end.
    assert before - 2 * TICK <= stats.cpu.seconds <= after + 2 * TICK
    assert first.cpu is not None
    assert second.cpu is not None
    passed = second.time - first.time
    assert second.cpu_percent == pytest.approx(
        100 * (second.cpu.seconds - first.cpu.seconds) / passed, rel=0.05
    )
    assert second.cpu_percent > 1, "a busy loop, with what others leave of a processor"
    assert second.cpu.user_seconds + second.cpu.system_seconds == pytest.approx(second.cpu.seconds, abs=0.05)


def test_memory_and_processes_of_a_known_size(wherryd: Daemon, busybox: Path) -> None:
    script = (
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=24 2>/dev/null; sleep 1000 & sleep 1000 & echo ready; wait"
    )
    with wherryd.client() as client:
        name = start(client, busybox, "sh", "-c", script)
        await_word(client, name)
        stats = client.stats(name)
    memory = memory_of(stats)
    assert 24 * MIB <= memory.usage <= 32 * MIB
    assert 24 * MIB <= memory.working_set <= memory.usage, "what is in shared memory cannot be given back"
    assert memory.peak is None or memory.peak >= memory.usage
    assert memory.limited is False
    assert memory.limit == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert stats.pids is not None
    assert (stats.pids.current, stats.pids.limit) == (3, 4096)


def memory_of(stats: Stats) -> Any:
    assert stats.memory is not None, "this machine counts no memory: no memory controller in any hierarchy"
    return stats.memory


def test_one_that_sleeps_uses_nothing_and_has_no_interface(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        name = start(client, busybox, "sleep", "1000")
        own = client.stats(name)
        shared = client.stats(start(client, busybox, "sleep", "1000", network="host"))
        with client.watch_stats([name], interval=0.1) as samples:
            sample = next(samples)
    assert sample.containers[0].cpu_percent == pytest.approx(0, abs=1)
    assert own.network == {}
    assert (own.rx_bytes, own.tx_bytes) == (0, 0)
    assert shared.network is None, "the machine's traffic is not the container's"
    if Path("/proc/pressure/cpu").exists():
        assert own.pressure is not None
        assert set(own.pressure) == {"cpu", "memory", "io"}


def look_after(samples: Iterator[StatsSample], moment: float) -> StatsSample:
    """Return the first look after a moment: earlier ones wait for us, if we were late."""
    return next(sample for sample in samples if min(each.time for each in sample.containers) > moment)


def test_one_that_ends_is_in_no_further_look(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        going, staying = (start(client, busybox, "sleep", "1000") for _ in range(2))
        with client.watch_stats(interval=0.1) as samples:
            assert {going, staying} <= {each.name for each in next(samples).containers}
            client.stop(going, timeout=0)
            names = {each.name for each in look_after(samples, time.time()).containers}
            assert going not in names
            assert staying in names
            later = start(client, busybox, "sleep", "1000")
            names = {each.name for each in look_after(samples, time.time()).containers}
            assert later in names, "one that starts later is in the next look"


def test_the_named_ones_ends_end_the_stream(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        name = start(client, busybox, "sleep", "1000")
        with client.watch_stats([name], interval=within(0.1)) as samples:
            next(samples)
            client.stop(name, timeout=0)
            stopped = time.time()
            late = [sample for sample in samples if sample.containers[0].time > stopped]
            assert len(late) <= 1
            assert samples.answer is None
        with client.watch_stats([name], all=True, interval=0.1) as samples:
            (stats,) = next(samples).containers
            assert (stats.name, stats.running, stats.cpu, stats.memory) == (name, False, None, None)


def test_what_cannot_be_looked_at_is_refused_at_once(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        created = client.create(RunSpec(image=str(busybox), command=("sleep", "1000")))
        with pytest.raises(Conflict, match="is not running"):
            client.stats(created.name)
        with pytest.raises(NotFound):
            client.stats("missing")
        for refs, interval, error in (((created.name,), 1.0, Conflict), (("missing",), 1.0, NotFound),
                                      ((), 0.0, BadRequest), ((), float("nan"), BadRequest)):  # fmt: skip
            with client.watch_stats(refs, interval=interval) as samples, pytest.raises(error):
                next(samples)


async def test_the_async_client_looks_too(wherryd: Daemon, busybox: Path) -> None:
    async with AsyncClient(wherryd.run_dir, autostart=False) as client:
        created = await client.run_detached(RunSpec(image=str(busybox), command=BUSY, stop_timeout=0))
        assert (await client.stats(created.name)).id == created.id
        async with client.watch_stats([created.name], interval=0.1) as samples:
            async for sample in samples:
                assert sample.containers[0].cpu_percent
                break


def test_nobody_looks_any_more_when_the_client_goes(wherryd: Daemon, busybox: Path) -> None:
    """Looks cost nothing after the last one: no descriptor of a stream that was left stays open."""
    with wherryd.client() as client:
        start(client, busybox, "sleep", "1000")
        for _ in range(3):
            with client.watch_stats(interval=0.1) as samples:
                next(samples)
        # What is kept open of a container that lives is opened some 50 ms after its start.
        deadline, before = time.monotonic() + 15, None
        while before != (now := proc.descriptors(wherryd.pid)) and time.monotonic() < deadline:
            before = now
            time.sleep(0.3)
        for _ in range(10):
            with client.watch_stats(interval=0.1) as samples:
                next(samples)
        while not (same := proc.descriptors(wherryd.pid) <= now) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert same, f"{now} before, {proc.descriptors(wherryd.pid)} after"


# -- the command ---------------------------------------------------------------------------------------------


def test_the_table_and_json_and_a_template(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        name = start(client, busybox, "sleep", "1000", name="one")
    heading, line = cli(wherryd, "--no-stream").splitlines()
    for title in ("CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "NET I/O", "BLOCK I/O", "PIDS"):
        assert title in heading
    assert line.split()[1] == name
    assert (
        cli(wherryd, "--no-stream", "--format", "{{.Name}}\\t{{.PIDs}}\\t{{.NetIO}}") == "one\t1\t0B / 0B\n"
    )
    document = json.loads(cli(wherryd, "--no-stream", "--no-trunc", "--format", "json", name))
    assert len(document["ID"]) == 64
    assert document["Stats"]["pids"] == {"current": 1, "limit": 4096}
    assert document["Stats"]["memory"]["working_set"] > 0
    assert cli(wherryd, "--no-stream", "-a", "--format", "{{.Name}}", "one") == "one\n"


def cli(daemon: Daemon, *args: str) -> str:
    done = daemon.cli("stats", *args)
    assert (done.exit_code, done.stderr) == (0, ""), done
    return done.stdout


def test_one_that_does_not_run_is_shown_with_all_only(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        client.create(RunSpec(image=str(busybox), command=("true",), name="made"))
    assert cli(wherryd, "--no-stream", "--format", "{{.Name}}") == ""
    assert cli(wherryd, "--no-stream", "--all", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}") == (
        "made -- -- / --\n"
    )
    done = wherryd.cli("stats", "made")
    assert (done.exit_code, done.stderr) == (
        125, "wherry: container made is not running (see 'wherry ps -a')\n"
    )  # fmt: skip


def test_the_screen_is_redrawn_until_the_container_ends(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        start(client, busybox, "sleep", "1000", name="one")
        with wherryd.terminal("stats", "--interval", "0.1", "one") as terminal:
            terminal.resize(24, 200)
            terminal.expect("CONTAINER ID")
            terminal.expect("\x1b[H")
            terminal.expect("one")
            client.stop("one", timeout=0)
            terminal.expect("one: ended")
            assert terminal.wait() == 0


def test_ctrl_c_leaves_the_screen(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.terminal("stats") as terminal:
        terminal.expect("CONTAINER ID")
        terminal.send(b"\x03")
        assert terminal.wait() == 0


def test_traffic_is_what_the_container_sees_of_its_own(fresh_wherryd: Daemon, busybox: Path) -> None:
    """On a bridge, after some packets; the exec reads the same counters from the inside."""
    with fresh_wherryd.client() as client:
        name = start(client, busybox, "sleep", "1000", network="bridge")
        gateway = client.inspect(name).endpoints[0].gateway
        assert gateway is not None
        client.exec(name, ["nc", "-w", "1", gateway, "9"])  # a question and a refusal
        before = inside(client, name)
        stats = client.stats(name)
        after = inside(client, name)
    assert stats.network is not None
    (interface,) = stats.network.values()
    assert before["rx"] <= interface.rx_bytes <= after["rx"]
    assert before["tx"] <= interface.tx_bytes <= after["tx"]
    assert (stats.rx_bytes, stats.tx_bytes) == (interface.rx_bytes, interface.tx_bytes)
    assert interface.tx_packets > 0
    assert interface.rx_packets > 0


def inside(client: Client, name: str) -> dict[str, int]:
    """Return the bytes of the one interface beside lo, as a process of the container reads them."""
    text = client.exec(name, ["cat", "/proc/net/dev"]).check().stdout.decode()
    (line,) = (line for line in text.splitlines()[2:] if not line.strip().startswith("lo:"))
    numbers = line.partition(":")[2].split()
    return {"rx": int(numbers[0]), "tx": int(numbers[8])}
