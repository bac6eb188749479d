"""The plan: everything that a container's first process does before it executes its command.

Owns the values (in the OCI runtime specification's terms), their wire form and their printed form.
Nothing here acts. Standard library only, and little of it: the launcher imports this,
and every page that it touches is copied for each container.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any, ClassVar, Self, dataclass_transform
else:

    def dataclass_transform(**_options: object) -> object:
        """Stand in for typing's, which costs the launcher 1.6 MiB."""
        return lambda cls: cls


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Frozen:
    """A value with keyword-only fields. Importing `dataclasses` would cost the launcher 2 MiB."""

    _fields: ClassVar[tuple[str, ...]] = ()
    _names: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)
        cls._names = frozenset(cls._fields)
        cls._defaults = {name: cls.__dict__[name] for name in cls._fields if name in cls.__dict__}

    def __init__(self, **fields: Any) -> None:
        values = {**self._defaults, **fields}
        if values.keys() != self._names:
            expected = ", ".join(self._fields)
            raise TypeError(f"{type(self).__name__} has the fields {expected}, not {list(values)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._fields)
        return f"{type(self).__name__}({inside})"

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Return the names of the fields, in order."""
        return cls._fields

    def to_wire(self) -> list[Any]:
        """Return the fields in order; msgpack asks the values among them in turn."""
        return [self.__dict__[name] for name in self._fields]

    @classmethod
    def from_wire(cls, fields: Any) -> Self:
        """Build the value from what `to_wire` gave; sequences arrive as tuples."""
        value = cls.__new__(cls)
        value.__dict__.update(zip(cls._fields, fields, strict=True))
        return value


class Root(Frozen):
    """The root: overlay of `layers` (topmost first) under `directory`/upper, on the directory `mountpoint`.

    `directory` is the container's own; `former` is what it was called while it was promised to it, if it was.
    `successor` is the directory that is promised to the next container of the same image, if one is.
    `volatile` skips syncing to disk: for a container whose files nobody keeps.
    """

    mountpoint: str
    layers: tuple[str, ...]
    directory: str
    former: str | None
    successor: str | None
    read_only: bool
    volatile: bool


class Mount(Frozen):
    """A mount, as in the specification. Options are flags or file system data.

    A "bind" is recursive; a relative source is below the container's own directory. `foreign`: its source is
    somebody's choice, and is refused where it leads into the plan's `own_paths`; it is not recursive if
    "bind" is among its options, and not private if "rslave" is.
    """

    destination: str
    type: str
    source: str
    options: tuple[str, ...]
    foreign: bool = False


class Device(Frozen):
    """A character device node."""

    path: str
    major: int
    minor: int
    mode: int


class Rlimit(Frozen):
    """A resource limit: name without RLIMIT_, lower case; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Plan(Frozen):
    """What to do, in the order of the fields.

    `namespaces` in OCI names; without "network" the host's is kept, unless `network_fd` says that
    a ready one rides along with the request. `seccomp` is an array of struct sock_filter.
    `mounts` are those of every container of the image, `asked_mounts` what this one has on top of them.
    `oom_score_adj` None is 0, or what the launcher itself has if that is more. `links` are (target, path).
    `own_paths` are the supervisor's directories. Each process joins the `v1_cgroups` itself, at the last
    moment: what its set-up takes is not charged to them.
    """

    id: str
    title: str
    cgroup: str
    v1_cgroups: tuple[str, ...]
    namespaces: tuple[str, ...]
    network_fd: bool
    hostname: str
    root: Root
    own_paths: tuple[str, ...]
    mounts: tuple[Mount, ...]
    asked_mounts: tuple[Mount, ...]
    devices: tuple[Device, ...]
    links: tuple[tuple[str, str], ...]
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    stdin: bool
    terminal: bool
    console_size: tuple[int, int] | None
    rlimits: tuple[Rlimit, ...]
    oom_score_adj: int | None
    umask: int
    cwd: str
    user: str
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    seccomp: bytes | None
    env: Mapping[str, str]
    args: tuple[str, ...]

    @classmethod
    def from_wire(cls, fields: Any) -> Self:
        """Build the plan and the values in it."""
        plan = super().from_wire(fields)
        inside = plan.__dict__
        inside["root"] = Root.from_wire(inside["root"])
        for name, kind in _LISTS.items():
            inside[name] = tuple(map(kind.from_wire, inside[name]))
        return plan

    def describe(self) -> str:
        """Return the plan as text, one numbered line a step."""
        return "\n".join(f"{number:3} {line}" for number, line in enumerate(_lines(self), 1))


_LISTS: dict[str, type[Frozen]] = {
    "mounts": Mount,
    "asked_mounts": Mount,
    "devices": Device,
    "rlimits": Rlimit,
}


def _lines(plan: Plan) -> Iterator[str]:
    network = ", join a ready network namespace" if plan.network_fd else ""
    yield f"clone into cgroup {plan.cgroup}, new namespaces: {' '.join(plan.namespaces)}{network}"
    yield f"title {plan.title!r}, hostname {plan.hostname}"
    yield from _root_lines(plan.root)
    for mount in (*plan.mounts, *plan.asked_mounts):
        yield f"mount {mount.type} {mount.source} on {mount.destination} ({','.join(mount.options)})"
    for device in plan.devices:
        yield f"device {device.path} c {device.major}:{device.minor} mode {device.mode:o}"
    for target, path in plan.links:
        yield f"link {path} -> {target}"
    for path in plan.masked_paths:
        yield f"mask {path}"
    for path in plan.readonly_paths:
        yield f"read-only {path}"
    yield from _process_lines(plan)


def _root_lines(root: Root) -> Iterator[str]:
    kind = "volatile overlay" if root.volatile else "overlay"
    yield f"{kind} on {root.mountpoint}: lower {':'.join(root.layers)} upper {root.directory}/upper"
    if root.read_only:
        yield "root read-only"


def _process_lines(plan: Plan) -> Iterator[str]:
    if plan.terminal:
        yield "stdio: a new terminal" + (" of {}x{}".format(*plan.console_size) if plan.console_size else "")
    else:
        yield f"stdio: {'a pipe' if plan.stdin else '/dev/null'}, a pipe, a pipe"
    for rlimit in plan.rlimits:
        yield f"rlimit {rlimit.name} {rlimit.soft}:{rlimit.hard}"
    score = "" if plan.oom_score_adj is None else f"oom_score_adj {plan.oom_score_adj}, "
    yield f"{score}umask {plan.umask:03o}, cwd {plan.cwd}"
    yield f"user {plan.user or 'root'}, capabilities: {' '.join(plan.capabilities) or 'none'}"
    if plan.no_new_privileges:
        yield "no_new_privs"
    for path in plan.v1_cgroups:
        yield f"join v1 cgroup {path}"
    if plan.seccomp is not None:
        yield f"seccomp filter of {len(plan.seccomp) // 8} instructions"
    yield f"env {' '.join(sorted(plan.env))}"
    yield "exec " + " ".join(map(repr, plan.args))
