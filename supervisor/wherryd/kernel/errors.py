"""The one exception of this package: which operation failed, on which path, with which errno."""

import os

from wherryd.kernel.hints import hint as known_hint


class KernelError(OSError):
    """The kernel refused `op` on `path` (None: no path is involved). `hint` is one sentence, or None."""

    def __init__(self, op: str, path: str | None, number: int, hint: str | None = None) -> None:
        super().__init__(number, os.strerror(number))
        self.op = op
        self.path = path
        self.hint = hint or known_hint(op, number)

    def __str__(self) -> str:
        where = f" {self.path}" if self.path else ""
        more = f" ({self.hint})" if self.hint else ""
        return f"{self.op}{where}: {self.strerror}{more}"


def from_oserror(error: OSError, op: str, path: str | None = None) -> KernelError:
    """Return `error` with its operation; a KernelError stays as it is."""
    if isinstance(error, KernelError):
        return error
    name = error.filename
    return KernelError(op, path or (name if isinstance(name, str) else None), error.errno or 0)
