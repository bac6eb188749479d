"""From a failed start, as the launcher tells it, to the exception and exit code that docker's users expect.

Pure. Must never tell the command's failure as ours, nor ours as the command's.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from wherry_protocol.errors import (
    BadRequest,
    CommandNotExecutable,
    CommandNotFound,
    KernelFailure,
    NoSpace,
    WherryError,
)

if TYPE_CHECKING:
    from wherryd.launcher.outcome import SpawnFailed

_KINDS_BY_STEP: dict[str, type[WherryError]] = {"user": BadRequest, "cwd": BadRequest, "streams": BadRequest}
"""Steps that fail for what was asked, not for what the kernel lacks."""


def start_error(name: str, command: str, error: SpawnFailed) -> WherryError:
    """Return what is raised when `command` could not be started in the container `name`."""
    if error.step == "exec":
        return _command_error(command, error)
    kind = _KINDS_BY_STEP.get(error.step, KernelFailure)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        kind = NoSpace
    where = f" {error.path}" if error.path else ""
    # What we refuse ourselves has its reason in the hint; the kernel's EINVAL beside it would tell nothing.
    ours = error.op == error.step and error.errno == errno.EINVAL and error.hint is not None
    what, reason = (error.op, error.hint) if ours else (f"{error.step}: {error.op}", _reason(error))
    return kind(
        f"container {name}: {what}{where}: {reason}",
        hint=None if ours else error.hint,
        errno=error.errno,
        path=error.path,
    )


def _command_error(command: str, error: SpawnFailed) -> WherryError:
    if error.errno != errno.ENOENT:
        return CommandNotExecutable(
            f"command {command!r} cannot be executed: {_reason(error)}",
            hint=error.hint,
            errno=error.errno,
            path=error.path,
        )
    if "/" not in command:
        return CommandNotFound(f"command {command!r} not found in $PATH", errno=error.errno)
    return CommandNotFound(
        f"command {command!r} not found", hint=error.hint, errno=error.errno, path=error.path
    )


def _reason(error: SpawnFailed) -> str:
    return os.strerror(error.errno) if error.errno else "failed"
