"""`wherryd`: flags, checks that end with one clear line, and the way into the background.

Owns the exit codes: 0 after an orderly end, 1 when the supervisor could not start, 2 for bad usage, 3 when
another supervisor has its directories.
"""

from __future__ import annotations

import argparse
import os
import resource
import select
import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from wherry_protocol.errors import BadRequest, Unsupported, WherryError
from wherryd import __version__, journal, no_memory
from wherryd.directories import DirectoryLocks, Held, make_directories
from wherryd.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DETACH_TIMEOUT = 60.0
"""Seconds that `--detach` waits for the supervisor to be ready: it may have to put much in order first."""

FAILED_EXIT, HELD_EXIT = 1, 3

LOG_MAX = 16 << 20
"""Bytes of wherryd.log at which the next start in the background puts it aside as wherryd.log.1."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the supervisor."""
    flags = _parser().parse_args(argv)
    try:
        read = partial(
            load_settings,
            state_dir=flags.state_dir,
            run_dir=flags.run_dir,
            stop_containers=flags.stop_containers,
            debug=flags.debug,
            metrics=flags.metrics,
        )
        settings = read()
        if flags.doctor:
            from wherryd.doctor.examine import report

            sys.exit(0 if report(settings) else FAILED_EXIT)
        _check_host()
        os.umask(0o022)
        os.chdir("/")  # nothing that we start, and no working directory of ours, holds a mount
        make_directories(settings)
        if flags.detach:
            _detach(settings, read)
        _serve(settings, read, _nobody_waits)
    except WherryError as error:
        _die(error, _exit_code(error))
    except MemoryError:
        no_memory.end()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wherryd",
        description="The wherry supervisor: starts containers, records what they print and how they end.",
        epilog="Without --detach it stays in the foreground. SIGTERM ends it; containers go on. SIGHUP has "
        "it read its settings again.",
    )
    parser.add_argument("--version", action="version", version=f"wherryd {__version__}")
    parser.add_argument("--detach", action="store_true", help="go into the background once ready")
    parser.add_argument(
        "--state-dir", metavar="DIR", help="images, containers, logs (WHERRY_STATE_DIR, /var/lib/wherry)"
    )
    parser.add_argument("--run-dir", metavar="DIR", help="sockets and locks (WHERRY_RUN_DIR, /run/wherry)")
    parser.add_argument(
        "--stop-containers",
        action="store_true",
        help="on SIGTERM stop containers too (default: leave them)",
    )
    parser.add_argument(
        "--metrics",
        metavar="ADDRESS",
        help="serve OpenMetrics: unix:/PATH (mode 0600), 127.0.0.1:PORT or [::1]:PORT (WHERRY_METRICS)",
    )
    parser.add_argument("--debug", action="store_true", help="log every plan and request")
    parser.add_argument(
        "--doctor",
        action="store_true",
        help="look whether containers can run here, serve nothing: JSON lines (see wherry doctor)",
    )
    return parser


def _exit_code(error: WherryError) -> int:
    return HELD_EXIT if isinstance(error, Held) else FAILED_EXIT


def _die(error: WherryError, code: int = FAILED_EXIT) -> NoReturn:
    sys.stderr.write(f"wherryd: {error}\n")
    sys.exit(code)


def _check_host() -> None:
    from wherryd.kernel import features

    if os.geteuid() != 0:
        raise Unsupported(
            "wherryd must run as root: namespaces, cgroups and overlayfs need it", hint="use sudo"
        )
    problems = features.problems()
    if problems:
        raise Unsupported("this host lacks what containers need: " + "; ".join(problems))


def _nobody_waits() -> None:
    """Take the word that the supervisor is ready, when nobody waits for it."""


def _serve(settings: Settings, read: Callable[[], Settings], ready: Callable[[], None]) -> None:
    locks = DirectoryLocks(settings)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    journal.setup(debug=settings.debug)
    _arm_failpoints()
    from wherryd.serve import run

    run(settings, read, ready)
    del locks


def _arm_failpoints() -> None:
    from wherryd.kernel import failpoints

    try:
        failpoints.arm(os.environ.get(failpoints.VARIABLE))
    except failpoints.BadFailpoint as error:
        raise BadRequest(
            f"{failpoints.VARIABLE}: {error}", hint="python -m wherryd.kernel.failpoints lists them"
        ) from error


def _detach(settings: Settings, read: Callable[[], Settings]) -> NoReturn:
    """Fork; the parent exits when the child is ready (0) or has failed (its code, its reason on stderr)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        _await_ready(child, reading, settings)
    os.close(reading)
    os.setsid()
    _redirect(settings)

    def ready() -> None:
        os.write(writing, b"ready")
        os.close(writing)

    try:
        _serve(settings, read, ready)
    except WherryError as error:
        os.write(writing, str(error).encode())
        os._exit(_exit_code(error))
    os._exit(0)


def _await_ready(child: int, reading: int, settings: Settings) -> NoReturn:
    log = settings.state_dir / "wherryd.log"
    if not select.select([reading], [], [], DETACH_TIMEOUT)[0]:
        _die(WherryError(f"not ready after {DETACH_TIMEOUT:.0f} s", hint=f"see {log}"))
    word = os.read(reading, 4096)
    if word == b"ready":
        os._exit(0)
    held = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == HELD_EXIT
    _die(
        WherryError(word.decode() or "it ended while starting", hint=None if word else f"see {log}"),
        HELD_EXIT if held else FAILED_EXIT,
    )


def _redirect(settings: Settings) -> None:
    path = settings.state_dir / "wherryd.log"
    if path.exists() and path.stat().st_size > LOG_MAX:
        path.rename(path.with_suffix(".log.1"))
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(log, 2)
    os.close(null)
    os.close(log)


if __name__ == "__main__":
    main()
