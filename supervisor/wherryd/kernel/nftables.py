"""nftables through libnftables (libnftables(3)): a script goes in, and is done as a whole or not at all.

Owns the library. Must never know what a script is for. Why the library, and not netlink messages of our own
or pyroute2's: a script is one transaction, half a millisecond for one that adds elements; a refusal says
what it is about; and what we ask for reads as what `nft list ruleset` shows.
"""

from __future__ import annotations

import ctypes
import errno
import re
from ctypes import c_char_p, c_int, c_uint32, c_void_p

from wherryd.kernel.errors import KernelError

_LIBRARY = "libnftables.so.1"

_FUNCTIONS: tuple[tuple[str, type | None, tuple[type, ...]], ...] = (
    ("nft_ctx_new", c_void_p, (c_uint32,)),
    ("nft_ctx_free", None, (c_void_p,)),
    ("nft_ctx_buffer_output", c_int, (c_void_p,)),
    ("nft_ctx_buffer_error", c_int, (c_void_p,)),
    ("nft_ctx_get_output_buffer", c_char_p, (c_void_p,)),
    ("nft_ctx_get_error_buffer", c_char_p, (c_void_p,)),
    ("nft_ctx_output_set_flags", None, (c_void_p, c_uint32)),
    ("nft_run_cmd_from_buffer", c_int, (c_void_p, c_char_p)),
)

_OUTPUT_FLAGS = {"text": 0, "json": 1 << 4}

_SAID = re.compile(r"Error: (.*)")

_ERRNO = {
    "No such file or directory": errno.ENOENT,
    "File exists": errno.EEXIST,
    "Operation not permitted": errno.EPERM,
    "Operation not supported": errno.EOPNOTSUPP,
    "Device or resource busy": errno.EBUSY,
}
"""What the library says of a refusal is the kernel's errno in words."""


class Nftables:
    """The library, ready for the network namespace of the thread that uses it. For one thread at a time."""

    def __init__(self) -> None:
        """Load it. Raises KernelError when it is not there."""
        self._library = _load()
        self._context: int = self._library.nft_ctx_new(0)
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Let the library go."""
        self._library.nft_ctx_free(self._context)

    def run(self, script: str, *, form: str = "text") -> str:
        """Do a script in nft(8)'s language, or nothing of it; return what it lists, as "text" or "json".

        Raises KernelError with what the library says as its hint.
        """
        self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_FLAGS["text"])
        if form == "json":
            self._library.nft_ctx_output_set_flags(self._context, _OUTPUT_FLAGS["json"])
        failed = self._library.nft_run_cmd_from_buffer(self._context, script.encode())
        listed: bytes = self._library.nft_ctx_get_output_buffer(self._context)
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise _error(said.decode(errors="replace"))
        return listed.decode(errors="replace")


def _load() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(_LIBRARY, use_errno=True)
    except OSError as error:
        raise KernelError(
            "dlopen", _LIBRARY, errno.ENOENT, "networks need it: apt-get install libnftables1"
        ) from error
    for name, result, arguments in _FUNCTIONS:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _error(said: str) -> KernelError:
    found = _SAID.search(said)
    what = found[1].strip() if found else "refused without a word"
    number = next((number for words, number in _ERRNO.items() if words in what), errno.EINVAL)
    return KernelError("nft", None, number, what)
