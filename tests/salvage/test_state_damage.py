"""The state database cut, flipped, emptied, gone: containers go on, and all of them are known again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.daemon import Daemon

from wherry import RunSpec, Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import ContainerDetails


@pytest.fixture(scope="module")
def kept(busybox: Path) -> Iterator[Daemon]:
    """A supervisor with a container that runs, one that ended, one that never ran, a volume and a network."""
    daemon = Daemon()
    try:
        daemon.start()
        image = str(busybox)
        with daemon.client() as client:
            volume = Volume(source="data", target="/data")
            script = "while read -r line; do echo $line; done; sleep 1000"
            client.run_detached(RunSpec(image=image, name="web", command=("sh", "-c", script)))
            client.run(RunSpec(image=image, name="done", command=("sh", "-c", "exit 7"), env={"A": "b=c"}))
            client.create(RunSpec(image=image, name="idle", command=("true",), volumes=(volume,)))
            client.create_network("lab", subnets=("10.231.7.0/24",))
        yield daemon
        with daemon.client() as client:
            client.remove("web", force=True)
            client.remove_network("lab")
    finally:
        daemon.close()


def known(daemon: Daemon) -> dict[str, ContainerDetails]:
    with daemon.client() as client:
        return {each.name: client.inspect(each.id) for each in client.list(all=True)}


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    for place in range(offset, min(offset + 64, len(data))):
        data[place] ^= 0x55
    path.write_bytes(data)


def flip_every_page(path: Path) -> None:
    for page in range(1, path.stat().st_size // 4096):
        flip(path, page * 4096)


def flip_a_letter(path: Path) -> None:
    """One letter of a container's environment: to sqlite the file is as whole as before."""
    data = path.read_bytes()
    assert b"b=c" in data
    path.write_bytes(data.replace(b"b=c", b"b=d"))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_within_a_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1000)


def fill_with_text(path: Path) -> None:
    path.write_text("this is no database\n" * 1000)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = (
    flip_every_page, flip_a_letter, cut, cut_within_a_page, fill_with_text, empty, Path.unlink,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_everything_is_known_again(kept: Daemon, damage: Callable[[Path], None]) -> None:
    """The bad file is kept aside, the log says so, the container that runs never noticed."""
    before, said = known(kept), len(kept.log)
    assert kept.terminate() == 0
    database = kept.state_dir / "state.db"
    damage(database)
    bad = database.read_bytes() if database.exists() else b""
    kept.start()
    assert known(kept) == before
    with kept.client() as client:
        assert [volume.name for volume in client.volumes()] == ["data"]
        assert [each.name for each in client.networks() if each.name == "lab"] == ["lab"]
        assert client.exec("web", ("echo", "alive")).stdout == b"alive\n"
    assert "state database rebuilt from record files" in kept.log[said:]
    aside = sorted((kept.state_dir / "aside").glob("*/state.db")) if bad else []
    assert not bad or aside[-1].read_bytes() == bad, "the bad file was not kept as it was"
