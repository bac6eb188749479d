"""Bad limits on the command line: one line, code 125, nothing made; and what inspect says of good ones."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from support.groupkit import directories, tree_of

from wherry import RunSpec
from wherry_protocol.stats import PidsStats

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("-c 999", "cpu limit 0.00999 cpus is too small"),
        ("-c -5", "cpu limit -0.00005 cpus is too small"),
        ("-c x", "-c 'x': expected a number"),
        ("-c 99999999999999999999", "-c 99999999999999999999: the number is out of range"),
        ("--cpus 0", "too small"),
        ("--cpus -1", "--cpus '-1': expected a number (such as 0.5 or 2)"),
        ("--cpus .", "--cpus '.': expected a number"),
        ("--cpus 1e3", "expected a number"),
        ("--cpus 4000", "above the machine"),
        ("-m 64000g", "above the machine"),
        ("-c 20000 --cpus 1", "-c and --cpus both bound the cpu time"),
        ("-m 0", "memory limit 0 bytes is too small"),
        ("-m 100k", "no process starts with less than 131072"),
        ("-m -5", "--memory: '-5' is no size"),
        ("-m 5x", "--memory: '5x' is no size"),
        ("-m 99999999999999999999", "--memory: 99999999999999999999 is out of range"),
        ("--memory-reservation 0", "memory reservation 0 bytes is no size (the least is 1)"),
        ("-m 1g --memory-swap 1m", "below the memory limit"),
        ("--memory-swap 1g", "without a memory limit"),
        ("--pids-limit -2", "pids limit -2 is out of range"),
        ("--pids-limit many", "expected a number"),
        ("--cpuset-cpus 4000", "not available"),
        ("--cpuset-cpus a-b", "malformed"),
        ("--io-weight 0", "io weight 0 is out of range"),
        ("--blkio-weight 5", "--blkio-weight 5 is out of range"),
        ("--device-read-bps /dev/null:1m", "'/dev/null' is no block device"),
        ("--device-read-bps /dev/nope:1m", "'/dev/nope': No such file or directory"),
        ("--device-read-bps nope", "expected DEVICE:RATE"),
        ("--device-write-iops /dev/null:1m", "expected a number"),
        ("--oom-kill-disable", "cgroup v2 has no such thing"),
        ("--oom-score-adj 2000", "oom_score_adj 2000 is out of range"),
    ],
)
def test_a_bad_limit_is_one_line_and_nothing_is_made(
    wherryd: Daemon, busybox: Path, options: str, words: str
) -> None:
    before = directories(wherryd)
    done = wherryd.cli("create", *options.split(), busybox, "true")
    assert (done.exit_code, done.stdout) == (125, "")
    assert words in done.stderr
    assert done.stderr.startswith("wherry: ")
    assert done.stderr.count("\n") == 1
    assert not {*directories(wherryd)} - {*before}
    assert wherryd.cli("ps", "-aq").stdout == ""


def test_a_group_kill_is_refused_where_the_kernel_has_none(wherryd: Daemon, busybox: Path) -> None:
    """On v1 it says why; on v2 it is taken."""
    done = wherryd.cli("create", "--oom-group", busybox, "true")
    if tree_of(wherryd).version_of("memory") == 1:
        assert done.exit_code == 125
        assert "v1 hierarchy" in done.stderr
    else:
        assert done.exit_code == 0


def test_inspect_says_limits_under_dockers_names(wherryd: Daemon, busybox: Path) -> None:
    """As people's jq lines have them; twice the memory is what docker says of swap."""
    options = "--cpus 0.5 -m 64m --pids-limit 0 --cpu-shares 512 --memory-reservation 32m"
    made = wherryd.cli("create", *options.split(), "--oom-score-adj", "300", busybox, "true").stdout.strip()
    found = json.loads(wherryd.cli("inspect", made).stdout)[0]["HostConfig"]
    expected = {
        "NanoCpus": 500_000_000, "CpuQuota": 50_000, "CpuPeriod": 100_000, "Memory": 64 << 20,
        "MemorySwap": 128 << 20, "PidsLimit": -1, "CpusetCpus": "", "CpuShares": 512,
        "MemoryReservation": 32 << 20, "OomScoreAdj": 300, "OomKillDisable": False,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_an_update_that_says_nothing_or_the_impossible_changes_nothing(
    wherryd: Daemon, busybox: Path
) -> None:
    made = wherryd.cli("create", "-m", "64m", busybox, "true").stdout.strip()
    for options, words in (
        ([], "nothing to change"),
        (["-m", "10k"], "too small"),
        (["--memory-swap", "1m"], "below the memory limit"),
        (["--cpus", "4000"], "above the machine"),
    ):
        done = wherryd.cli("update", *options, made)
        assert done.exit_code != 0
        assert words in done.stderr
    found = json.loads(wherryd.cli("inspect", made).stdout)[0]["HostConfig"]
    assert (found["Memory"], found["NanoCpus"]) == (64 << 20, 0)


def test_fewer_processes_than_there_are_is_taken_and_said(wherryd: Daemon, busybox: Path) -> None:
    """The kernel ends none of them and starts no other: what is left of a fork bomb can be looked at."""
    script = "sleep 100 & sleep 100 & echo go; read line; (echo more); echo end"
    spec = RunSpec(image=str(busybox), command=("sh", "-c", script), network="none", stdin=True)
    with wherryd.client() as client:
        made = client.run_detached(spec).id
        with client.attach_stream(made) as attached:
            next(attached)
            fd = attached.take_fd()
            assert fd is not None
            with client.log_stream(made, follow=True) as lines:
                assert next(iter(lines)).data == b"go\n"
            done = wherryd.cli("update", "--pids-limit", "2", made)
            assert (done.exit_code, done.stdout) == (0, f"{made}\n")
            words = f"wherry: {made} has 3 processes, more than 2: they go on, and no other can start\n"
            assert done.stderr == words
            assert client.stats(made).pids == PidsStats(current=3, limit=2)
            os.write(fd, b"\n")
            os.close(fd)
        assert client.wait(made).code == 2
        assert b"fork" in client.logs(made)
        assert b"more" not in client.logs(made)
        assert wherryd.cli("update", "--pids-limit", "1", made).stderr == ""


def test_oom_score_adj_is_the_processs_own(wherryd: Daemon, busybox: Path) -> None:
    done = wherryd.cli("run", "--rm", "--oom-score-adj", "700", busybox, "cat", "/proc/self/oom_score_adj")
    assert done.stdout == "700\n"


def test_info_says_where_each_controller_is(wherryd: Daemon) -> None:
    """By its name, version and mount point."""
    shown = wherryd.cli("info", "--format", "json").stdout
    controllers = json.loads(shown)["Controllers"]
    tree = tree_of(wherryd)
    for name in ("memory", "pids"):
        version = tree.version_of(name)
        assert controllers[name].startswith(f"v{version} /")
