"""Volumes: recursively read-only, never setuid or with devices, and never outside of the container's root."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from inside import Canary, attempt, copy_of, fingerprint, mounts_of, refused, run, sh
from support.forms import rounds

from wherry import BadRequest, KernelFailure, RunSpec, Tmpfs, Volume, WherryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.daemon import Daemon

RACES = rounds(short=80, long=300)
MANY_RACES = 10 * RACES
"""For as many as there may be to it that they go on until each outcome was seen."""
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@pytest.fixture
def nested(ground: Path) -> Iterator[Path]:
    """A directory with another file system mounted below it."""
    where = ground / "outer"
    (where / "inner").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", where / "inner"], check=True)
    (where / "inner/file").write_text("there\n")
    try:
        yield where
    finally:
        subprocess.run(["umount", where / "inner"], check=True)


def test_read_only_means_what_is_mounted_below_too(wherryd: Daemon, busybox: Path, nested: Path) -> None:
    volume = Volume(source=str(nested), target="/v", read_only=True)
    assert sh(wherryd, busybox, "cat /v/inner/file", volumes=(volume,)) == "there\n"
    for path in ("/v/canary", "/v/inner/canary"):
        result = run(wherryd, busybox, "touch", path, volumes=(volume,))
        assert (result.exit_code, b"Read-only file system" in result.stderr) == (1, True), result
    assert (
        sh(wherryd, busybox, "touch /v/canary /v/inner/canary", volumes=(volume.replace(read_only=False),))
        == ""
    )
    assert sorted(os.listdir(nested / "inner")) == ["canary", "file"], "the source can never be written"


@pytest.mark.parametrize("read_only", [False, True])
def test_volumes_have_neither_setuid_files_nor_devices(
    wherryd: Daemon, busybox: Path, nested: Path, *, read_only: bool
) -> None:
    volume = Volume(source=str(nested), target="/v", read_only=read_only)
    found = mounts_of(sh(wherryd, busybox, "cat /proc/self/mountinfo", volumes=(volume,)))
    for path in ("/v", "/v/inner"):
        assert {"nosuid", "nodev", "ro" if read_only else "rw"} <= found[path][1], (path, found[path])


def test_a_hosts_mount_keeps_its_own_flags(wherryd: Daemon, busybox: Path, nested: Path) -> None:
    """The flags are those of the container's copy."""
    before = mounts_of(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))[f"{nested}/inner"]
    run(wherryd, busybox, "true", volumes=(Volume(source=str(nested), target="/v", read_only=True),))
    after = mounts_of(Path("/proc/self/mountinfo").read_text(encoding="utf-8"))[f"{nested}/inner"]
    assert after == before


# -- targets -----


TARGETS = [
    "/", "//", "/.", "/proc", "/proc/sys", "/sys", "/sys/fs/cgroup", "/dev", "/dev/null", "//dev/", "/./proc",
    "/x/../proc", "/x/..", "../x", "x", "", "/v\0/x",
]  # fmt: skip


def test_a_target_over_the_sandbox_is_refused(wherryd: Daemon, busybox: Path, canary: Canary) -> None:
    for target in TARGETS:
        volume = Volume(source=str(canary.path), target=target)
        refused(wherryd, busybox, "true", because=BadRequest, volumes=(volume,))


def test_the_supervisors_own_files_are_no_source(wherryd: Daemon, busybox: Path, ground: Path) -> None:
    """Whoever holds the control socket is root on the host."""
    (ground / "link").symlink_to(wherryd.run_dir)
    socket, containers = wherryd.run_dir / "control.sock", wherryd.state_dir / "containers"
    for path in (wherryd.state_dir, wherryd.run_dir, ground / "link", socket, containers):
        volume = Volume(source=str(path), target="/v")
        assert "wherry's own" in refused(wherryd, busybox, "true", because=BadRequest, volumes=(volume,))


