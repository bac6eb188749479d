"""network create, ls, inspect, rm, connect, disconnect, prune, and networks in run, as people type them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from clikit import ok, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon


@pytest.fixture(scope="module", autouse=True)
def awake(shared_daemon: Daemon) -> None:
    """Have the supervisor start its network process, which stays."""
    ok(shared_daemon, "network", "create", "first")
    ok(shared_daemon, "network", "rm", "first")


@pytest.fixture
def lan(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor with a network "lan"; its bridges go at its end, as do the rest of this test's here."""
    ok(wherryd, "network", "create", "--label", "team=a", "lan", "10.77.0.0/24")
    yield wherryd
    wherryd.remove_containers()
    ok(wherryd, "network", "prune", "-f")


def test_create_prints_the_id_and_ls_shows_it(lan: Daemon) -> None:
    identity = ok(
        lan, "network", "create", "--internal", "--ipv6", "--subnet", "10.78.0.0/24", "inner"
    ).strip()
    listed = ok(lan, "network", "ls")
    assert listed.splitlines()[0].split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE", "SUBNETS"]
    assert f"{identity[:12]}   inner    bridge   local   10.78.0.0/24,fd" in listed
    assert ok(lan, "network", "ls", "-q", "--filter", "label=team=a").strip() in listed
    assert ok(lan, "network", "ls", "--format", "{{.Name}}", "-f", "type=builtin").split() == [
        "bridge", "host", "none",
    ]  # fmt: skip
    (document,) = json.loads(ok(lan, "network", "inspect", identity[:10]))
    assert (document["Name"], document["Internal"], document["EnableIPv6"]) == ("inner", True, True)
    assert document["IPAM"]["Config"][0] == {"Subnet": "10.78.0.0/24", "Gateway": "10.78.0.1"}


def test_run_says_where_it_is_and_inspect_shows_it(lan: Daemon, busybox: Path) -> None:
    flags = ("--network", "name=lan,ip=10.77.0.9,alias=db", "--mac-address", "02:00:00:00:00:09")
    ok(lan, "run", "-d", "--name", "web", *flags, busybox, "sleep", "1000")
    (document,) = json.loads(ok(lan, "inspect", "web"))
    settings = document["NetworkSettings"]
    assert (settings["IPAddress"], settings["Gateway"], settings["IPPrefixLen"]) == (
        "10.77.0.9",
        "10.77.0.1",
        24,
    )
    network = settings["Networks"]["lan"]
    assert (network["MacAddress"], network["Aliases"]) == ("02:00:00:00:00:09", ["db"])
    assert document["HostConfig"]["NetworkMode"] == "lan"
    assert ok(lan, "ps", "--format", "{{.Names}} {{.Networks}}", "--filter", "network=lan") == "web lan\n"
    (inspected,) = json.loads(ok(lan, "network", "inspect", "lan"))
    (member,) = inspected["Containers"].values()
    assert (member["Name"], member["IPv4Address"]) == ("web", "10.77.0.9/24")
    assert "is used by container web" in refused(lan, "network", "rm", "lan")


def test_connect_and_disconnect_print_nothing_and_are_told(lan: Daemon, busybox: Path) -> None:
    ok(lan, "run", "-d", "--name", "web", "--network", "none", busybox, "sleep", "1000")
    assert ok(lan, "network", "connect", "--ip", "10.77.0.20", "lan", "web") == ""
    assert "10.77.0.20/24" in ok(lan, "exec", "web", "ip", "addr")
    assert ok(lan, "network", "disconnect", "lan", "web") == ""
    assert "eth" not in ok(lan, "exec", "web", "ip", "addr")
    assert "is not on network lan" in refused(lan, "network", "disconnect", "lan", "web")
    ok(lan, "network", "disconnect", "-f", "lan", "web")
    lines = ok(
        lan, "events", "--since", "1m", "--until", "0s", "--filter", "network=lan", "--format", "{{.Action}}"
    )
    assert lines.split()[-3:] == ["create", "connect", "disconnect"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("network",), "a command is missing"),
        (("network", "create"), "NAME"),
        (("network", "create", "x", "10.0.0.0/33"), "is malformed"),
        (("network", "create", "--icc=perhaps", "x"), "invalid choice"),
        (("network", "rm", "nope"), "no network nope"),
        (("network", "rm", "bridge"), "cannot be removed"),
        (("network", "connect", "lan", "nope"), "no container nope"),
        (("network", "prune"), "use --force"),
        (("run", "--network", "name=lan,speed=9", "IMAGE", "true"), "'speed=9' is not understood"),
        (("run", "--network", "ip=10.77.0.3", "IMAGE", "true"), "name= is missing"),
        (("run", "--add-host", "db", "IMAGE", "true"), "expected NAME:IP"),
        (("run", "--dns", "one.one", "IMAGE", "true"), "no IP address"),
        (("run", "--network", "lan", "--ip", "10.77.0.300", "IMAGE", "true"), "no IP address"),
    ],
)
def test_what_cannot_be_is_one_line(lan: Daemon, busybox: Path, words: tuple[str, ...], text: str) -> None:
    line = refused(lan, *(str(busybox) if word == "IMAGE" else word for word in words))
    assert text in line
