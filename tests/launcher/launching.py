"""What the launcher's tests share: plans of real containers, and running them."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from support.forms import within

from wherry_protocol.run_spec import RunSpec
from wherryd.containers.config import resolve
from wherryd.containers.files import NEW, Taken
from wherryd.containers.mountpoints import bind
from wherryd.containers.plan import build_plan
from wherryd.images.reference import RootImage
from wherryd.kernel import cgroups
from wherryd.kernel.hierarchies import find_hierarchies
from wherryd.launcher.handle import open_launcher

if TYPE_CHECKING:
    from wherryd.launcher.handle import Adopted, Exit, Launcher, Spawned
    from wherryd.launcher.plan import Plan

TIMEOUT = within(20.0)


class Ground:
    """Where a launcher works in a test. `plan` makes everything that one start needs."""

    def __init__(self, base: Path, image: Path) -> None:
        self.image = image
        self.run_dir = base / "run"
        self.mountpoint = self.run_dir / "root"
        self.containers = base / "containers"
        self.cgroup = Path(find_hierarchies().v2 or "") / f"wherry-test-{os.getpid()}-{base.name}"
        self.mountpoint.mkdir(parents=True)
        self.containers.mkdir()
        self.cgroup.mkdir()
        self._count = 0

    def plan(self, *command: str, image: Path | None = None, **spec: Any) -> Plan:
        """Return a plan, with its directory and cgroup made."""
        self._count += 1
        return self.plan_of(f"{self._count:064x}", *command, image=image, **spec)

    def plan_of(
        self, name: str, *command: str, image: Path | None = None, taken: Taken = NEW, **spec: Any
    ) -> Plan:
        """As `plan`, for a given id: another start of the same container."""
        layers = (os.fspath(image or self.image),)
        config = resolve(
            RunSpec(image="test", command=command, **{"network": "none", **spec}),
            RootImage(reference="test", digest=None, layers=layers),
            name,
            tuple(map(bind, spec.get("volumes", ()))),
        )
        self._prepare(name)
        return build_plan(
            container_id=name,
            config=config,
            directory=self.containers / name,
            cgroup=os.fspath(self.cgroup / name),
            v1_cgroups=(),
            mountpoint=self.mountpoint,
            own_paths=(str(self.run_dir),),
            taken=taken,
        )

    def _prepare(self, name: str) -> None:
        directory = self.containers / name
        shutil.rmtree(directory / "work", ignore_errors=True)
        if (self.cgroup / name).exists():
            (self.cgroup / name).rmdir()
        for path in (directory / "upper", directory / "work", self.cgroup / name):
            path.mkdir(parents=True, exist_ok=True)
        (directory / "hosts").write_text("127.0.0.1 localhost\n")
        (directory / "hostname").write_text(f"{name}\n")
        (directory / "resolv.conf").write_text("# no network\n")

    def private_image(self) -> Path:
        """Return a copy of the image for this test to spoil."""
        copy = self.containers.parent / "image"
        shutil.copytree(self.image, copy, symlinks=True)
        return copy

    def close(self) -> None:
        """Remove every cgroup. Fails, after killing them, if processes are left."""
        deadline = time.monotonic() + TIMEOUT  # whose exit was seen has a few steps left in the kernel
        while any(cgroups.populated(str(group)) for group in self._groups()) and time.monotonic() < deadline:
            time.sleep(0.01)
        left = [group.name for group in self._groups() if cgroups.populated(str(group))]
        for group in self._groups():
            (group / "cgroup.kill").write_text("1")
            while cgroups.populated(str(group)):
                time.sleep(0.01)
            group.rmdir()
        self.cgroup.rmdir()
        assert not left, f"the test left processes in {left}"

    def _groups(self) -> list[Path]:
        return [group for group in self.cgroup.iterdir() if group.is_dir()]


async def read_all(fd: int | None) -> bytes:
    """Return everything up to the end of a pipe, and close it."""
    assert fd is not None
    async with trio.lowlevel.FdStream(fd) as stream:
        return b"".join([chunk async for chunk in stream])


async def finish(launcher: Launcher, held: Spawned | Adopted) -> tuple[Exit, str, str]:
    """Give it end of file, wait for the end; return exit, stdout and stderr, with everything let go."""
    if held.stdin is not None:
        os.close(held.stdin)
        launcher.close_stdin(held.id)
    with trio.fail_after(TIMEOUT):
        out = await read_all(held.stdout)
        err = await read_all(held.stderr)
        ended = await launcher.wait_exit(held.id)
    os.close(held.pidfd)
    launcher.release(held.id)
    return ended, out.decode(errors="surrogateescape"), err.decode(errors="surrogateescape")


async def run(ground: Ground, *command: str, **spec: Any) -> tuple[Exit, str, str]:
    """Run a command in a container of its own, with a launcher of its own."""
    return await run_plan(ground, ground.plan(*command, **spec))


async def run_plan(ground: Ground, plan: Plan) -> tuple[Exit, str, str]:
    """As `run`, of a plan."""
    async with open_launcher(ground.run_dir) as launcher:
        return await finish(launcher, await launcher.spawn(plan))


async def output(ground: Ground, *command: str, **spec: Any) -> str:
    """Return what a command prints, which must succeed."""
    ended, out, err = await run(ground, *command, **spec)
    assert ended.code == 0, (ended, out, err)
    return out


async def wait_gone(pid: int) -> None:
    """Wait until a process has ended; a zombie of somebody else's has."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with trio.fail_after(TIMEOUT):
            await trio.lowlevel.wait_readable(fd)
    finally:
        os.close(fd)


def children(pid: int) -> list[int]:
    """Return the launcher's children: workers, and the first processes of containers."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def switches(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("voluntary", "nonvoluntary")))


def everybody(launcher: int) -> dict[int, int]:
    """How often launcher, workers and containers have been switched to."""
    return {pid: switches(pid) for pid in (launcher, *children(launcher))}


async def settled(launcher: int) -> dict[int, int]:
    """Wait until the next kit is made, the surplus worker gone, and everybody asleep."""
    with trio.fail_after(within(10)):
        while True:
            with suppress(FileNotFoundError):
                seen = everybody(launcher)
                await trio.sleep(within(0.2))
                if everybody(launcher) == seen:
                    return seen