@pytest.mark.parametrize("below", ["", "containers", "state.db"])
def test_the_supervisors_own_files_are_no_source_by_another_mount_either(
    wherryd: Daemon, busybox: Path, ground: Path, below: str
) -> None:
    """The path says nothing then; what is there is known by its device and inode."""
    (ground / "elsewhere").mkdir()
    subprocess.run(["mount", "--bind", wherryd.state_dir, ground / "elsewhere"], check=True)
    try:
        volume = Volume(source=str(ground / "elsewhere" / below), target="/v")
        assert "wherry's own" in refused(wherryd, busybox, "true", because=KernelFailure, volumes=(volume,))
    finally:
        subprocess.run(["umount", ground / "elsewhere"], check=True)


def relative_to(path: Path) -> str:
    """Return a link text that leads out of any root, to where the path is on the host."""
    return "../" * 30 + str(path).lstrip("/")


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("place", ["proc", "sys", "dev", "etc", "sys/fs/cgroup", "proc/sys", "dev/pts"])
def test_an_image_whose_folders_are_links_changes_nothing_outside(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary, place: str, *, relative: bool
) -> None:
    """Refused, or resolved in the container's own root (CVE-2019-19921 and its class)."""
    image = copy_of(busybox, ground / "image")
    shutil.rmtree(image / Path(place).parts[0])
    (image / place).parent.mkdir(exist_ok=True, parents=True)
    (image / place).symlink_to(relative_to(canary.path / place) if relative else canary.path / place)
    before = fingerprint(image)
    outcome = attempt(wherryd, image, "/bin/busybox", "cat", "/secret")
    if isinstance(outcome, WherryError):
        assert outcome.path is not None, outcome
    else:
        assert (outcome.exit_code, outcome.stdout) == (1, b""), outcome
    assert fingerprint(image) == before, "an image's own files were changed"


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("to", ["etc", "nowhere"])
def test_a_file_of_ours_over_a_link_stays_inside(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary, to: str, *, relative: bool
) -> None:
    """Also one that leads to nothing: its target is made, but in the container."""
    image = copy_of(busybox, ground / "image")
    for name in ("hosts", "hostname", "resolv.conf"):
        target = canary.path / to / name
        (image / "etc" / name).symlink_to(relative_to(target) if relative else target)
        seen = sh(wherryd, image, f"cat /etc/{name}; echo changed > /etc/{name}", hostname="inside")
        assert "the host's" not in seen, name
        assert seen, name


@pytest.mark.parametrize("relative", [False, True])
def test_a_target_through_a_link_stays_inside(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary, *, relative: bool
) -> None:
    image = copy_of(busybox, ground / "image")
    (image / "link").symlink_to(relative_to(canary.path) if relative else canary.path)
    (image / "chain").symlink_to("link")
    for number, target in enumerate(("/link", "/link/below", "/link/dev/x", "/chain/etc")):
        source = ground / str(number)
        source.mkdir()
        volume = Volume(source=str(source), target=target)
        seen = sh(wherryd, image, f"echo in > {target}/file; cat {target}/file", volumes=(volume,))
        assert seen == "in\n", target
        assert (source / "file").read_text() == "in\n", f"{target}: the volume is somewhere else"


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("kind", ["volume", "tmpfs"])
def test_a_target_that_leads_into_the_sandbox_is_refused(
    wherryd: Daemon, busybox: Path, ground: Path, kind: str, *, relative: bool
) -> None:
    """Else device nodes were made in the volume, and the masks taken from it (CVE-2025-31133, -52565)."""
    image, source, link = copy_of(busybox, ground / "image"), ground / "v", ground / "image/data"
    source.mkdir()
    spec: dict[str, Any] = {"volumes": (Volume(source=str(source), target="/data"),)}
    if kind == "tmpfs":
        spec = {"tmpfs": (Tmpfs(target="/data"),)}
    for tree in ("dev", "dev/pts", "proc", "proc/sys", "sys", "sys/fs/cgroup"):
        link.symlink_to(tree if relative else f"/{tree}")
        assert "/data" in refused(wherryd, image, "true", because=KernelFailure, **spec), tree
        assert os.listdir(source) == [], f"{tree}: the sandbox's own files were made in a volume"
        link.unlink()


