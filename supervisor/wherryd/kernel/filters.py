"""Classic BPF on sockets (socket(7), SO_ATTACH_FILTER). Must never know what is filtered."""

from __future__ import annotations

import ctypes
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_SO_ATTACH_FILTER = 26
_INSTRUCTION = struct.Struct("=HBBI")


def attach_filter(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Let a socket receive only what a program passes: (code, jump if true, jump if false, operand) each."""
    code = b"".join(_INSTRUCTION.pack(*each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(program), ctypes.addressof(buffer))  # struct sock_fprog
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, head)
