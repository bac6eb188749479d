"""What requests about networks mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.errors import Conflict, NotFound
from wherry_protocol.networks import (
    Connect,
    CreateNetwork,
    Disconnect,
    InspectNetwork,
    ListNetworks,
    NetworkSummary,
    PruneNetworks,
    RemoveNetwork,
)
from wherryd import journal
from wherryd.housekeeping import prune
from wherryd.network import filters
from wherryd.network.model import UNBRIDGED

if TYPE_CHECKING:
    from wherryd.control.context import Answers, Context, Streams
    from wherryd.network.model import Network


async def create(context: Context, call: CreateNetwork) -> NetworkSummary:
    return summary(context, await context.networks.create(call))


async def inspect(context: Context, call: InspectNetwork) -> NetworkSummary:
    for known in UNBRIDGED:
        if call.ref in (known.name, known.id):
            return known
    return summary(context, await context.networks.find(call.ref))


async def list_all(context: Context, call: ListNetworks) -> tuple[NetworkSummary, ...]:
    filters.check(call.filters)
    await context.networks.find("bridge")
    rows = [*UNBRIDGED, *(summary(context, network) for network in context.networks.known)]
    rows.sort(key=lambda row: row.name)
    return tuple(row for row in rows if filters.matches(row, call.filters))


async def remove(context: Context, call: RemoveNetwork) -> None:
    await context.networks.remove(await context.networks.find(call.ref))


async def connect(context: Context, call: Connect) -> None:
    await context.networks.connect(context.manager.find(call.ref), call.endpoint)


async def disconnect(context: Context, call: Disconnect) -> None:
    try:
        await context.networks.disconnect(context.manager.find(call.ref), call.network)
    except NotFound:
        if not call.force:
            raise


async def prune_all(context: Context, call: PruneNetworks) -> tuple[str, ...]:
    prune.check(call.filters)
    gone: list[str] = []
    for network in context.networks.known:
        if _may_go(context, network, call.filters):
            try:
                await context.networks.remove(network)
            except (Conflict, NotFound) as error:
                journal.debug("network stays", name=network.name, error=error)
                continue
            gone.append(network.name)
    context.networks.pruned()
    return tuple(gone)


def _may_go(context: Context, network: Network, wanted: tuple[tuple[str, str], ...]) -> bool:
    if network.predefined or context.networks.members(network):
        return False
    return prune.matches(wanted, network.created_at, network.labels)


def summary(context: Context, network: Network) -> NetworkSummary:
    """Return a network as clients see it."""
    return network.summary().replace(members=context.networks.members(network))


ANSWERS: Answers = {
    CreateNetwork: create,
    InspectNetwork: inspect,
    ListNetworks: list_all,
    RemoveNetwork: remove,
    Connect: connect,
    Disconnect: disconnect,
    PruneNetworks: prune_all,
}

STREAMS: Streams = {}
