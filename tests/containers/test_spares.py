"""Directories made ahead: what is promised to the next container is no trouble of this one's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from wherryd.containers import spares as module
from wherryd.containers.spares import Spares

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class Ground:
    """An image's, whose directories can be prepared so many times."""

    settled = True

    def __init__(self, times: int) -> None:
        self.left = times
        self.prepared: list[str] = []

    def prepare(self, directory: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(30, "Read-only file system", directory)
        self.prepared.append(directory)


async def taken(monkeypatch: pytest.MonkeyPatch, folder: Path, ground: Ground) -> list[module.Taken]:
    """Take two directories on one ground in a row."""
    (folder / "spare").mkdir()
    monkeypatch.setattr(module.Ground, "of", lambda _config: ground)
    made = Spares(folder / "spare")
    for _ in range(4):
        assert made._make()
    return [made.take(str(folder / name), cast("Any", None)) for name in ("first", "second")]


async def test_the_second_on_a_ground_has_a_successor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first, second = await taken(monkeypatch, tmp_path, Ground(3))
    assert first.successor is None
    assert second.successor is not None
    assert second.successor.startswith(str(tmp_path / "spare"))


async def test_a_start_does_not_fail_for_what_was_to_be_promised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, second = await taken(monkeypatch, tmp_path, Ground(2))
    assert second == module.Taken(log_ready=True)
    assert (tmp_path / "second" / "upper").is_dir()
