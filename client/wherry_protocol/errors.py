"""What can go wrong, as one closed set: the same classes are raised by the supervisor and by the client.

    WherryError                     everything below; str() is one line a person can act on
    ├── BadRequest                  the caller's fault: nothing was touched
    │   ├── UnknownOperation        the peer does not know this request
    │   ├── NotFound                no such container or image
    │   ├── Conflict                a name is taken, or the state does not allow it
    │   └── Unsupported             this host or this version cannot do it
    ├── ImageError                  an archive or image directory cannot be used
    ├── CommandNotFound             the container's command does not exist        (exit code 127)
    ├── CommandNotExecutable        it exists but cannot be executed              (exit code 126)
    ├── KernelFailure               the kernel refused a step: see operation, path, errno
    ├── NoSpace                     a disk is full or read-only
    ├── Busy                        a limit of the supervisor's own is reached: try again
    ├── InternalError               the supervisor's fault: a defect to report
    └── ConnectionFailed            no supervisor, or the connection broke (client side only)
        └── ProtocolError           a peer broke the protocol; that connection is closed

Each has a code that travels; from_reply() turns one that arrived back into its exception.
"""

from __future__ import annotations

from wherry_protocol.typed import TYPE_CHECKING
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from typing import Any, ClassVar


class ErrorReply(Value):
    """An error as it travels: `{code, message, hint, errno, path}`."""

    code: str
    message: str
    hint: str | None = None
    errno: int | None = None
    path: str | None = None


class WherryError(Exception):
    """The base of all: `message`, and where known `hint`, `errno` (a number) and `path`."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 125

    def __init__(
        self, message: str, *, hint: str | None = None, errno: int | None = None, path: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.errno = errno
        self.path = path

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def to_reply(self) -> ErrorReply:
        """Return the error as it travels."""
        return ErrorReply(
            code=self.code, message=self.message, hint=self.hint, errno=self.errno, path=self.path
        )


class BadRequest(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """The request is malformed or asks for something that cannot be; nothing was touched."""

    code = "bad_request"


class UnknownOperation(BadRequest):
    """The peer does not know this operation."""

    code = "unknown_operation"


class NotFound(BadRequest):
    """No container or image answers to this reference."""

    code = "not_found"


class Conflict(BadRequest):
    """A name is taken, or the container's state does not allow the request."""

    code = "conflict"


class Unsupported(BadRequest):
    """It cannot be done on this host or by this version."""

    code = "unsupported"


class ImageError(WherryError):
    """An archive or image directory is missing, broken or refused; nothing of it was kept."""

    code = "image"


class CommandNotFound(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """The command does not exist in the container."""

    code = "command_not_found"
    exit_code = 127


class CommandNotExecutable(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """The command exists in the container but the kernel will not execute it."""

    code = "command_not_executable"
    exit_code = 126


class KernelFailure(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """The kernel refused a step of setting a container up."""

    code = "kernel"


class NoSpace(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """A disk is full, out of inodes, or read-only."""

    code = "no_space"


class Busy(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """A limit of the supervisor's own is reached."""

    code = "busy"


class InternalError(WherryError):
    """A defect of wherry's: please report it with the supervisor's log."""

    code = "internal"


class ConnectionFailed(WherryError):  # noqa: N818 - named for what happened, as the tree reads
    """There is no supervisor to talk to, or the connection to it broke."""

    code = "connection"


class ProtocolError(ConnectionFailed):
    """A peer sent what the protocol does not allow; its connection is closed."""

    code = "protocol"


_CLASSES: dict[str, type[WherryError]] = {
    kind.code: kind
    for kind in (
        BadRequest, UnknownOperation, NotFound, Conflict, Unsupported, ImageError, CommandNotFound,
        CommandNotExecutable, KernelFailure, NoSpace, Busy, InternalError, ConnectionFailed, ProtocolError,
    )
}  # fmt: skip


def from_reply(reply: ErrorReply) -> WherryError:
    """Return the exception that an error on the wire stands for; an unknown code is an InternalError."""
    kind: Any = _CLASSES.get(reply.code, InternalError)
    error: WherryError = kind(reply.message, hint=reply.hint, errno=reply.errno, path=reply.path)
    return error
