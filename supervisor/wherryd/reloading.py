"""The settings while the supervisor runs: read again on SIGHUP or on request.

Owns which of them change at once and which wait for the next start. A file that cannot be read, or a value
that is not allowed, changes nothing.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from wherry_protocol.reload import Reloaded
from wherryd import journal

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherryd.logs.limits import LogDefaults
    from wherryd.network.service import Networks
    from wherryd.settings import Settings


class Reloader:
    """`current` is what holds now; `read` reads flags, environment and file as at the start."""

    def __init__(
        self, current: Settings, read: Callable[[], Settings], networks: Networks, logs: LogDefaults
    ) -> None:
        self.current = current
        self._read = read
        self._live: dict[str, Callable[[Any], None]] = {
            "debug": lambda value: journal.setup(debug=value),
            "default_network": networks.set_default,
            "log": logs.set,
            "stop_containers": lambda _: None,  # who stops looks at `current`
        }

    def reload(self) -> Reloaded:
        """Read the settings again; return what changed, by name. Raises BadRequest, and nothing has."""
        wanted = self._read()
        different = [
            field.name
            for field in fields(wanted)
            if getattr(wanted, field.name) != getattr(self.current, field.name)
        ]
        changed = {name: getattr(wanted, name) for name in different if name in self._live}
        self.current = replace(self.current, **changed)
        for name, value in changed.items():
            self._live[name](value)
        later = tuple(name for name in different if name not in self._live)
        journal.info("settings read again", changed=" ".join(changed), at_the_next_start=" ".join(later))
        return Reloaded(
            changed={name: _shown(value) for name, value in changed.items()},
            at_next_start={name: _shown(getattr(wanted, name)) for name in later},
        )


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
