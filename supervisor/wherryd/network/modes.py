"""What a request's network words mean: whether a container has networks, and which. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry_protocol.networks import EndpointSpec

if TYPE_CHECKING:
    from wherry_protocol.run_spec import RunSpec

CONTAINER = "container:"


def has_networks(spec: RunSpec) -> bool:
    """Say whether a container is on bridges."""
    return spec.network not in ("none", "host") and not spec.network.startswith(CONTAINER)


def names_of(spec: RunSpec) -> tuple[str, ...]:
    """Return the networks of a container as people see them, "none" and "host" among them."""
    return tuple([each.network for each in wanted(spec)]) or (spec.network,)


def join_spec(spec: RunSpec, asked: EndpointSpec) -> RunSpec:
    """Return the request of a container that is on one more network."""
    if spec.network == "none":
        return spec.replace(network=asked.network, endpoints=(asked,))
    return spec.replace(endpoints=(*spec.endpoints, asked))


def leave_spec(spec: RunSpec, name: str) -> RunSpec:
    """Return the request of a container that is on one network less."""
    rest = [each for each in wanted(spec) if each.network != name]
    if not rest:
        return spec.replace(network="none", endpoints=())
    return spec.replace(network=rest[0].network, endpoints=tuple(rest))


def other_container(spec: RunSpec) -> str | None:
    """Return the container whose network a container is in, if it is in one's."""
    return spec.network.removeprefix(CONTAINER) if spec.network.startswith(CONTAINER) else None


def takes_namespace(spec: RunSpec) -> bool:
    """Say whether a container starts in a network namespace that is there before it."""
    return spec.network not in ("none", "host")


def wanted(spec: RunSpec) -> tuple[EndpointSpec, ...]:
    """Return what a container asks of each of its networks, the primary one first."""
    if not has_networks(spec):
        return ()
    asked = {each.network: each for each in spec.endpoints}
    primary = asked.pop(spec.network, None) or EndpointSpec(network=spec.network)
    return (primary, *asked.values())
