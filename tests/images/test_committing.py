"""An image of another one and one layer more: what `commit` ends in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from support.imagekit import Built, layer, member, oci, pack, sha

from wherry_protocol.errors import BadRequest, ImageError, NotFound

if TYPE_CHECKING:
    from wherryd.images.store import ImageStore

Write = Callable[..., str]
BASE = layer(member("f", b"base"))
NEW = layer(member(".wh.f"), member("g", b"new"))
STEP = {"created_by": "wherry commit", "comment": "why", "author": "me"}


def opened(path: str) -> int:
    return os.open(path, os.O_RDONLY)


async def test_base_and_a_layer_become_an_image(store: ImageStore, archive: Write) -> None:
    """Layers shared, config laid over, one step more in the history; what was not said stays."""
    base = Built([BASE], {"Cmd": ["old"], "Env": ["A=1"]})
    await store.load(archive(pack(oci(base))))
    fd = opened(archive(NEW))
    made = await store.commit(fd, base="demo:1", name="new:1", changes={"Cmd": ["new"]}, history=STEP)
    os.close(fd)
    root = await store.resolve("new:1", None)
    assert [Path(path).parent.name for path in root.layers] == [sha(NEW), sha(BASE)]
    assert (root.config.cmd, root.config.env) == (("new",), ("A=1",))
    assert (Path(root.layers[0]) / "g").read_bytes() == b"new"
    details = store.inspect(made.digest)
    assert [each.diff_id for each in details.layers] == [f"sha256:{sha(each)}" for each in (BASE, NEW)]
    assert '"comment": "why"' in details.config


async def test_layer_comes_through_a_pipe_onto_nothing(store: ImageStore) -> None:
    """Without a base the layer is the whole root."""
    reading, writing = os.pipe()
    os.write(writing, NEW)
    os.close(writing)
    made = await store.commit(reading, base=None, name=None, changes={}, history={})
    os.close(reading)
    assert (made.names, made.layers) == ((), 1)
    assert (await store.resolve(made.digest, None)).layers[0].endswith(f"{sha(NEW)}/root")


async def test_base_of_a_plain_archive(store: ImageStore, archive: Write) -> None:
    """An imported root is a base like any other."""
    await store.import_archive(archive(BASE), "plain")
    fd = opened(archive(NEW))
    made = await store.commit(fd, base="plain", name="new", changes={}, history={})
    os.close(fd)
    assert made.layers == 2
    assert store.inspect("new").config.count("created_by") == 0


async def test_failure_leaves_nothing(
    store: ImageStore, archive: Write, nothing_left: Callable[[], None]
) -> None:
    """A bad name, base or change is said before anything is read; a cut archive keeps no layer."""
    cut = opened(archive(NEW[:1025]))
    wrong = [
        (NotFound, {"base": "missing"}),
        (BadRequest, {"name": "a//b"}),
        (BadRequest, {"changes": {"Cmd": 7}}),
        (BadRequest, {"changes": {"Healthcheck": {"Test": ["WHAT"]}}}),
        (ImageError, {}),
    ]
    for kind, asked in wrong:
        fields = {"base": None, "name": None, "changes": {}, "history": {}, **asked}
        with pytest.raises(kind):
            await store.commit(cut, **fields)  # type: ignore[arg-type]
    os.close(cut)
    nothing_left()


async def test_base_that_is_removed_meanwhile_keeps_its_layers(store: ImageStore, archive: Write) -> None:
    """What a commit builds on is held until it has ended."""
    await store.load(archive(pack(oci(Built([BASE])))))
    reading, writing = os.pipe()

    async def make() -> None:
        await store.commit(reading, base="demo:1", name="new", changes={}, history={})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make)
        await trio.testing.wait_all_tasks_blocked()
        await store.remove("demo:1", force=False, in_use=lambda _: None)
        os.write(writing, NEW)
        os.close(writing)
    os.close(reading)
    assert len((await store.resolve("new", None)).layers) == 2
