"""Modules that are imported when something of them is first asked for.

The client has a verb for everything, and a program uses few: what it does not use costs it nothing.

    if TYPE_CHECKING:
        from wherry_protocol import images
    else:
        images = Lazy("wherry_protocol.images")
"""

from __future__ import annotations

from importlib import import_module


class Lazy:
    """Stands for a module until its names are asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        value: object = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)  # from now on it is found without asking
        return value
