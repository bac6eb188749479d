"""From a container's fixed configuration to the plan that the launcher applies: wherry's sandbox policy.

Pure: nothing is looked up, made or changed here (but where the init program of `--init` is).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from wherryd.containers import init
from wherryd.containers.files import ETC_FILES, NEW
from wherryd.containers.mountpoints import check_target
from wherryd.launcher.plan import Device, Mount, Plan, Rlimit, Root
from wherryd.network.modes import takes_namespace

if TYPE_CHECKING:
    from pathlib import Path

    from wherry_protocol.container_state import MountPoint
    from wherry_protocol.run_spec import RunSpec, Tmpfs
    from wherryd.containers.config import Config
    from wherryd.containers.files import Taken

CAPABILITIES = (
    "chown dac_override fowner fsetid kill net_bind_service setfcap setgid setpcap setuid sys_chroot"
).split()

MASKED_PATHS = (
    *(
        f"/proc/{name}"
        for name in (
            "acpi asound interrupts kcore keys latency_stats sched_debug scsi timer_list timer_stats"
        ).split()
    ),
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)

READONLY_PATHS = tuple(f"/proc/{name}" for name in "bus fs irq sys sysrq-trigger".split())

DEVICES = tuple(
    Device(path=f"/dev/{name}", major=major, minor=minor, mode=0o666)
    for name, major, minor in (
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    )
)  # fmt: skip

LINKS = (
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
)

_SAFE = ("nosuid", "nodev", "noexec")
_TTY_GROUP = 5  # of every distribution; grantpt(3) expects it

MOUNTS = (
    Mount(destination="/proc", type="proc", source="proc", options=_SAFE),
    Mount(destination="/dev", type="tmpfs", source="tmpfs", options=("nosuid", "mode=755", "size=64m")),
    Mount(
        destination="/dev/pts",
        type="devpts",
        source="devpts",
        options=("nosuid", "noexec", "newinstance", f"gid={_TTY_GROUP}", "mode=620", "ptmxmode=666"),
    ),
    Mount(destination="/dev/shm", type="tmpfs", source="shm", options=(*_SAFE, "mode=1777", "size=64m")),  # noqa: S108 - in the container
    Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=_SAFE),
    Mount(destination="/sys", type="sysfs", source="sysfs", options=("ro", *_SAFE)),
    Mount(destination="/sys/fs/cgroup", type="cgroup2", source="cgroup", options=("ro", *_SAFE)),
)

ETC_MOUNTS = tuple(
    Mount(destination=f"/etc/{name}", type="bind", source=name, options=_SAFE) for name in ETC_FILES
)
"""From the container's own directory."""

_UMASK = 0o022
_COMM_MAX = 15


def build_plan(
    *,
    container_id: str,
    config: Config,
    directory: Path,
    cgroup: str,
    v1_cgroups: tuple[str, ...],
    mountpoint: Path,
    own_paths: tuple[str, ...],
    taken: Taken = NEW,
) -> Plan:
    """Return the plan of a start.

    `directory` is the container's own (upper, work, hosts, hostname, resolv.conf), `taken` where it comes
    from, `cgroup` its cgroup's absolute path, `v1_cgroups` those of what v2 lacks, `mountpoint` an empty
    directory of the host's, `own_paths` what no host path may lead into. Raises Unsupported.
    """
    spec = config.spec
    binds, prefix = init.find() if spec.init else ((), ())
    return Plan(
        id=container_id,
        title=f"wherryd: {spec.name or config.hostname}"[:_COMM_MAX],
        cgroup=cgroup,
        v1_cgroups=v1_cgroups,
        namespaces=_namespaces(spec),
        network_fd=takes_namespace(spec),
        hostname=config.hostname,
        root=Root(
            mountpoint=str(mountpoint),
            layers=config.image.layers,
            directory=str(directory),
            former=taken.former,
            successor=taken.successor,
            read_only=spec.read_only,
            volatile=spec.auto_remove,
        ),
        own_paths=own_paths,
        mounts=_mounts(config.image.binds),
        asked_mounts=(*_asked_mounts(config), *(_bind(source, target, "ro") for source, target in binds)),
        devices=DEVICES,
        links=LINKS,
        masked_paths=MASKED_PATHS,
        readonly_paths=READONLY_PATHS,
        stdin=spec.stdin and not spec.tty,
        terminal=spec.tty,
        console_size=spec.tty_size,
        rlimits=tuple(Rlimit(name=each.name, soft=each.soft, hard=each.hard) for each in spec.ulimits),
        oom_score_adj=spec.limits.oom_score_adj,
        umask=_UMASK,
        cwd=config.workdir,
        user=config.user,
        capabilities=tuple(CAPABILITIES),
        no_new_privileges=True,
        seccomp=None,
        env=dict(config.env),
        args=(*prefix, *config.args),
    )


def _namespaces(spec: RunSpec) -> tuple[str, ...]:
    private = ("mount", "pid", "uts", "ipc", "cgroup")
    return (*private, "network") if spec.network == "none" else private


@lru_cache(maxsize=8)
def _mounts(binds: tuple[tuple[str, str], ...]) -> tuple[Mount, ...]:
    return (*(_bind(source, target, "ro", "nodev") for source, target in binds), *MOUNTS, *ETC_MOUNTS)


def _asked_mounts(config: Config) -> list[Mount]:
    asked = [*map(_tmpfs, config.spec.tmpfs), *map(_asked, config.mounts)]
    # Outer ones first, or they would hide what is mounted in them.
    return sorted(asked, key=lambda mount: mount.destination.count("/"))


def _asked(mount: MountPoint) -> Mount:
    options = ["nosuid", "nodev"]
    if mount.read_only:
        options.append("ro")
    if not mount.recursive:
        options.append("bind")
    if mount.propagation in ("slave", "rslave"):
        options.append("rslave")
    return Mount(
        destination=mount.target,
        type="bind",
        source=mount.source,
        options=tuple(options),
        foreign=mount.type == "bind",
    )


def _bind(source: str, target: str, *options: str) -> Mount:
    return Mount(destination=target, type="bind", source=source, options=options)


def _tmpfs(tmpfs: Tmpfs) -> Mount:
    options = ["nosuid", "nodev", f"mode={tmpfs.mode:o}"]
    if not tmpfs.exec:
        options.append("noexec")
    if tmpfs.read_only:
        options.append("ro")
    if tmpfs.size is not None:
        options.append(f"size={tmpfs.size}")
    return Mount(destination=check_target(tmpfs.target), type="tmpfs", source="tmpfs", options=tuple(options))
