"""What the event log says of images, in docker's words. The actor is the digest, the name is a fact."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherryd.events.log import EventLog

_ACTIONS = {"untagged": "untag", "deleted": "delete"}
"""Docker's action for each kind of line that a removal answers with."""


def tell_image(events: EventLog, action: str, digest: str, name: str) -> None:
    """Tell what was done with an image."""
    events.emit("image", action, digest, {"name": name})


def tell_removed(events: EventLog, digest: str, lines: Iterable[str]) -> None:
    """Tell what a removal did, by its answer: "untagged: NAME", "deleted: DIGEST"."""
    for line in lines:
        word, _, what = line.partition(": ")
        tell_image(events, _ACTIONS[word], digest, what)
