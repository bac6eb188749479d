"""Volumes when something is in the way: a full disk, a hand that removes, a supervisor that dies."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from rig import fill_disk, spec, wait_for

from wherry import KernelFailure, NoSpace, RunSpec, Volume

if TYPE_CHECKING:
    from pathlib import Path

    from support.daemon import Daemon


def test_a_full_disk_refuses_volumes_and_leaves_nothing_of_them(small_disk: Daemon, busybox: Path) -> None:
    filler = small_disk.state_dir.parent / "filler"
    one = RunSpec(
        image=str(busybox),
        command=("true",),
        auto_remove=True,
        volumes=(Volume(source="data", target="/x"), Volume(source="", target="/y")),
    )
    with small_disk.client() as client:
        client.create_volume("before")
        fill_disk(filler)
        for _ in range(3):
            with pytest.raises(NoSpace):
                client.create_volume("new")
            with pytest.raises(NoSpace):
                client.run(one)
        assert [volume.name for volume in client.volumes()] == ["before"]
        assert os.listdir(small_disk.state_dir / "volumes") == ["before"]
        assert client.disk_usage().volumes[0].size is not None, "counting needs no room"
        filler.unlink()
        assert client.run(one).exit_code == 0
        client.prune_volumes(all=True)
    assert wait_for(lambda: os.listdir(small_disk.state_dir / "volumes") == [])


def test_a_volume_that_is_too_big_for_the_disk_is_not_half_filled(
    small_disk: Daemon, busybox: Path, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    shutil.copytree(busybox, image, symlinks=True)
    (image / "data").mkdir()
    (image / "data/big").write_bytes(os.urandom(20 << 20))
    volume = Volume(source="data", target="/data")
    with small_disk.client() as client:
        for _ in range(3):
            with pytest.raises(NoSpace, match="filling it from image"):
                client.run(RunSpec(image=str(image), command=("true",), volumes=(volume,)))
            assert client.volumes() == ()
            assert client.list(all=True) == ()
        assert wait_for(lambda: not os.listdir(small_disk.state_dir / "trash"))
        empty = volume.replace(copy=False)
        assert client.run(RunSpec(image=str(image), command=("true",), volumes=(empty,))).exit_code == 0
        client.prune_containers()
        client.remove_volume("data")
    assert wait_for(lambda: os.listdir(small_disk.state_dir / "volumes") == [])


def test_a_volume_whose_directory_somebody_removed(fresh_wherryd: Daemon, busybox: Path) -> None:
    """A container that has it does not start, and says why; the next one that is made gets it empty."""
    daemon = fresh_wherryd
    volume = Volume(source="data", target="/data")
    with daemon.client() as client:
        made = client.create(spec(busybox, "ls /data", volumes=(volume,)))
        shutil.rmtree(daemon.state_dir / "volumes/data")
        with pytest.raises(KernelFailure, match="volumes/data/_data: No such file"):
            client.start(made.id)
        assert client.run(spec(busybox, "ls /data", volumes=(volume,), auto_remove=True)).stdout == b""
        client.start(made.id)
        assert client.wait(made.id).code == 0
        client.remove(made.id)
        shutil.rmtree(daemon.state_dir / "volumes/data")
        client.remove_volume("data")
        assert client.volumes() == ()


def test_a_hundred_volumes_come_and_go_with_nothing_left(fresh_wherryd: Daemon, busybox: Path) -> None:
    daemon = fresh_wherryd
    volumes = (Volume(source="", target="/a"), Volume(source="", target="/b", read_only=True))
    one = RunSpec(image=str(busybox), command=("true",), volumes=volumes, auto_remove=True)
    with daemon.client() as client:
        client.run(one)
        before = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        for _ in range(50):
            assert client.run(one).exit_code == 0
        assert client.volumes() == ()
        assert wait_for(lambda: os.listdir(daemon.state_dir / "volumes") == [])
        assert wait_for(lambda: not os.listdir(daemon.state_dir / "trash"))
        assert wait_for(lambda: len(os.listdir(f"/proc/{daemon.pid}/fd")) <= before)
