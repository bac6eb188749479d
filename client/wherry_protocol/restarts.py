"""Restart policies on the wire: whether a container that ended is started again, and what decides that."""

from __future__ import annotations

from wherry_protocol.errors import BadRequest
from wherry_protocol.typed import Literal
from wherry_protocol.value import Value

PolicyName = Literal["no", "on-failure", "always", "unless-stopped"]

POLICIES = ("no", "on-failure", "always", "unless-stopped")


class RestartPolicy(Value):
    """What becomes of a container when it has ended, unless somebody stopped it.

    "no": it stays ended. "on-failure": it is started again when its code is not 0, or unknown; at most
    `max_retries` times, if that is not 0. "always" and "unless-stopped": it is started again whatever its
    code. So they are when the supervisor or the machine starts: of those that somebody had stopped, only the
    ones with "always". The first try follows at once, later ones wait longer and longer, up to a minute;
    after a run of ten seconds it begins anew.

    Example:
        RunSpec(image="host", command=("./serve",), restart=RestartPolicy(name="on-failure", max_retries=5))

    """

    name: PolicyName = "no"
    max_retries: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.max_retries}" if self.max_retries else self.name


NO_RESTART = RestartPolicy()
"""What a container has that asks for nothing; nobody changes it."""


def parse_policy(text: str) -> RestartPolicy:
    """Return the policy of "always", "on-failure:5" and so on. Raises BadRequest."""
    name, colon, retries = text.partition(":")
    if name not in POLICIES:
        raise BadRequest(f"restart policy {name[:40]!r} is unknown", hint=f"one of {', '.join(POLICIES)}")
    if not colon:
        return NO_RESTART if name == "no" else RestartPolicy(name=_checked(name))
    if name != "on-failure":
        raise BadRequest(f"restart policy {text[:60]!r}: only on-failure has a number of retries")
    if not (retries.isascii() and retries.isdecimal() and len(retries) <= 9):  # noqa: PLR2004 - years of retries
        raise BadRequest(
            f"restart policy {text[:60]!r}: {retries[:40]!r} is no number of retries",
            hint="such as on-failure:5; on-failure alone has no limit",
        )
    return RestartPolicy(name=_checked(name), max_retries=int(retries))


def _checked(name: str) -> PolicyName:
    found: PolicyName = name  # type: ignore[assignment] # the caller looked it up in POLICIES
    return found
