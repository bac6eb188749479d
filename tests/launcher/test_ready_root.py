"""The root of the next container of an image is made ahead, in the directory that it will get."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from launching import children, finish, settled
from support.forms import within
from support.netns import Place

from wherryd.containers.files import Taken
from wherryd.launcher.handle import open_launcher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from launching import Ground

    from wherryd.launcher.handle import Launcher
    from wherryd.launcher.plan import Plan

pytestmark = pytest.mark.alone  # on a busy machine a second worker takes the order, and has nothing ready

NAMESPACE = ("readlink", "/proc/self/ns/mnt")
LET_GO = 4.0
"""Seconds after which no root is kept."""


def promised(ground: Ground) -> Path:
    """Make a directory for the next container."""
    spare = ground.containers / f"spare-{len(list(ground.containers.iterdir()))}"
    for path in (spare / "upper", spare / "work"):
        path.mkdir(parents=True)
    for name in ("hosts", "hostname", "resolv.conf"):
        (spare / name).write_text("")
    return spare


def fulfilled(ground: Ground, spare: Path, *command: str, **spec: Any) -> Plan:
    """Return the plan of a container that has been given a promised directory."""
    plan = ground.plan(*command, taken=Taken(former=str(spare)), **spec)
    own = Path(plan.root.directory)
    texts = {name: (own / name).read_text() for name in ("hosts", "hostname", "resolv.conf")}
    shutil.rmtree(own)
    spare.rename(own)
    for name, text in texts.items():
        (own / name).write_text(text)
    return plan


def ready_namespaces(launcher: Launcher) -> set[str]:
    """Return the mount namespaces that workers hold and nobody is in."""
    found = set[str]()
    for worker in children(launcher.pid or 0):
        with suppress(FileNotFoundError):  # a worker that is at work, or just dismissed
            links = (os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir())
            found.update(link for link in links if link.startswith("mnt:"))
    return found


@contextmanager
def held(launcher: Launcher, ready: str) -> Iterator[None]:
    """Have a namespace that a worker holds stay while the block runs."""
    paths = (path for worker in children(launcher.pid or 0) for path in Path(f"/proc/{worker}/fd").iterdir())
    descriptor = os.open(next(path for path in paths if os.readlink(path) == ready), os.O_RDONLY)
    try:
        yield
    finally:
        os.close(descriptor)


async def output(launcher: Launcher, plan: Plan) -> str:
    ended, out, err = await finish(launcher, await launcher.spawn(plan))
    assert ended.code == 0, (ended, out, err)
    return out


async def prepare(ground: Ground, launcher: Launcher, spare: Path, **spec: Any) -> str:
    """Run a container whose successor is promised a directory; return the namespace that is made for it."""
    await output(launcher, ground.plan("true", taken=Taken(successor=str(spare)), **spec))
    with trio.fail_after(within(10)):
        while not (ready := ready_namespaces(launcher)):
            await trio.sleep(0.005)
    await trio.sleep(0.1)  # the namespace is there before its root is, and until then another worker serves
    (only,) = ready
    return only


@pytest.mark.parametrize("auto_remove", [False, True])
async def test_the_next_container_gets_the_root_that_was_made_for_it(
    ground: Ground, *, auto_remove: bool
) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spare = promised(ground)
        ready = await prepare(ground, launcher, spare, auto_remove=auto_remove)
        script = "readlink /proc/self/ns/mnt; cat /etc/hosts; echo kept > /file; hostname"
        plan = fulfilled(ground, spare, "sh", "-c", script, auto_remove=auto_remove)
        out = await output(launcher, plan)
        assert out == f"{ready}\n127.0.0.1 localhost\n{plan.hostname}\n", "not the root that was made ahead"
        assert (Path(plan.root.directory) / "upper" / "file").read_text() == "kept\n"
        assert not ready_namespaces(launcher)


async def test_whatever_its_network_a_container_gets_the_root_that_was_made_ahead(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        with Place.new() as place:
            for network, netns in (("bridge", place.fd), ("host", None), ("none", None)):
                spare = promised(ground)
                ready = await prepare(ground, launcher, spare)
                plan = fulfilled(ground, spare, *NAMESPACE, network=network)
                ended, out, err = await finish(launcher, await launcher.spawn(plan, netns))
                assert (ended.code, out) == (0, f"{ready}\n"), (network, err)


async def test_what_a_container_asked_for_is_mounted_on_the_root_that_was_made_ahead(
    ground: Ground, tmp_path: Path
) -> None:
    from wherry_protocol.run_spec import Tmpfs, Volume

    (tmp_path / "seen").write_text("the host's\n")
    async with open_launcher(ground.run_dir) as launcher:
        spare = promised(ground)
        ready = await prepare(ground, launcher, spare)
        script = "readlink /proc/self/ns/mnt; cat /data/seen; touch /data/x || echo read-only; df -h /scratch"
        plan = fulfilled(
            ground, spare, "sh", "-c", f"{script} 2>&1",
            volumes=(Volume(source=str(tmp_path), target="/data", read_only=True),),
            tmpfs=(Tmpfs(target="/scratch", size=1 << 20),),
            read_only=True,
        )  # fmt: skip
        out = await output(launcher, plan)
        assert out.startswith(f"{ready}\nthe host's\n"), out
        assert "read-only\n" in out
        assert "1.0M" in out, "no tmpfs of its size"


async def test_a_container_of_another_directory_or_image_gets_a_root_of_its_own(ground: Ground) -> None:
    image = ground.private_image()
    (image / "other").write_text("")
    async with open_launcher(ground.run_dir) as launcher:
        for spec in ({}, {"image": image}):
            spare = promised(ground)
            ready = await prepare(ground, launcher, spare)
            with held(launcher, ready):  # else its number may be given again
                assert await output(launcher, ground.plan(*NAMESPACE, **spec)) != f"{ready}\n"
                assert not ready_namespaces(launcher), "a root that nobody will use is kept"


@pytest.mark.parametrize("auto_remove", [False, True])
async def test_a_promised_directory_is_as_good_as_new_when_its_root_is_not_used(
    ground: Ground, *, auto_remove: bool
) -> None:
    """A volatile mount leaves a mark, which overlayfs refuses."""
    async with open_launcher(ground.run_dir) as launcher:
        spare = promised(ground)
        await prepare(ground, launcher, spare, auto_remove=auto_remove)
        await output(launcher, ground.plan("true"))  # of another directory: the root is dropped
        for volatile in (auto_remove,):
            plan = fulfilled(ground, spare, "cat", "/etc/hosts", auto_remove=volatile)
            assert await output(launcher, plan) == "127.0.0.1 localhost\n"


async def test_a_directory_that_was_taken_meanwhile_is_left_alone(ground: Ground) -> None:
    async with open_launcher(ground.run_dir) as launcher:
        spare = promised(ground)
        held = await launcher.spawn(
            ground.plan("cat", stdin=True, taken=Taken(successor=str(spare)))
        )  # its worker has yet to prepare
        plan = fulfilled(ground, spare, "true")
        assert await output(launcher, plan) == ""
        await settled(launcher.pid or 0)
        assert not ready_namespaces(launcher)
        await finish(launcher, held)


async def test_a_root_is_not_kept_for_long(ground: Ground) -> None:
    """It keeps the image's file system busy: nobody could unmount a disk whose last container has ended."""
    async with open_launcher(ground.run_dir) as launcher:
        await prepare(ground, launcher, promised(ground))
        with trio.fail_after(LET_GO):
            while ready_namespaces(launcher):
                await trio.sleep(0.05)
        assert await output(launcher, ground.plan("echo", "works")) == "works\n"
