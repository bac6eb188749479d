"""The network process's hand on nftables. Owns the one library context; keeps nothing else."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wherryd.kernel.errors import KernelError
from wherryd.kernel.nftables import Nftables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def run(script: str, *, fds: Sequence[int] = ()) -> None:
    """Do a script, or nothing of it."""
    del fds
    _run(script, "text")


def listed(script: str, *, fds: Sequence[int] = ()) -> str:
    """Return what a script lists, as JSON."""
    del fds
    return _run(script, "json")


def _run(script: str, form: str) -> str:
    try:
        return _library().run(script, form=form)
    except KernelError as error:
        error.filename = f"nft: {error.hint}"  # what a refusal travels with
        raise


@lru_cache(maxsize=1)
def _library() -> Nftables:
    return Nftables()


OPS: dict[str, Callable[..., Any]] = {"nft": run, "nft_list": listed}
