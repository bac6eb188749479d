"""What packets may pass: the seam between the networks' links and the rules for them.

Whoever makes a network or an endpoint calls this; every call is done before the next thing happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry_protocol.networks import Endpoint
    from wherryd.containers.container import Container
    from wherryd.network.helper import Helper
    from wherryd.network.model import LinkNames, Network


class Firewall:
    """The rules of one supervisor."""

    def __init__(self, helper: Helper, names: LinkNames, instance: str) -> None:
        self._helper = helper
        self._names = names
        self._instance = instance

    async def network_up(self, network: Network) -> None:
        """A network's bridge was made or found. Raises KernelFailure: then the network is not up."""

    async def network_down(self, network: Network) -> None:
        """A network's bridge is about to be removed."""

    async def admit(self, network: Network, endpoint: Endpoint) -> None:
        """An endpoint was made; nobody uses it yet. Raises KernelFailure: then it is taken away again.

        It may be of the pool: whose container it will be is not known, and its aliases are not.
        """

    def dismiss(self, network: Network, endpoint: Endpoint) -> None:
        """An endpoint's container ended, or is off the network: its address may be another's at once."""

    def reserve(self, container: Container) -> None:
        """A container with endpoints is about to start: take the ports that it publishes, in this very step.

        Raises Conflict, BadRequest. `release` follows, whatever happens then.
        """

    async def publish(self, container: Container) -> None:
        """Have the reserved ports reachable; done before the start is answered. Raises KernelFailure."""

    def release(self, container: Container) -> None:
        """A container's run is over, or never came to be: its ports are free, and nothing leads there."""
