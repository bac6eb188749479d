"""Names of containers on user networks: the seam between containers that come and go, and who answers.

service.py calls this; every call is done before the next thing happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherry_protocol.networks import Endpoint
    from wherryd.containers.registry import Registry


class Names:
    """Who is called what on which network: it follows from the registry's containers and their endpoints."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def run(self) -> None:
        """Answer questions, until cancelled."""

    def nameservers(self, endpoints: Sequence[Endpoint]) -> tuple[str, ...] | None:
        """Return what a container with these endpoints has in its resolv.conf; None: what the host has."""
        del endpoints
        return None
