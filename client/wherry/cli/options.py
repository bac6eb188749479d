"""What `run` and `create` take, and the specification that it means.

Owns the grammar of every option's value. Must never check what only the supervisor can know.
"""

from __future__ import annotations

import os

from wherry.cli.health_options import add_health_options, health_check
from wherry.cli.limit_options import add_limit_options, add_oom_options, limits_from
from wherry.cli.log_options import add_log_options, log_options_from
from wherry.cli.network_options import add_network_options, network_fields
from wherry.cli.port_options import add_port_options, port_fields
from wherry.cli.restart_options import add_restart_options, policy_from, requires_from
from wherry_protocol.errors import BadRequest
from wherry_protocol.restarts import NO_RESTART
from wherry_protocol.run_spec import DEFAULT_STOP_TIMEOUT, RunSpec, Ulimit
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable, Mapping

    from wherry.cli.parser import Parser
    from wherry_protocol.run_spec import Tmpfs, Volume

_UNLIMITED = -1


def add_options(parser: Parser) -> None:
    """Add every option that a specification is made from."""
    add = parser.add_argument
    add("-i", "--interactive", action="store_true", help="keep standard input open")
    add("-t", "--tty", action="store_true", help="give the container a terminal")
    add("-n", "--name", metavar="NAME", help="the container's name; one is made up without")
    add("--label", metavar="KEY[=VALUE]", action="append", default=[], help="attach a label")
    add("--cidfile", metavar="FILE", help="write the container's id to a new file")
    _add_process_options(parser)
    _add_file_options(parser)
    _add_life_options(parser)
    parser.section("networks and ports")
    add_network_options(parser)
    add_port_options(parser)
    parser.section("limits")
    add_limit_options(parser)
    add_oom_options(parser)
    add("--ulimit", metavar="NAME=SOFT[:HARD]", action="append", default=[], help="set a resource limit")
    parser.section("health")
    add_health_options(parser)


def _add_process_options(parser: Parser) -> None:
    parser.section("the process")
    add = parser.add_argument
    add(
        "-e",
        "--env",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="a variable, or ours passed on",
    )
    add("--env-file", metavar="FILE", action="append", default=[], help="set variables from a file's lines")
    add("-w", "--workdir", metavar="DIR", help="working directory inside")
    add("-u", "--user", metavar="USER[:GROUP]", default="", help="names or ids, as the container knows them")
    add("--hostname", metavar="NAME", help="host name inside")
    add("--entrypoint", metavar="PROGRAM", help="replace the image's entry point ('' clears it)")
    add("--init", action="store_true", help="run a small init that reaps and forwards signals")


def _add_file_options(parser: Parser) -> None:
    parser.section("files")
    add = parser.add_argument
    for names, metavar, text in (
        (("-v", "--volume"), "[SRC:]DST[:OPTIONS]", "mount a host path or volume (ro, nocopy, rslave)"),
        (
            ("--mount",),
            "KEY=VALUE,…",
            "the same at length: type=bind|volume|tmpfs,source=,target=,ro,…",
        ),
        (("--volumes-from",), "CONTAINER[:ro]", "mount what another container has"),
        (("--tmpfs",), "DST[:OPTIONS]", "mount a tmpfs (size=64m,mode=1777)"),
    ):
        add(*names, metavar=metavar, action="append", default=[], help=text)
    add("--read-only", action="store_true", help="mount the container's root read-only")


def _add_life_options(parser: Parser) -> None:
    parser.section("its end, and the next start")
    add = parser.add_argument
    add("--rm", action="store_true", help="remove the container when it has ended")
    add("--stop-signal", metavar="SIGNAL", help="what `stop` sends (default SIGTERM)")
    add(
        "--stop-timeout",
        metavar="SECONDS",
        type=float,
        default=DEFAULT_STOP_TIMEOUT,
        help="until SIGKILL (10)",
    )
    add_restart_options(parser)
    add_log_options(parser)


