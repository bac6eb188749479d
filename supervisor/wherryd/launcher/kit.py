"""What is the same in every sandbox: namespaces to begin with, and file systems of the kernel's own.

A worker makes one while nothing waits for it, of the shape that its last container had, and stays in the
namespaces; the next start attaches what is ready. Detached mounts are in nobody's way: they hold nothing of
the host's, and no mount of the host is copied before a container starts.
"""

from __future__ import annotations

import os
import stat

from wherryd.kernel.errors import from_oserror
from wherryd.kernel.mounts import new_mount
from wherryd.kernel.namespaces import FLAGS, loopback_up
from wherryd.kernel.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS, setns, unshare
from wherryd.launcher import child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.launcher.plan import Device, Mount, Plan

_OWN = ("/dev", "/sys")
_EMPTY_OPTIONS = ("ro", "nosuid", "nodev", "noexec", "mode=755")
_TAKEN_ON = {name: FLAGS[name] for name in ("uts", "ipc", "network")}
TAKEN_ON = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
"""The namespaces that a kit has the worker in."""


class Shape:
    """What of a plan a kit is made for; equal shapes need equal kits."""

    def __init__(self, plan: Plan) -> None:
        self.namespaces = plan.namespaces
        self.network_fd = plan.network_fd
        self.mounts = tuple(mount for mount in plan.mounts if _is_own(mount, plan))
        self.devices = plan.devices
        self.links = plan.links
        self.masked_paths = plan.masked_paths

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # compared only


def _is_own(mount: Mount, plan: Plan) -> bool:
    if plan.network_fd and mount.type == "sysfs":
        return False  # it shows the network namespace that it was made in
    return mount.type not in {"bind", *child.DEFERRED} and mount.destination.startswith(_OWN)


class Kit:
    """Detached mounts by their destination, and a read-only empty directory to hide directories with.

    Made in namespaces of its own, which the process stays in. `host` is a pidfd of a process whose namespaces
    are kept where the shape names none. Raises KernelError.
    """

    def __init__(self, shape: Shape, host: int) -> None:
        self.shape = shape
        self._enter_new(shape.namespaces, host)
        self._namespaces = tuple(map(_own_namespace, ("uts", "ipc", "net")))
        self._mounts: dict[str, int] = {}
        for mount in shape.mounts:
            self._add(mount)
        for device in shape.devices:
            self._make_node(device)
        for target, path in shape.links:
            self._make_link(target, path)
        self.empty = new_mount("tmpfs", "tmpfs", _EMPTY_OPTIONS)
        self.masked = child.Masked(shape.masked_paths)

    @property
    def fds(self) -> tuple[int, ...]:
        """Every descriptor of the kit."""
        return (*self._namespaces, *self._mounts.values(), self.empty)

    def take(self, destination: str) -> int | None:
        """Return the mount that is ready for a destination; None if it is none of the kit's."""
        return self._mounts.get(destination)

    def enter(self) -> None:
        """Come back into its namespaces from others'."""
        for fd in self._namespaces:
            setns(fd, 0)

    def _enter_new(self, namespaces: tuple[str, ...], host: int) -> None:
        new = sum(flag for name, flag in _TAKEN_ON.items() if name in namespaces)
        if new != TAKEN_ON:
            setns(host, TAKEN_ON & ~new)
        unshare(new)
        if new & CLONE_NEWNET:
            loopback_up()

    def _add(self, mount: Mount) -> None:
        directory, name = os.path.split(mount.destination)
        if directory in self._mounts:
            os.mkdir(name, 0o755, dir_fd=self._mounts[directory])
        self._mounts[mount.destination] = new_mount(mount.type, mount.source, mount.options)

    def _make_node(self, device: Device) -> None:
        directory, name = os.path.split(device.path)
        number = os.makedev(device.major, device.minor)
        try:
            os.mknod(name, device.mode | stat.S_IFCHR, number, dir_fd=self._mounts[directory])
        except OSError as error:
            raise from_oserror(error, "mknod", device.path) from error

    def _make_link(self, target: str, path: str) -> None:
        directory, name = os.path.split(path)
        try:
            os.symlink(target, name, dir_fd=self._mounts[directory])
        except OSError as error:
            raise from_oserror(error, "symlink", path) from error


def _own_namespace(name: str) -> int:
    return os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
