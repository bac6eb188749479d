"""Every exception that this package raises.

    WherryError                     everything below; str() is one line a person can act on
    ├── ContainerFailed             Result.check(): the command did not end with code 0
    ├── BadRequest                  the caller's fault: nothing was touched
    │   ├── UnknownOperation        the supervisor is too old for this request
    │   ├── NotFound                no such container or image
    │   ├── Conflict                a name is taken, or the state does not allow it
    │   └── Unsupported             this host or this version cannot do it
    ├── ImageError                  an archive or image directory cannot be used
    ├── CommandNotFound             the container's command does not exist        (exit_code 127)
    ├── CommandNotExecutable        it exists but cannot be executed              (exit_code 126)
    ├── KernelFailure               the kernel refused a step: see path and errno
    ├── NoSpace                     a disk is full or read-only
    ├── Busy                        a limit of the supervisor's own is reached: try again
    ├── InternalError               the supervisor's fault: a defect to report
    └── ConnectionFailed            no supervisor, or the connection broke
        └── ProtocolError           the other side broke the protocol

Owns ContainerFailed; all others are wherry_protocol's. Must never grow a class that a supervisor sends.
"""

from __future__ import annotations

from wherry_protocol.errors import (
    BadRequest,
    Busy,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    ConnectionFailed,
    ImageError,
    InternalError,
    KernelFailure,
    NoSpace,
    NotFound,
    ProtocolError,
    UnknownOperation,
    Unsupported,
    WherryError,
)
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from wherry.result import Result

__all__ = [
    "BadRequest", "Busy", "CommandNotExecutable", "CommandNotFound", "Conflict", "ConnectionFailed",
    "ContainerFailed", "ImageError", "InternalError", "KernelFailure", "NoSpace", "NotFound",
    "ProtocolError", "UnknownOperation", "Unsupported", "WherryError",
]  # fmt: skip


class ContainerFailed(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """The container's command ended with another code than 0, by a signal, or nobody knows how."""

    def __init__(self, message: str, *, result: Result) -> None:
        super().__init__(message)
        self.result = result
