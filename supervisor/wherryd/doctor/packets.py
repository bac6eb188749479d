"""Networks: bridges and rules, tried with our own code in a network namespace that nobody else sees."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wherryd.doctor.finding import ok, problem, warning
from wherryd.doctor.trial import trial
from wherryd.kernel.errors import KernelError
from wherryd.kernel.nftables import Nftables
from wherryd.kernel.syscalls import CLONE_NEWNET
from wherryd.network.rules.ruleset import Bridge, Forward, elements_of, whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherryd.doctor.finding import Finding
    from wherryd.settings import Settings

_SYS = Path("/proc/sys/net")
_NEARLY = 0.9
_ONLY = "containers with --network none and host run all the same"


def look(settings: Settings) -> Iterator[Finding]:
    """Bridges, rules, and what of the host's settings is in the way."""
    yield _library() or _bridges() or _rules(settings) or ok("networks", _told_well())
    yield from _drops(settings)
    yield from _flows()


def _library() -> Finding | None:
    try:
        Nftables().close()
    except KernelError as error:
        return problem("networks", f"no libnftables: {_ONLY}", error.hint)
    return None


def _bridges() -> Finding | None:
    why = trial(CLONE_NEWNET, _make_bridge)
    if why is None:
        return None
    return problem("networks", f"no bridge can be made: {why}", "modprobe bridge veth; " + _ONLY)


def _make_bridge() -> None:
    from wherryd.network.process import links  # its sockets are of the namespace that it begins in

    links.make_bridge("wherrytrial", "02:00:00:00:00:01", [("192.0.2.1", 24)], 1500, fds=[])


def _rules(settings: Settings) -> Finding | None:
    why = trial(CLONE_NEWNET, lambda: _make_rules(settings.instance))
    if why is None:
        return None
    modules = "modprobe nf_tables nft_chain_nat nft_masq nft_meta_bridge"
    return problem("networks", f"the kernel refuses our nftables rules: {why}", f"{modules}; {_ONLY}")


def _make_rules(table: str) -> None:
    bridge = Bridge(link="wherrytrial", gateways=("192.0.2.1/24",))
    port = Forward(protocol="tcp", host_ip="", host_port=8080, address="192.0.2.2", port=80)
    Nftables().run(whole(table, elements_of(bridges=[bridge], forwards=[port])))


def _told_well() -> str:
    forwards = _read("ipv4/ip_forward") == "1"
    more = "" if forwards else "; net.ipv4.ip_forward is 0: the first network sets it"
    return f"bridges and nftables rules work{more}"


def _drops(settings: Settings) -> Iterator[Finding]:
    from wherryd.network.process.nft import foreign_drops

    try:
        chains = foreign_drops(settings.instance)
    except KernelError:
        return  # told above
    for chain in chains:
        yield warning(
            "networks",
            f"nftables chain {chain} drops forwarded packets: containers may be cut off",
            "accept what comes from and goes to our bridges there",
        )


def _flows() -> Iterator[Finding]:
    used, most = _read("netfilter/nf_conntrack_count"), _read("netfilter/nf_conntrack_max")
    if used.isdigit() and most.isdigit() and int(used) > _NEARLY * int(most):
        name = "net.netfilter.nf_conntrack_max"
        yield warning(
            "networks", f"{used} of {most} flows are in use: new ones are dropped soon", f"raise {name}"
        )


def _read(name: str) -> str:
    try:
        return (_SYS / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""
