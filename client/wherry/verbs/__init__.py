# Made from async_verbs/__init__.py by tests/client/generate_verbs.py: change that one.
"""Every verb of the plain client: made from wherry.verbs, a module a noun.

Owns the way from a method's arguments to a request. Must never do IO itself.
"""

from __future__ import annotations

from wherry.verbs.containers import ContainerVerbs
from wherry.verbs.event_log import EventLogVerbs
from wherry.verbs.files import FileVerbs
from wherry.verbs.health import HealthVerbs
from wherry.verbs.housekeeping import HousekeepingVerbs
from wherry.verbs.images import ImageVerbs
from wherry.verbs.networks import NetworkVerbs
from wherry.verbs.processes import ProcessVerbs
from wherry.verbs.stats import StatsVerbs
from wherry.verbs.system import SystemVerbs
from wherry.verbs.volumes import VolumeVerbs
from wherry.verbs.waits import WaitVerbs


class Verbs(
    ContainerVerbs,
    EventLogVerbs,
    HealthVerbs,
    HousekeepingVerbs,
    FileVerbs,
    ImageVerbs,
    NetworkVerbs,
    ProcessVerbs,
    StatsVerbs,
    SystemVerbs,
    VolumeVerbs,
    WaitVerbs,
):
    """One method per verb. A `ref` is a container's name, its id, or an unambiguous prefix of the id.

    Every method raises wherry.errors.WherryError's subclasses: ConnectionFailed when the supervisor
    cannot be reached, NotFound when no container answers to a reference, Conflict when a container's
    state or a name does not allow the request, BadRequest when an argument cannot be.
    """
