"""The options of `run`, `create` and `update` that say what a container may use.

Owns their grammar, docker's names among them. Must never check what the supervisor checks.
"""

from __future__ import annotations

import re

from wherry.human import parse_size
from wherry_protocol.errors import BadRequest
from wherry_protocol.limits import DEFAULT_CPU_PERIOD, NO_LIMITS, UNLIMITED, DeviceRate, Limits
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import Any

    from wherry.cli.parser import Parser

_CPUS = re.compile(r"\d{0,9}(\.\d{0,9})?", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,18}", re.ASCII)
_TOO_LONG = re.compile(r"-?\d{10,}", re.ASCII)
_DEVICES = ("device_read_bps", "device_write_bps", "device_read_iops", "device_write_iops")


def add_limit_options(parser: Parser) -> None:
    """Add the options that may change while a container runs."""
    add = parser.add_argument
    add("-c", metavar="N", dest="cpu_parts", help="cpu time: N/100000 of a cpu (docker's -c is --cpu-shares)")
    add("--cpus", metavar="CPUS", help="cpu time: 1.5 is one and a half cpus")
    add("--cpu-quota", metavar="US", help="cpu time: microseconds in each period")
    add("--cpu-period", metavar="US", help="the period of --cpu-quota, or of --cpus (100000)")
    add("--cpu-weight", metavar="N", help="share of busy cpus, 1 to 10000 (100)")
    add("--cpu-shares", metavar="N", help="the same as docker counts it, 2 to 262144 (1024)")
    add("--cpuset-cpus", metavar="LIST", help="run on these cpus only: 0-2,7")
    add("--cpuset-mems", metavar="LIST", help="use memory of these NUMA nodes only")
    add("-m", "--memory", metavar="SIZE", help="memory: 64m, 2g, 819200")
    add("--memory-reservation", metavar="SIZE", help="memory that is left to it when it gets scarce")
    add("--memory-swap", metavar="SIZE", help="memory and swap together; -1 is unlimited (twice --memory)")
    add("--pids-limit", metavar="N", help="processes and threads; 0 or -1 is unlimited (4096)")
    add("--io-weight", metavar="N", help="share of busy disks, 1 to 10000 (100)")
    add("--blkio-weight", metavar="N", help="the same as docker counts it, 10 to 1000 (500)")
    for name in _DEVICES:
        what = "bytes" if name.endswith("bps") else "operations"
        kind = "reads" if "read" in name else "writes"
        add(
            f"--{name.replace('_', '-')}",
            metavar="DEV:RATE",
            action="append",
            default=[],
            help=f"{kind} of a disk: {what} a second",
        )


def add_oom_options(parser: Parser) -> None:
    """Add the options that are fixed when a container is made."""
    add = parser.add_argument
    add(
        "--oom-group",
        action="store_true",
        default=None,
        help="out of memory ends the whole container, not one process of it",
    )
    add("--oom-score-adj", metavar="N", help="how readily the kernel kills it, -1000 to 1000")
    add("--oom-kill-disable", action="store_true", help="refused: cgroup v2 cannot do it")


def add_lifting_note(parser: Parser) -> None:
    """Say in the help how `update` takes limits away."""
    parser.epilog = (
        "A limit is taken away by -1: -m -1 (and with it that of swap), --memory-swap -1, "
        "--memory-reservation -1, --pids-limit -1; of cpu time by --cpus 0 or --cpu-quota -1."
    )


def lifting_limits_from(args: Namespace) -> Limits:
    """Return the limits that the options of `update` mean: -1 takes one away. Raises BadRequest."""
    lifted: dict[str, Any] = {}
    for name in ("memory", "memory_reservation"):
        if getattr(args, name) == "-1":
            lifted[name] = UNLIMITED
            setattr(args, name, None)
    limits = limits_from(args)
    if limits.cpu_quota in (0, UNLIMITED):
        lifted["cpu_quota"] = UNLIMITED
    return limits.replace(**lifted) if lifted else limits


