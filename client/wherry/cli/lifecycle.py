"""stop, restart, kill, pause, unpause, wait, rm, rename: what happens to containers that exist.

Owns their options, and doing it to several containers at once. Must never decide what the
supervisor decides.
"""

from __future__ import annotations

from wherry.cli.main import complain
from wherry.cli.parser import Command
from wherry_protocol.errors import WherryError
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Sequence

    from wherry.cli.parser import Parser
    from wherry.client import Client

_AT_ONCE = 32
"""Threads, each with a connection: a stop spends its time waiting."""


def for_each(
    refs: Sequence[str], act: Callable[[str], str], *, again: bool = False, at_once: int = _AT_ONCE
) -> int:
    """Do something to every container at once and print what it returns, in the order given.

    The error of a single reference is raised; those of several are lines of their own, and the code is 1.
    With `again`, what failed is tried again as long as others succeeded: these may have been in its way.
    """
    if len(refs) == 1:
        print(act(refs[0]))
        return 0
    failed = _round(refs, act, at_once)
    while again and failed and len(failed) < len(refs):
        refs = [*failed]
        failed = _round(refs, act, at_once)
    for error in failed.values():
        complain(str(error))
    return 1 if failed else 0


def _round(refs: Sequence[str], act: Callable[[str], str], at_once: int) -> dict[str, WherryError]:
    """Do it once to each; return the errors by reference."""
    from concurrent.futures import ThreadPoolExecutor

    failed: dict[str, WherryError] = {}
    with ThreadPoolExecutor(max_workers=min(len(refs), at_once)) as threads:
        futures = [(ref, threads.submit(act, ref)) for ref in refs]
        for ref, future in futures:
            try:
                print(future.result(), flush=True)
            except WherryError as error:
                failed[ref] = error
    return failed


def _refs(parser: Parser) -> None:
    parser.add_argument("refs", metavar="CONTAINER", nargs="+", help="a name, an id, or the start of an id")


def _timed(parser: Parser) -> None:
    parser.add_argument(
        "-t", "--time", metavar="SECONDS", type=float, help="until SIGKILL (the container's own)"
    )
    _refs(parser)


def _signalled(parser: Parser) -> None:
    parser.add_argument("-s", "--signal", default="KILL", help="name or number (KILL)")
    _refs(parser)


def _removed(parser: Parser) -> None:
    parser.add_argument("-f", "--force", action="store_true", help="kill a running one first")
    parser.add_argument(
        "-v", "--volumes", action="store_true", help="and the volumes made for it without a name"
    )
    _refs(parser)


def _renamed(parser: Parser) -> None:
    parser.add_argument("ref", metavar="CONTAINER")
    parser.add_argument("name", metavar="NAME", help="the new name")


def _stop(client: Client, args: Namespace) -> int:
    def act(ref: str) -> str:
        client.stop(ref, args.time)
        return ref

    return for_each(args.refs, act)


def _restart(client: Client, args: Namespace) -> int:
    def act(ref: str) -> str:
        client.restart(ref, args.time)
        return ref

    return for_each(args.refs, act)


def _kill(client: Client, args: Namespace) -> int:
    def act(ref: str) -> str:
        client.kill(ref, args.signal)
        return ref

    return for_each(args.refs, act)


def _pause(client: Client, args: Namespace) -> int:
    def act(ref: str) -> str:
        client.pause(ref)
        return ref

    return for_each(args.refs, act)


def _unpause(client: Client, args: Namespace) -> int:
    def act(ref: str) -> str:
        client.unpause(ref)
        return ref

    return for_each(args.refs, act)


def _awaited(parser: Parser) -> None:
    parser.add_argument(
        "--condition",
        choices=("exited", "healthy", "next-exit", "removed"),
        default="exited",
        help="exited: at once if it has; healthy: until the probes have said how they are, the code is 1 if "
        "one is not; next-exit: not the one that has been; removed (exited)",
    )
    _refs(parser)


def _wait(client: Client, args: Namespace) -> int:
    if args.condition == "healthy":
        return _wait_healthy(client, args.refs)
    wait = {
        "exited": client.wait,
        "next-exit": client.wait_next_exit,
        "removed": client.wait_removed,
    }[args.condition]

    def act(ref: str) -> str:
        code = wait(ref).exit_code
        return "unknown" if code is None else str(code)

    # An exit that nobody waits for yet would be missed.
    return for_each(args.refs, act, at_once=len(args.refs))


def _wait_healthy(client: Client, refs: Sequence[str]) -> int:
    verdicts: list[bool] = []

    def act(ref: str) -> str:
        healthy = client.wait_healthy(ref)
        verdicts.append(healthy)
        return "healthy" if healthy else "unhealthy"

    code = for_each(refs, act)
    return code if all(verdicts) else 1


def _remove(client: Client, args: Namespace) -> int:
    def act(ref: str) -> str:
        client.remove(ref, force=args.force, volumes=args.volumes)
        return ref

    return for_each(args.refs, act, again=True)


def _rename(client: Client, args: Namespace) -> int:
    client.rename(args.ref, args.name)
    return 0


COMMANDS = {
    "stop": Command(configure=_timed, execute=_stop),
    "restart": Command(configure=_timed, execute=_restart),
    "kill": Command(configure=_signalled, execute=_kill),
    "pause": Command(configure=_refs, execute=_pause),
    "unpause": Command(configure=_refs, execute=_unpause),
    "wait": Command(configure=_awaited, execute=_wait),
    "rm": Command(configure=_removed, execute=_remove),
    "rename": Command(configure=_renamed, execute=_rename),
}
