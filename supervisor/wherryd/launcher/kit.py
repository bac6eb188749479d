"""What a container needs and can be made before it is asked for.

A worker makes a kit while nothing waits for it, of the shape that its last container had: namespaces, which
it stays in, and file systems of the kernel's own as detached mounts, which are in nobody's way. Where the
supervisor has said which directory the next container of the same image gets, the kit has that one's root,
too, in a mount namespace of its own: it keeps the image's file system busy, and so is not kept for long.

Whatever the network of the next container is, a kit fits: what of its root depends on that comes last. A
network namespace of a container's own is kept beside the kit, until somebody needs one.
"""

from __future__ import annotations

import os
import stat

from wherryd.kernel.errors import from_oserror
from wherryd.kernel.mounts import new_mount
from wherryd.kernel.namespaces import FLAGS, loopback_up
from wherryd.kernel.syscalls import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUTS, setns, unshare
from wherryd.launcher import child, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from wherryd.launcher.plan import Device, Mount, Plan

_OWN = "/dev"
_EMPTY_OPTIONS = ("ro", "nosuid", "nodev", "noexec", "mode=755")
_TAKEN_ON = {name: FLAGS[name] for name in ("uts", "ipc")}
TAKEN_ON = CLONE_NEWUTS | CLONE_NEWIPC
"""The namespaces that a kit has the worker in."""


class Shape:
    """What of a plan a kit is made for; equal shapes need equal kits."""

    def __init__(self, plan: Plan) -> None:
        self.namespaces = tuple(name for name in plan.namespaces if name != "network")
        self.mounts = tuple(filter(_is_own, plan.mounts))
        self.devices = plan.devices
        self.links = plan.links
        self.masked_paths = plan.masked_paths

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # compared only


def _is_own(mount: Mount) -> bool:
    if root.waits_for_network(mount.destination):
        return False
    return mount.type not in {"bind", *child.DEFERRED} and mount.destination.startswith(_OWN)


class Kit:
    """Detached mounts by their destination, and a read-only empty directory to hide directories with.

    Made in namespaces of its own, which the process stays in. `host` is a pidfd of a process whose namespaces
    are kept where the shape names none. Raises KernelError.
    """

    def __init__(self, shape: Shape, host: int) -> None:
        self.shape = shape
        self._ready: ReadyRoot | None = None
        self._host = host
        self._enter_new(shape)
        self._namespaces = tuple(map(_own_namespace, ("uts", "ipc")))
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
        ready = () if self._ready is None else (self._ready.namespace,)
        return (*self._namespaces, *self._mounts.values(), self.empty, *ready)

    @property
    def rooted(self) -> bool:
        """Whether it has a root."""
        return self._ready is not None

    def take(self, destination: str) -> int | None:
        """Return the mount that is ready for a destination; None if it is none of the kit's."""
        return self._mounts.get(destination)

    def enter(self) -> None:
        """Come back into its namespaces from others'."""
        for fd in self._namespaces:
            setns(fd, 0)

    def fits(self, plan: Plan, shape: Shape) -> bool:
        """Say whether it was made for a plan of this shape."""
        return self.shape == shape and (self._ready is None or self._ready.fits(plan))

    def make_root(self, plan: Plan, directory: str) -> None:
        """Make the root of a container of this plan's image, ahead. Raises KernelError."""
        unshare(CLONE_NEWNS)
        try:
            self._ready = ReadyRoot(plan, directory, self)
        finally:
            setns(self._host, CLONE_NEWNS)

    def enter_root(self, plan: Plan) -> None:
        """Enter a mount namespace whose root is the plan's. Raises KernelError."""
        if self._ready is not None:
            setns(self._ready.namespace, CLONE_NEWNS)
        else:
            unshare(CLONE_NEWNS)
            root.build(plan, plan.root.directory, self)

    def finish_root(self, plan: Plan, network: OwnNetwork | None) -> None:
        """Mount what shows the network namespace, which the process is in. Raises KernelError."""
        root.mount_network_trees(plan, self, network)

    def discard(self) -> None:
        """Let go of everything."""
        for fd in self.fds:
            os.close(fd)

    def _enter_new(self, shape: Shape) -> None:
        new = sum(flag for name, flag in _TAKEN_ON.items() if name in shape.namespaces)
        if new != TAKEN_ON:
            setns(self._host, TAKEN_ON & ~new)
        unshare(new)

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


class OwnNetwork:
    """A network namespace with loopback only, and the file systems that show it. Raises KernelError.

    Made by a process that is in the host's, and is so afterwards.
    """

    def __init__(self, plan: Plan, host: int) -> None:
        unshare(CLONE_NEWNET)
        try:
            loopback_up()
            self._namespace = _own_namespace("net")
            self._trees = [
                (mount, new_mount(mount.type, mount.source, mount.options))
                for mount in plan.mounts
                if root.waits_for_network(mount.destination) and mount.type not in child.DEFERRED
            ]
        finally:
            setns(host, CLONE_NEWNET)

    @property
    def fds(self) -> tuple[int, ...]:
        """Every descriptor of it."""
        return (self._namespace, *(tree for _, tree in self._trees))

    def enter(self) -> None:
        """Have the process in it."""
        setns(self._namespace, CLONE_NEWNET)

    def take(self, mount: Mount) -> int | None:
        """Return the very mount that is asked for, if it is ready."""
        return next((tree for each, tree in self._trees if each == mount), None)


class ReadyRoot:
    """A root in a mount namespace of its own, for the container that will get `directory`.

    By then the directory has another name: it is known by its inode. Made in a namespace that is a copy of
    the host's. Raises KernelError.
    """

    def __init__(self, plan: Plan, directory: str, kit: Kit) -> None:
        self._plan = plan
        self._upper = _identity(f"{directory}/upper")
        # Opened before the host's /proc is out of reach.
        self.namespace = _own_namespace("mnt")
        root.build(plan, directory, kit)

    def fits(self, plan: Plan) -> bool:
        """Say whether it is what the plan asks for."""
        return all(_of_image(plan, part) == _of_image(self._plan, part) for part in _OF_IMAGE) and (
            _identity(f"{plan.root.directory}/upper") == self._upper
        )


_OF_IMAGE = ("layers", "volatile", "mounts", "readonly_paths")
"""What of a plan, or of its root, a root is made from; the rest is in the shape of the kit."""


def _of_image(plan: Plan, part: str) -> object:
    return getattr(plan.root if part in plan.root.fields() else plan, part)


def _identity(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError as error:
        raise from_oserror(error, "stat", path) from error
    return status.st_dev, status.st_ino


def _own_namespace(name: str) -> int:
    return os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
