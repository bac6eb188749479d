"""Ids and names of containers: made up, checked."""

from __future__ import annotations

import random
import re
import secrets
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Container

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")

SHORT_ID = 12
"""Hex digits of an id that people see."""

_ADJECTIVES = (
    "amber azure bold brave breezy bright brisk calm clear clever cosy crisp deft eager early fair "
    "fleet fresh gentle glad golden good hardy jolly keen kind light lively lucky mellow merry mild neat "
    "nimble noble pale placid plain polite proud quick quiet rapid ready rosy silver sleek smart snug "
    "solid steady still stout sunny sure swift tidy true warm wise witty"
).split()
_NOUNS = (
    "anchor barge bay beacon boat bow brig buoy canoe cape coast coracle cove current cutter deck delta "
    "dinghy dock dory drift eddy ferry fjord galley gull harbour heron helm inlet island jetty kayak keel "
    "ketch lagoon lake lighthouse loch lock mast mooring oar otter paddle pier pilot port punt quay raft "
    "reef ripple river rudder sail schooner shoal shore skiff sloop sound strait stream tern tide tiller "
    "tug wave wharf yawl"
).split()


def new_id() -> str:
    """Return 64 random hex digits, with a letter among the first twelve so that no id looks like a number."""
    while True:
        container_id = secrets.token_hex(32)
        if not container_id[:SHORT_ID].isdigit():
            return container_id


def new_name(taken: Container[str]) -> str:
    """Return a readable name that is not in `taken`."""
    while True:
        name = f"{random.choice(_ADJECTIVES)}_{random.choice(_NOUNS)}"  # noqa: S311 - not a secret
        if name in taken:
            name += str(random.randrange(2, 100_000))  # noqa: S311 - not a secret
        if name not in taken:
            return name


def check_name(name: str) -> str:
    """Return `name`. Raises BadRequest when it is no container name."""
    if NAME.fullmatch(name) is None:
        raise BadRequest(
            f"name {name[:130]!r} is not allowed",
            hint="a letter or digit, then letters, digits, '_', '.' or '-', at most 128 in all",
        )
    return name
