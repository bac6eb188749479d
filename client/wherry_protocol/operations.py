"""Which request class an operation name stands for.

Owns the list of modules that define requests. Only the side that receives requests loads them all;
must never be imported by a client's way to a request.
"""

from __future__ import annotations

from importlib import import_module

from wherry_protocol.call import Call
from wherry_protocol.errors import BadRequest, UnknownOperation
from wherry_protocol.typed import TYPE_CHECKING
from wherry_protocol.value import FieldError

if TYPE_CHECKING:
    from typing import Any

MODULES = (
    "system",
    "run_spec",
    "container_state",
    "containers",
    "again",
    "limits",
    "log_options",
    "images",
    "files",
    "event_log",
    "volumes",
    "housekeeping",
    "health",
    "waits",
    "processes",
    "networks",
    "stats",
    "ports",
    "restarts",
    "reload",
)

ENVELOPE = ("id", "op", "fds")
"""The keys of a request frame that are not fields of its call."""

_operations: dict[str, type[Call[Any]]] = {}


def operations() -> dict[str, type[Call[Any]]]:
    """Return every request class by operation name."""
    if not _operations:
        for name in MODULES:
            module = import_module(f"wherry_protocol.{name}")
            _operations.update({kind.op: kind for kind in vars(module).values() if _is_operation(kind)})
    return _operations


def call_from_frame(frame: dict[Any, Any]) -> Call[Any]:
    """Return the request that a frame holds. Raises BadRequest naming the field that is wrong."""
    operation = frame.get("op")
    if type(operation) is not str:
        raise BadRequest("op: expected the name of an operation")
    kind = operations().get(operation)
    if kind is None:
        raise UnknownOperation(f"op: there is no operation {operation!r:.60}")
    fields = {key: value for key, value in frame.items() if key not in ENVELOPE}
    try:
        return kind.from_wire(fields)
    except FieldError as error:
        raise BadRequest(f"{operation}: {error}") from None


def _is_operation(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Call) and bool(kind.op)
