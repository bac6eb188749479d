"""The small init of `--init`: where it is on the host, and what it needs inside any image.

Must never depend on the image's files: the program is dynamically linked, so that its loader and C library
come along from the host.
"""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path

from wherry_protocol.errors import Unsupported

DIRECTORY = "/dev/init"
"""In the container's private /dev, which no image can fill."""

_PT_INTERP_MAGIC = b"/ld-"
_HEAD = 4096


@functools.cache
def find() -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return the read-only binds (source, target) and the words to put before the command.

    Raises Unsupported when dumb-init is not installed.
    """
    program = _program()
    inside = f"{DIRECTORY}/dumb-init"
    if _PT_INTERP_MAGIC not in program.read_bytes()[:_HEAD]:
        return ((str(program), inside),), (inside, "--")
    loader, library = _mapped("ld-linux"), _mapped("libc.so.6")
    binds = tuple((str(path), f"{DIRECTORY}/{path.name}") for path in (program, loader, library))
    return binds, (f"{DIRECTORY}/{loader.name}", "--library-path", DIRECTORY, inside, "--")


def _program() -> Path:
    beside = Path(sys.executable).with_name("dumb-init")
    found = str(beside) if beside.exists() else shutil.which("dumb-init")
    if found is None:
        raise Unsupported("--init needs dumb-init", hint=f"{sys.executable} -m pip install dumb-init")
    return Path(found)


def _mapped(name: str) -> Path:
    """Return the file of a library that this very process runs on."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = Path(line.rpartition(" ")[2])
        if path.name.startswith(name):
            return path
    raise Unsupported(
        f"--init needs a C library with {name}", hint="use a dumb-init that is linked statically"
    )
