"""The kernel's counters, as its files have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wherryd.kernel import accounting, oom
from wherryd.kernel.accounting import Io, Stalled, Traffic

if TYPE_CHECKING:
    from pathlib import Path

MEMORY_EVENTS = "low 0\nhigh 3\nmax 1841\noom 12\noom_kill 5\noom_group_kill 1\n"
OOM_CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n"
NET_DEV = """Inter-|   Receive         |  Transmit
 face |bytes    packets errs  …  |bytes  …
    lo:   84516    1016  0  0  0  0  0  0  84516  1016  0  0  0  0  0  0
  eth0: 5000 41 1 2 0 0 0 7 900 12 3 4 0 0 0 0
 eth1.7:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16
"""


@pytest.mark.parametrize(
    ("text", "is_limit"),
    [("max\n", None), ("-1\n", None), ("9223372036854771712\n", None), ("819200\n", 819200), ("0\n", 0)],
)
def test_a_limit_is_a_number_or_none(text: str, is_limit: int | None) -> None:
    assert accounting.limit(text) == is_limit


def test_io_is_the_sum_of_all_devices_in_both_versions() -> None:
    first = "8:0 rbytes=1024 wbytes=10 rios=2 wios=1 dbytes=9 dios=9\n"
    text = f"{first}253:1 rbytes=1 wbytes=2 rios=3 wios=4\n7:0 \n"
    assert accounting.io_stat(text) == Io(rbytes=1025, wbytes=12, rios=5, wios=5)
    assert accounting.io_stat("") == Io()
    size = "8:0 Read 1024\n8:0 Write 10\n8:0 Sync 0\n8:0 Total 1034\n7:0 Read 1\nTotal 1035\n"
    count = "8:0 Read 2\n8:0 Write 1\n7:0 Read 3\nTotal 6\n"
    assert accounting.blkio(size, count) == Io(rbytes=1025, wbytes=10, rios=5, wios=1)
    assert accounting.blkio("Total 0\n", "Total 0\n") == Io()


def test_pressure_has_some_and_full() -> None:
    some = "some avg10=9.94 avg60=6.88 avg300=3.67 total=6247975345\n"
    assert accounting.pressure(f"{some}full avg10=0.00 avg60=1.50 avg300=0.00 total=7\n") == {
        "some": Stalled(avg10=9.94, avg60=6.88, avg300=3.67, total=6247975345),
        "full": Stalled(avg10=0.0, avg60=1.5, avg300=0.0, total=7),
    }


def test_traffic_is_that_of_every_interface_but_lo() -> None:
    found = accounting.net_dev(NET_DEV)
    assert list(found) == ["eth0", "eth1.7"]
    assert found["eth0"] == Traffic(
        rx_bytes=5000, rx_packets=41, rx_errors=1, rx_dropped=2,
        tx_bytes=900, tx_packets=12, tx_errors=3, tx_dropped=4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("file", "text", "version", "groups"),
    [("memory.events", MEMORY_EVENTS, 2, 1), ("memory.oom_control", OOM_CONTROL, 1, 0)],
)
def test_kills_are_counted_in_both_versions(
    tmp_path: Path, file: str, text: str, version: int, groups: int
) -> None:
    (tmp_path / file).write_text(text)
    assert oom.read_kills(str(tmp_path), version) == oom.Kills(oom_kill=5, oom_group_kill=groups)


def test_where_nothing_counts_nothing_is_said(tmp_path: Path) -> None:
    assert oom.read_kills(str(tmp_path), 1) is None
    assert oom.read_kills(str(tmp_path / "gone"), 2) is None
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\n")
    assert oom.read_kills(str(tmp_path), 1) is None, "Linux before 4.13 does not count"
    assert accounting.read(str(tmp_path / "gone")) is None