# -- races -----


@contextmanager
def swapping(one: Path, two: Path) -> Iterator[None]:
    """Swap two paths without a pause, beside the test."""
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            exchange(one, two)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        yield
    finally:
        done.set()
        swapper.join()


def test_a_source_that_is_swapped_after_the_look_at_it_is_not_mounted(
    wherryd: Daemon, busybox: Path, ground: Path
) -> None:
    """Else who can write a part of a source's path gets the supervisor's own directory into a container."""
    (ground / "source").mkdir()
    (ground / "link").symlink_to(wherryd.state_dir)
    volume = Volume(source=str(ground / "source"), target="/v")
    spec = RunSpec(image=str(busybox), command=("ls", "/v"), volumes=(volume,), auto_remove=True)
    outcomes = {"ran": 0, "refused early": 0, "refused late": 0}
    with swapping(ground / "source", ground / "link"), wherryd.client() as client:
        tried = 0
        while tried < RACES or (not all(outcomes.values()) and tried < MANY_RACES):
            tried += 1
            try:
                assert client.run(spec).stdout == b"", "the supervisor's own directory is in a container"
                outcomes["ran"] += 1
            except BadRequest:
                outcomes["refused early"] += 1
            except KernelFailure:
                outcomes["refused late"] += 1
    assert all(outcomes.values()), f"the race did not happen: {outcomes}"


def exchange(one: Path, two: Path) -> None:
    """Swap two paths in one step: renameat2(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(two), RENAME_EXCHANGE)


def test_a_targets_parent_that_is_swapped_for_a_link_leads_nowhere(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary
) -> None:
    """CVE-2021-30465: one container swaps a directory of a shared volume while others mount into it."""
    shared, data = ground / "shared", ground / "data"
    (shared / "parent/v").mkdir(parents=True)
    data.mkdir()
    (shared / "link").symlink_to(relative_to(canary.path))
    volumes = (
        Volume(source=str(shared), target="/shared"),
        Volume(source=str(data), target="/shared/parent/v"),
    )
    spec = RunSpec(image=str(busybox), command=("true",), volumes=volumes, auto_remove=True)
    outcomes = {"ran": 0, "refused": 0}
    with swapping(shared / "parent", shared / "link"), wherryd.client() as client:
        for _ in range(RACES):
            try:
                client.run(spec)
                outcomes["ran"] += 1
            except KernelFailure:
                outcomes["refused"] += 1
    assert outcomes["ran"] > 0, outcomes
    assert outcomes["ran"] + outcomes["refused"] == RACES


def test_an_images_directory_that_is_swapped_for_a_link_fills_no_volume_from_outside(
    wherryd: Daemon, busybox: Path, ground: Path, canary: Canary
) -> None:
    """The copy sees the image and the volume and nothing else: wherever a link leads, it leads in there."""
    image = copy_of(busybox, ground / "image")
    (image / "data/deep").mkdir(parents=True)
    (image / "data/deep/file").write_text("the image's\n")
    (image / "link").symlink_to(canary.path)
    (image / "data/up").symlink_to(relative_to(canary.path))
    volume = Volume(source="", target="/data")
    script = "cat /data/secret /data/deep/* 2>/dev/null; exit 0"
    spec = RunSpec(
        image=str(image), command=("sh", "-c", script), volumes=(volume,), auto_remove=True, workdir="/"
    )
    seen: set[bytes] = set()
    refusals = 0
    with (
        swapping(image / "data", image / "link"),
        swapping(image / "data/deep", image / "data/up"),
        wherryd.client() as client,
    ):
        for _ in range(RACES):
            try:
                seen.add(client.run(spec).stdout)
            except WherryError:
                refusals += 1
    assert seen <= {b"", b"the image's\n"}, seen
    assert refusals < RACES
