"""Putting a container on one more network and taking it off again, also while it runs.

What is decided is in the container's request, for its later starts; what is done now is in its endpoints. One
change of a container's networks at a time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict, NotFound
from wherryd.network import hosts
from wherryd.network.modes import CONTAINER, join_spec, leave_spec, wanted

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry_protocol.networks import Endpoint, EndpointSpec
    from wherry_protocol.run_spec import RunSpec
    from wherryd.containers.container import Container, Run
    from wherryd.network.helper import Helper
    from wherryd.network.joining import Joining
    from wherryd.network.model import Network
    from wherryd.network.rules.firewall import Firewall


class Membership:
    """Changes of who is on which network. `keep` puts a container's changed request on record, or raises."""

    def __init__(
        self,
        joining: Joining,
        helper: Helper,
        firewall: Firewall,
        keep: Callable[[Container, RunSpec], None],
    ) -> None:
        self._joining = joining
        self._helper = helper
        self._firewall = firewall
        self._keep = keep

    async def connect(self, container: Container, network: Network, asked: EndpointSpec) -> None:
        """Put a container on a network. Raises Conflict, BadRequest, KernelFailure; then nothing changed."""
        asked = asked.replace(network=network.name)
        async with container.changing_networks:
            self._check_connect(container, network)
            run = container.run
            if not container.alive or run is None:
                self._keep(container, join_spec(container.config.spec, asked))
                return
            interface = _free_interface(container.endpoints)
            primary = not container.endpoints
            endpoint = await self._joining.join(asked, interface, run.pidfd, primary=primary)
            try:
                _check_same_run(container, run)
                self._keep(container, join_spec(container.config.spec, asked))
            except BaseException:
                self._helper.tell("remove_links", (endpoint.link,))
                self._joining.leave(network, endpoint)
                raise
            container.endpoints = (*container.endpoints, endpoint)
            _edit_hosts(container, added=endpoint)
            if endpoint.primary:
                await self._publish(container)

    def _check_connect(self, container: Container, network: Network) -> None:
        mode = container.config.spec.network
        if mode == "host" or mode.startswith(CONTAINER):
            whose = (
                "the host's network" if mode == "host" else f"the network of {mode.removeprefix(CONTAINER)}"
            )
            raise Conflict(f"container {container.name} is in {whose}: it cannot be on others")
        if any(each.network == network.name for each in wanted(container.config.spec)):
            raise Conflict(f"container {container.name} is on network {network.name} already")

    async def disconnect(self, container: Container, network: Network) -> None:
        """Take a container off a network. Raises NotFound when it is not on it, NoSpace, KernelFailure."""
        async with container.changing_networks:
            if not any(each.network == network.name for each in wanted(container.config.spec)):
                raise NotFound(f"container {container.name} is not on network {network.name}")
            self._keep(container, leave_spec(container.config.spec, network.name))
            endpoint = next((each for each in container.endpoints if each.network_id == network.id), None)
            if endpoint is not None:
                await self._part(container, network, endpoint)

    async def _part(self, container: Container, network: Network, endpoint: Endpoint) -> None:
        rest = tuple(each for each in container.endpoints if each is not endpoint)
        if endpoint.primary:
            self._firewall.release(container)
            if rest:
                rest = (rest[0].replace(primary=True), *rest[1:])
        container.endpoints = rest
        _edit_hosts(container, removed=endpoint)
        try:
            await self._helper.call("remove_links", (endpoint.link,))
            if endpoint.primary and rest and container.run is not None:
                await self._helper.call("set_primary", rest[0].to_wire(), fds=[container.run.pidfd])
        finally:
            self._joining.leave(network, endpoint)
        if endpoint.primary and rest:
            await self._publish(container)

    async def _publish(self, container: Container) -> None:
        """Have the published ports lead to the primary network that the container has now."""
        self._firewall.reserve(container)
        try:
            await self._firewall.published(self._firewall.publish_nowait(container))
        except BaseException:
            self._firewall.release(container)
            raise


def _check_same_run(container: Container, run: Run) -> None:
    if container.run is not run:
        raise Conflict(f"container {container.name} has just ended: try again")


def _free_interface(endpoints: tuple[Endpoint, ...]) -> str:
    taken = {each.interface for each in endpoints}
    return next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)


def _edit_hosts(
    container: Container, *, added: Endpoint | None = None, removed: Endpoint | None = None
) -> None:
    """Have the running container's /etc/hosts say its addresses. What it made of the file itself stays."""
    path = container.directory / "hosts"
    text = hosts.read_bounded(path)
    if text is None:
        return
    if removed is not None:
        text = hosts.without(text, removed)
    if added is not None:
        text += hosts.own_lines(container.config.hostname, (added,))
    with open(os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC), "wb") as file:
        file.write(text.encode(errors="surrogateescape"))
