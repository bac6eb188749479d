"""What the tests of the sandbox share: a look from inside a container, and a canary outside of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

from wherry import RunSpec, WherryError

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon

    from wherry import Result

CAPABILITIES = {
    "chown": 0, "dac_override": 1, "fowner": 3, "fsetid": 4, "kill": 5, "setgid": 6, "setuid": 7,
    "setpcap": 8, "net_bind_service": 10, "sys_chroot": 18, "setfcap": 31,
}  # fmt: skip
"""What root in a container may do, by number (linux/capability.h)."""


def run(daemon: Daemon, image: Path | str, *command: str, **spec: Any) -> Result:
    """Run a command to its end; the container is removed."""
    with daemon.client() as client:
        return client.run(RunSpec(image=str(image), command=command, auto_remove=True, **spec))


def attempt(daemon: Daemon, image: Path | str, *command: str, **spec: Any) -> Result | WherryError:
    """Run a command that may be refused: return either what it came to or why it did not."""
    try:
        return run(daemon, image, *command, **spec)
    except WherryError as error:
        return error


def refused(
    daemon: Daemon, image: Path | str, *command: str, because: type[WherryError] = WherryError, **spec: Any
) -> str:
    """Ask for a run that must be refused; return what is said."""
    outcome = attempt(daemon, image, *command, **spec)
    assert isinstance(outcome, because), f"{command} with {spec}: {outcome!r}"
    return str(outcome)


def sh(daemon: Daemon, image: Path | str, script: str, **spec: Any) -> str:
    """Return what a shell script prints, which must succeed."""
    result = run(daemon, image, "sh", "-c", script, **spec)
    assert result.exit_code == 0, result
    return result.stdout.decode("utf-8", "surrogateescape")


def status(text: str) -> dict[str, str]:
    """Return the fields of a /proc/PID/status."""
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def copy_of(image: Path, where: Path) -> Path:
    """Return a small copy of the image for one test to spoil."""
    shutil.copytree(image, where, symlinks=True, ignore=shutil.ignore_patterns("bin"))
    (where / "bin").mkdir()
    shutil.copy2(image / "bin/busybox", where / "bin/busybox")
    for applet in ("sh", "cat", "head", "true", "sleep"):
        (where / "bin" / applet).symlink_to("busybox")
    return where


class Canary:
    """A tree outside of every container, that nothing in one may change."""

    def __init__(self, where: Path) -> None:
        self.path = where
        for folder in ("etc", "dev", "proc/sys", "sys/fs/cgroup"):
            (where / folder).mkdir(parents=True)
        for file in ("hosts", "resolv.conf", "hostname", "passwd"):
            (where / "etc" / file).write_text(f"the host's {file}\n")
        (where / "secret").write_text("canary\n")
        self._before = fingerprint(where)

    def assert_untouched(self) -> None:
        """Fail if a name, a byte, a mode, an owner or a time has changed."""
        assert fingerprint(self.path) == self._before, "something outside of the container was changed"


def fingerprint(tree: Path) -> dict[str, tuple[object, ...]]:
    """Return all that can be seen of every file in a tree, but when it was last read."""
    found: dict[str, tuple[object, ...]] = {}
    for path in (tree, *sorted(tree.rglob("*"))):
        seen = os.lstat(path)
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        name = str(path.relative_to(tree))
        found[name] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_mtime_ns, seen.st_ctime_ns, content)
    return found


def mounts_of(text: str) -> dict[str, tuple[str, set[str], str]]:
    """Return a mountinfo's mounts by mount point: type, flags of the mount, and the optional fields."""
    found: dict[str, tuple[str, set[str], str]] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        found[fields[4]] = (right.split(" ")[0], set(fields[5].split(",")), " ".join(fields[6:]))
    return found
