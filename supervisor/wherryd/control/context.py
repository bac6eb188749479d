"""What every verb may use, and the form of the tables that say which function is which verb."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherryd.containers.manager import Manager
    from wherryd.control.facts import Facts
    from wherryd.images.store import ImageStore
    from wherryd.network.service import Networks
    from wherryd.processes.execs import Execs
    from wherryd.reloading import Reloader
    from wherryd.volumes.store import VolumeStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One supervisor, as its verbs see it."""

    manager: Manager
    execs: Execs
    facts: Facts
    reloader: Reloader

    @property
    def images(self) -> ImageStore:
        """The image store."""
        return self.manager.services.images

    @property
    def volumes(self) -> VolumeStore:
        """The volumes."""
        return self.manager.services.volumes

    @property
    def networks(self) -> Networks:
        """The networks."""
        return self.manager.services.networks


Answers = dict[type[Any], Callable[[Context, Any], Awaitable[Any]]]
"""By class of request: (context, request) → the answer's value."""

Streams = dict[type[Any], Callable[[Context, Any, Any], Awaitable[Any]]]
"""By class of request: (context, request, emitter) → the answer's value; events go through the emitter."""

AtOnce = dict[type[Any], Callable[[Context, Any, Any], None]]
"""By class of a stream's request: (context, request, reply); it returns at once, the reply answers later."""
