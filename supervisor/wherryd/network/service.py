"""The networks of one supervisor: made, found, joined, left, removed. The entrance to this package.

Owns which networks there are and which addresses are given. What is given follows from the containers'
records, so nothing can leak: an address is taken as long as a container has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import WherryError
from wherryd import journal
from wherryd.network.bridges import Bridges
from wherryd.network.firewall import Firewall
from wherryd.network.helper import Helper
from wherryd.network.joining import Attached, Joining
from wherryd.network.known import KnownNetworks
from wherryd.network.model import LinkNames
from wherryd.network.modes import wanted
from wherryd.network.names import Names
from wherryd.network.records import NetworkRecords

if TYPE_CHECKING:
    import sqlite3

    from wherryd.containers.container import Container
    from wherryd.containers.registry import Registry

CLOSE_TIMEOUT = 5.0
"""Seconds to take down, at the supervisor's end, what no container uses."""


class Networks:
    """The networks of the supervisor called `instance`. `run` is its task."""

    def __init__(self, database: sqlite3.Connection, registry: Registry, instance: str) -> None:
        links = LinkNames.of(instance)
        self.links = links
        self.names = Names(registry)
        self.helper = Helper()
        self.firewall = Firewall(self.helper, links, instance)
        self.known = KnownNetworks(NetworkRecords(database))
        self.bridges = Bridges(self.known, self.helper, self.firewall, links)
        self.joining = Joining(self.known, self.bridges, self.helper, self.firewall, links)
        self._registry = registry

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.helper.run)
            nursery.start_soon(self.firewall.run)
            nursery.start_soon(self.joining.pool.run)
            nursery.start_soon(self.names.run)

    async def prepare(self) -> None:
        """Have the default network up, and namespaces on it ready, before somebody asks for one."""
        try:
            network = await self.bridges.default()
            await self.bridges.ensure(network)
        except WherryError as error:
            journal.error("the default network is not up", error=error)
            return
        self.joining.pool.warm(network)

    def attach_nowait(self, container: Container) -> Attached | None:
        """Return what a start needs, if it is ready; None when `attach` has to make it."""
        attached = self.joining.attach_nowait(wanted(container.config.spec))
        if attached is not None:
            container.endpoints = attached.endpoints
        return attached

    async def attach(self, container: Container) -> Attached:
        """Return what a start needs: a namespace on the container's networks; the descriptor is the caller's.

        `detach` is to follow. Raises NotFound, BadRequest, Conflict, KernelFailure; then nothing is left.
        """
        specs = wanted(container.config.spec)
        if any(spec.network == "bridge" for spec in specs):
            await self.bridges.default()
        attached = await self.joining.attach(specs)
        container.endpoints = attached.endpoints
        return attached

    def detach(self, container: Container) -> None:
        """A container's run is over, or did not come to be: its addresses and ports are free."""
        self.firewall.release(container)
        endpoints, container.endpoints = container.endpoints, ()
        for endpoint in endpoints:
            network = self.known.by_id(endpoint.network_id)
            if network is not None:
                self.joining.leave(network, endpoint)
