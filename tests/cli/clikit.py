"""What the tests of the command share: calls that must succeed or be refused, and waiting for a line."""

from __future__ import annotations

import json
import os
import re
import select
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from support.forms import within

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.daemon import Daemon

ID = re.compile(r"[0-9a-f]{64}")
PATIENCE = within(15.0)
"""Seconds for what should take a moment, on a machine that has other things to do."""


def ok(daemon: Daemon, *args: str | Path, **options: Any) -> str:
    """Run a command that must succeed without a complaint; return what it printed."""
    done = daemon.cli(*args, **options)
    said = f"wherry {' '.join(map(str, args))}: {done}"
    assert done.exit_code == 0, said
    assert done.stderr == "", said
    return done.stdout


def refused(daemon: Daemon, *args: str | Path, code: int = 125, **options: Any) -> str:
    """Run a command that must fail with one clear line; return that line."""
    done = daemon.cli(*args, **options)
    said = f"wherry {' '.join(map(str, args))}: {done}"
    assert done.exit_code == code, said
    assert done.stdout == "", said
    assert re.fullmatch(r"wherry: [^\n]{8,}\n", done.stderr), f"not exactly one line on stderr: {said}"
    assert "Traceback" not in done.stderr, said
    return done.stderr


def detached(daemon: Daemon, *args: str | Path) -> str:
    """Start a container in the background; return its id."""
    printed = ok(daemon, "run", "-d", *args).strip()
    assert ID.fullmatch(printed), f"run -d printed no id: {printed!r}"
    return printed


def inspect(daemon: Daemon, reference: str) -> dict[str, Any]:
    """Return what `inspect` says of one container."""
    (document,) = json.loads(ok(daemon, "inspect", reference))
    found: dict[str, Any] = document
    return found


def field(daemon: Daemon, reference: str, path: str) -> str:
    """Return one field of `inspect`, as --format prints it."""
    return ok(daemon, "inspect", "--format", f"{{{{.{path}}}}}", reference).strip()


def names(daemon: Daemon, *args: str) -> list[str]:
    """Return the names that `ps` lists."""
    return ok(daemon, "ps", "--format", "{{.Names}}", *args).split()


def kept(daemon: Daemon) -> set[str]:
    """Return every path that a container or an image has in the state directory.

    Not trash, which is on its way out, nor what the `host` image keeps for the next time.
    """
    found: set[str] = set()
    for folder in ("containers", "images/layers", "images/manifests", "images/tmp"):
        # os.walk, unlike rglob, does not mind what is removed meanwhile.
        for where, directories, files in os.walk(daemon.state_dir / folder):
            found.update(f"{where}/{name}" for name in (*directories, *files))
    return found


def empty(daemon: Daemon) -> None:
    """Remove all containers and images: other modules use the supervisor, too."""
    daemon.remove_containers()
    for digest in daemon.cli("images", "-q", "--no-trunc").stdout.split():
        daemon.cli("rmi", "-f", digest)
    assert daemon.cli("images", "-q").stdout == ""


def wait_for(condition: Callable[[], bool]) -> bool:
    """Wait, within patience, until something that nobody announces is so; say whether it is."""
    deadline = time.monotonic() + PATIENCE
    while not (so := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return so


@contextmanager
def running(daemon: Daemon, *args: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside the test; it is killed in the end if it still runs."""
    with daemon.popen(*args) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[bytes]) -> str:
    """Wait for one line of a command's standard output."""
    assert process.stdout is not None
    fd, line, deadline = process.stdout.fileno(), b"", time.monotonic() + PATIENCE
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"no line came, only {line!r}"
        byte = os.read(fd, 1)
        assert byte, f"the output ended after {line!r}"
        line += byte
    return line.decode().rstrip("\n")


def await_line(daemon: Daemon, reference: str, wanted: str) -> None:
    """Wait until a container has printed a line."""
    with running(daemon, "logs", "-f", reference) as follower:
        while read_line(follower) != wanted:
            pass


def finish(process: subprocess.Popen[bytes], data: bytes | None = None) -> tuple[int, str, str]:
    """Wait for a command's end; return its exit code and what it still printed."""
    out, err = process.communicate(data, timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()
