"""Which containers there are: found by name, id, or id prefix; a name has one owner at a time.

Owns the two maps. Sync, but for one wait: a look-up or a reservation is one step of the event loop, so no two
requests can win the same name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from wherry_protocol.errors import BadRequest, Conflict, NotFound
from wherryd.containers.names import NAME, SHORT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wherryd.containers.container import Container


class Registry:
    """The containers of one supervisor."""

    def __init__(self) -> None:
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}
        self._missed: dict[str, trio.Event] = {}

    def __iter__(self) -> Iterator[Container]:
        """Iterate over a copy, oldest first: the loop may change the registry."""
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def names(self) -> Mapping[str, Container]:
        """The containers by name."""
        return self._by_name

    def get(self, container_id: str) -> Container | None:
        """Return the container with exactly this id."""
        return self._by_id.get(container_id)

    def add(self, container: Container) -> None:
        """Take a container in. Raises Conflict when its name is taken."""
        self.check_free(container.name)
        self._by_id[container.id] = container
        self._by_name[container.name] = container

    def discard(self, container: Container) -> None:
        """Forget a container; its name is free at once."""
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.name) is container:
            del self._by_name[container.name]
        missed = self._missed.pop(container.id, None)
        if missed is not None:
            missed.set()

    async def wait_discarded(self, container: Container) -> None:
        """Wait until a container is forgotten."""
        if self._by_id.get(container.id) is container:
            await self._missed.setdefault(container.id, trio.Event()).wait()

    def rename(self, container: Container, name: str) -> None:
        """Give a container another name. Raises Conflict when it is taken."""
        self.check_free(name)
        del self._by_name[container.name]
        container.name = name
        self._by_name[name] = container

    def find(self, reference: str) -> Container:
        """Return the container that a name, an id or an unambiguous id prefix means.

        Raises NotFound, BadRequest for what can be no reference, Conflict for an ambiguous prefix.
        """
        found = self._by_name.get(reference) or self._by_id.get(reference)
        if found is not None:
            return found
        if NAME.fullmatch(reference) is None:
            raise BadRequest(f"container reference {reference[:80]!r} is malformed")
        matches = [c for container_id, c in self._by_id.items() if container_id.startswith(reference)]
        if not matches:
            raise NotFound(f"no container {reference}", hint="see 'wherry ps -a'")
        if len(matches) > 1:
            ids = ", ".join(c.id[: max(SHORT_ID, len(reference) + 4)] for c in matches[:3])
            raise Conflict(f"id prefix {reference} is ambiguous: {ids}{', …' if len(matches) > 3 else ''}")  # noqa: PLR2004
        return matches[0]

    def check_free(self, name: str) -> None:
        """Raises Conflict, naming the holder, when a name is taken."""
        holder = self._by_name.get(name)
        if holder is not None:
            raise Conflict(
                f"name {name} is taken by container {holder.id[:SHORT_ID]}",
                hint="remove or rename that one, or choose another name",
            )
