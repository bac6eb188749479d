"""Every verb of the async client: the one place where verbs are written by hand, a module a noun.

Owns the way from a method's arguments to a request. Must never do IO itself. wherry/verbs is made from
this package by `python tests/client/generate_verbs.py`, by dropping every `async` and `await`.
"""

from __future__ import annotations

from wherry.async_verbs.containers import AsyncContainerVerbs
from wherry.async_verbs.event_log import AsyncEventLogVerbs
from wherry.async_verbs.files import AsyncFileVerbs
from wherry.async_verbs.health import AsyncHealthVerbs
from wherry.async_verbs.housekeeping import AsyncHousekeepingVerbs
from wherry.async_verbs.images import AsyncImageVerbs
from wherry.async_verbs.networks import AsyncNetworkVerbs
from wherry.async_verbs.processes import AsyncProcessVerbs
from wherry.async_verbs.stats import AsyncStatsVerbs
from wherry.async_verbs.system import AsyncSystemVerbs
from wherry.async_verbs.volumes import AsyncVolumeVerbs
from wherry.async_verbs.waits import AsyncWaitVerbs


class AsyncVerbs(
    AsyncContainerVerbs,
    AsyncEventLogVerbs,
    AsyncHealthVerbs,
    AsyncHousekeepingVerbs,
    AsyncFileVerbs,
    AsyncImageVerbs,
    AsyncNetworkVerbs,
    AsyncProcessVerbs,
    AsyncStatsVerbs,
    AsyncSystemVerbs,
    AsyncVolumeVerbs,
    AsyncWaitVerbs,
):
    """One method per verb. A `ref` is a container's name, its id, or an unambiguous prefix of the id.

    Every method raises wherry.errors.WherryError's subclasses: ConnectionFailed when the supervisor
    cannot be reached, NotFound when no container answers to a reference, Conflict when a container's
    state or a name does not allow the request, BadRequest when an argument cannot be.
    """
