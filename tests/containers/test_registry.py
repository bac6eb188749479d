"""References: a name, an id, an unambiguous prefix; one owner a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry_protocol.errors import BadRequest, Conflict, NotFound
from wherry_protocol.run_spec import RunSpec
from wherryd.containers.config import resolve
from wherryd.containers.container import Container
from wherryd.containers.names import check_name, new_id, new_name
from wherryd.containers.registry import Registry
from wherryd.images.reference import ImageConfig, RootImage

IMAGE = RootImage(reference="i", digest=None, layers=("/x",), binds=(), config=ImageConfig())


def container(container_id: str, name: str) -> Container:
    config = resolve(RunSpec(image="i", command=("true",)), IMAGE, container_id)
    return Container(
        container_id=container_id, name=name, config=config, directory=Path("/x"), created_at=0.0
    )


def test_name_then_id_then_prefix() -> None:
    """A container called like another's id prefix is found by its name."""
    registry = Registry()
    first, second = container("ab" + "0" * 62, "web"), container("ab" + "1" * 62, "ab0")
    registry.add(first)
    registry.add(second)
    assert registry.find("web") is first
    assert registry.find("ab0") is second
    assert registry.find("ab00") is first
    assert registry.find(first.id) is first
    with pytest.raises(Conflict, match="ambiguous"):
        registry.find("ab")
    with pytest.raises(NotFound, match="no container nope"):
        registry.find("nope")
    with pytest.raises(BadRequest):
        registry.find("../x")


def test_a_name_has_one_owner_and_is_free_after_it() -> None:
    """Taken at once, freed at once, also by rename."""
    registry = Registry()
    first, second = container("a" * 64, "web"), container("b" * 64, "db")
    registry.add(first)
    registry.add(second)
    with pytest.raises(Conflict, match="name web is taken by container aaaaaaaaaaaa"):
        registry.add(container("c" * 64, "web"))
    with pytest.raises(Conflict):
        registry.rename(second, "web")
    registry.rename(first, "old")
    registry.rename(second, "web")
    assert registry.find("web") is second
    registry.discard(second)
    registry.add(container("d" * 64, "web"))


def test_made_up_names_are_unique_and_legal() -> None:
    """Two thousand of them, more than there are pairs of some words."""
    taken: set[str] = set()
    for _ in range(2000):
        name = new_name(taken)
        assert name not in taken
        assert check_name(name) == name
        taken.add(name)
    assert len(new_id()) == 64
