"""The network process's hand on nftables. Owns the one library context; keeps nothing else."""

from __future__ import annotations

import json
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


def foreign_drops(own: str, *, fds: Sequence[int] = ()) -> list[str]:
    """Return others' chains that drop what is forwarded unless told otherwise, as "inet filter forward"."""
    del fds
    chains = (each.get("chain", {}) for each in json.loads(_run("list chains", "json"))["nftables"])
    return [
        f"{chain['family']} {chain['table']} {chain['name']}"
        for chain in chains
        if (chain.get("hook"), chain.get("policy")) == ("forward", "drop") and chain["table"] != own
    ]


def _run(script: str, form: str) -> str:
    try:
        return _library().run(script, form=form)
    except KernelError as error:
        error.filename = f"nft: {error.hint}"  # what a refusal travels with
        raise


@lru_cache(maxsize=1)
def _library() -> Nftables:
    return Nftables()


OPS: dict[str, Callable[..., Any]] = {"nft": run, "foreign_drops": foreign_drops}