def spec_from(args: Namespace) -> RunSpec:
    """Return the specification that the options and operands mean. Raises BadRequest."""
    if not args.operands:
        raise BadRequest("an image is missing", hint="'host' runs this machine's own programs")
    image, *command = args.operands
    volumes, tmpfs = _mounts(args)
    return RunSpec(
        image=image, command=tuple(command), name=args.name, auto_remove=args.rm, hostname=args.hostname,
        entrypoint=entrypoint(args.entrypoint), env=environment(args.env_file, args.env, os.environ),
        volumes=volumes, volumes_from=tuple(args.volumes_from), tmpfs=tmpfs,
        workdir=args.workdir, user=args.user, read_only=args.read_only, init=args.init,
        ulimits=tuple(map(ulimit, args.ulimit)), labels=labels(args.label),
        stop_signal=args.stop_signal, stop_timeout=args.stop_timeout, **network_fields(args),
        stdin=args.interactive, tty=args.tty, health=health_check(args), limits=limits_from(args),
        restart=policy_from(args) or NO_RESTART, requires=requires_from(args) or (), **port_fields(args),
        log=log_options_from(args),
    )  # fmt: skip


def _mounts(args: Namespace) -> tuple[tuple[Volume, ...], tuple[Tmpfs, ...]]:
    if not (args.volume or args.mount or args.tmpfs):
        return (), ()
    from wherry.cli import mounts

    return mounts.split(
        [*map(mounts.volume, args.volume), *map(mounts.mount, args.mount), *map(mounts.tmpfs, args.tmpfs)]
    )


def entrypoint(value: str | None) -> tuple[str, ...] | None:
    """Return the entry point: None takes the image's, an empty one clears it."""
    if value is None:
        return None
    return (value,) if value else ()


def environment(files: Iterable[str], given: Iterable[str], ours: Mapping[str, str]) -> dict[str, str]:
    """Return variables from files, then from options; one without a value is passed on from `ours`."""
    found: dict[str, str] = {}
    for path in files:
        for number, line in enumerate(_lines(path), start=1):
            _assign(found, line, ours, f"--env-file {path}, line {number}")
    for text in given:
        _assign(found, text, ours, "-e")
    return found


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.rstrip("\r\n") for line in file]
    except OSError as error:
        raise BadRequest(f"--env-file {path}: {error.strerror}") from None
    return ["" if line.lstrip().startswith("#") else line.lstrip() for line in lines]


def _assign(found: dict[str, str], text: str, ours: Mapping[str, str], option: str) -> None:
    name, has_value, value = text.partition("=")
    if not text and option != "-e":
        return
    if not name or "\0" in text or any(letter.isspace() for letter in name):
        raise BadRequest(f"{option} {text!r}: expected NAME=VALUE or NAME")
    if has_value:
        found[name] = value
    elif name in ours:
        found[name] = ours[name]


def ulimit(text: str) -> Ulimit:
    """Read NAME=SOFT[:HARD]; without HARD it is SOFT, -1 or unlimited is no limit."""
    name, _equals, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    first = _limit(soft)
    second = _limit(hard) if colon else first
    if not name or first is None or second is None:
        raise BadRequest(f"--ulimit {text!r}: expected NAME=SOFT or NAME=SOFT:HARD")
    return Ulimit(name=name.lower(), soft=first, hard=second)


def _limit(text: str) -> int | None:
    if text in {"-1", "unlimited"}:
        return _UNLIMITED
    return int(text) if text.isascii() and text.isdigit() else None


def labels(given: Iterable[str]) -> dict[str, str]:
    """Read KEY=VALUE or KEY, whose value is empty."""
    found: dict[str, str] = {}
    for text in given:
        name, _equals, value = text.partition("=")
        if not name:
            raise BadRequest(f"--label {text!r}: expected KEY=VALUE or KEY")
        found[name] = value
    return found