def limits_from(args: Namespace) -> Limits:
    """Return the limits that the options mean. Raises BadRequest."""
    if getattr(args, "oom_kill_disable", False):
        raise BadRequest(
            "--oom-kill-disable: cgroup v2 has no such thing, and on v1 a container would hang at its limit",
            hint="give it a higher --memory, or --oom-score-adj",
        )
    said: dict[str, Any] = {
        **_cpu(args),
        "cpu_weight": _number(args, "cpu_weight"),
        "cpu_shares": _number(args, "cpu_shares"),
        "cpuset_cpus": args.cpuset_cpus,
        "cpuset_mems": args.cpuset_mems,
        "memory": _size(args, "memory"),
        "memory_reservation": _size(args, "memory_reservation"),
        "memory_swap": UNLIMITED if args.memory_swap == "-1" else _size(args, "memory_swap"),
        "pids": _pids(args),
        "io_weight": _io_weight(args),
        "oom_group": getattr(args, "oom_group", None),
        "oom_score_adj": _number(args, "oom_score_adj"),
        **{name: _rates(args, name) for name in _DEVICES if getattr(args, name)},
    }
    given = {name: value for name, value in said.items() if value is not None}
    return Limits(**given) if given else NO_LIMITS


def _cpu(args: Namespace) -> dict[str, int | None]:
    """Return quota and period: -c, --cpus and --cpu-quota say the same thing in three ways."""
    ways = {"-c": args.cpu_parts, "--cpus": args.cpus, "--cpu-quota": args.cpu_quota}
    given = [option for option, text in ways.items() if text is not None]
    if len(given) > 1:
        raise BadRequest(f"{' and '.join(given)} both bound the cpu time", hint="give one of them")
    period = _number(args, "cpu_period")
    whole = DEFAULT_CPU_PERIOD if period is None else period
    quota = _number(args, "cpu_quota")
    if args.cpu_parts is not None:
        quota = _parsed(_whole, args.cpu_parts, "-c") * whole // DEFAULT_CPU_PERIOD
    if args.cpus is not None:
        quota = round(_parsed(_decimal, args.cpus, "--cpus") * whole)
    return {"cpu_quota": quota, "cpu_period": period}


def _number(args: Namespace, name: str) -> int | None:
    text: str | None = getattr(args, name, None)
    return None if text is None else _parsed(_whole, text, _option(name))


def _size(args: Namespace, name: str) -> int | None:
    text: str | None = getattr(args, name)
    return None if text is None else parse_size(text, _option(name))


def _pids(args: Namespace) -> int | None:
    number = _number(args, "pids_limit")
    return UNLIMITED if number == 0 else number


def _io_weight(args: Namespace) -> int | None:
    ours, dockers = _number(args, "io_weight"), _number(args, "blkio_weight")
    if dockers is None:
        return ours
    if ours is not None:
        raise BadRequest("--io-weight and --blkio-weight are the same thing", hint="give one of both")
    if not 10 <= dockers <= 1000:  # noqa: PLR2004 - docker's range
        raise BadRequest(f"--blkio-weight {dockers} is out of range", hint="10 to 1000")
    return max(1, dockers * 100 // 500)


def _rates(args: Namespace, name: str) -> tuple[DeviceRate, ...]:
    return tuple(_rate(text, _option(name), sized=name.endswith("bps")) for text in getattr(args, name))


def _rate(text: str, option: str, *, sized: bool) -> DeviceRate:
    path, _, rate = text.rpartition(":")
    if not path or not rate:
        raise BadRequest(f"{option} {text!r}: expected DEVICE:RATE", hint="such as /dev/sda:1m")
    number = parse_size(rate, option) if sized else _parsed(_whole, rate, option)
    return DeviceRate(path=path, rate=number)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _parsed(parse: Callable[[str], Any], text: str, option: str) -> Any:
    value = parse(text)
    if value is None:
        if _TOO_LONG.fullmatch(text):
            raise BadRequest(f"{option} {text[:40]}: the number is out of range")
        hint = "such as 0.5 or 2" if parse is _decimal else None
        raise BadRequest(f"{option} {text[:40]!r}: expected a number", hint=hint)
    return value


def _whole(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None


def _decimal(text: str) -> float | None:
    return float(text) if _CPUS.fullmatch(text) and text.strip(".") else None
