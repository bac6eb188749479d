"""Requests about the supervisor itself."""

from __future__ import annotations

from wherry_protocol.call import Call
from wherry_protocol.typed import Mapping  # noqa: TC001 - evaluated by convert.py
from wherry_protocol.value import Value


class Pong(Value):
    """The supervisor is there. `pid` is its process id on the host."""

    pid: int


class Ping(Call[Pong]):
    """Ask whether the supervisor answers."""

    op = "ping"
    answer = Pong


class VersionInfo(Value):
    """Versions of the supervisor's side. `kernel` is uname -r."""

    version: str
    protocol: int
    python: str
    kernel: str


class Version(Call[VersionInfo]):
    """Ask for versions."""

    op = "version"
    answer = VersionInfo


class Controller(Value):
    """A cgroup controller and where it is mounted: hierarchy "v2" or "v1"."""

    name: str
    hierarchy: str
    mountpoint: str


class SystemInfo(Value):
    """What `wherry info` shows. Times are seconds since the epoch."""

    version: str
    pid: int
    launcher_pid: int | None
    started_at: float
    state_dir: str
    run_dir: str
    kernel: str
    python: str
    cgroup_mode: str
    cgroup_path: str
    controllers: tuple[Controller, ...]
    containers: Mapping[str, int]
    images: int
    warnings: tuple[str, ...]


class Info(Call[SystemInfo]):
    """Ask for the supervisor's directories, host facts and counts."""

    op = "info"
    answer = SystemInfo


class Progress(Value):
    """How far a long step is. `done` and `total` are bytes of the archive; total 0 is unknown."""

    phase: str
    done: int
    total: int
