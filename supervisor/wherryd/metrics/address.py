"""Where metrics are served: a Unix socket of mode 0600, or a port that only this machine reaches.

Owns the form of the address and the listening socket. Must never listen where others could connect.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry_protocol.errors import BadRequest, Conflict, KernelFailure

if TYPE_CHECKING:
    from collections.abc import Generator

BACKLOG = 64
_HINT = "write unix:/PATH, 127.0.0.1:PORT or [::1]:PORT"
_PORT = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})", re.ASCII)
_SOCKET_PATH_MAX = 107
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Either the absolute `path` of a socket, or a loopback `host` and its `port`."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Read "unix:/run/x.sock", "127.0.0.1:9101" or "[::1]:9101". Raises BadRequest."""
    if text.startswith("unix:"):
        return Address(path=_path(text))
    match = _PORT.fullmatch(text)
    if match is None:
        raise BadRequest(f"--metrics {text!r}: no such address", hint=_HINT)
    try:
        host = ipaddress.ip_address(match[1] or match[2])
    except ValueError as error:
        raise BadRequest(f"--metrics {text!r}: {error}", hint=_HINT) from None
    if not host.is_loopback:
        raise BadRequest(
            f"--metrics {text!r}: other machines could reach that, and nobody would be asked who he is",
            hint=f"{_HINT}; a reverse proxy may ask for a password",
        )
    if not 0 < int(match[3]) <= _PORT_MAX:
        raise BadRequest(f"--metrics {text!r}: a port is 1 to {_PORT_MAX}")
    return Address(host=str(host), port=int(match[3]))


def _path(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or "\0" in path or "\n" in path:
        raise BadRequest(f"--metrics {text!r}: the path must be absolute", hint=_HINT)
    if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
        raise BadRequest(f"--metrics {text!r}: a socket's path has at most {_SOCKET_PATH_MAX} bytes")
    return path


@contextmanager
def listening(address: Address) -> Generator[socket.socket]:
    """Listen until the end of the block. Raises Conflict, KernelFailure."""
    try:
        sock = _bind_port(address) if address.path is None else _bind_path(address.path)
    except OSError as error:
        kind = Conflict if error.errno == errno.EADDRINUSE else KernelFailure
        raise kind(f"--metrics {address}: {error.strerror}", errno=error.errno, path=address.path) from error
    with sock:
        mine = os.stat(address.path).st_ino if address.path is not None else None
        sock.listen(BACKLOG)
        yield sock
        if address.path is not None:
            _unlink(address.path, mine)


def _bind_port(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # What an earlier supervisor's scrapers left in TIME_WAIT is in nobody's way.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_path(path: str) -> socket.socket:
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        sock.bind(path)
    except BaseException:
        sock.close()
        raise
    finally:
        os.umask(mask)
    return sock


def _clear(path: str) -> None:
    """Remove a socket that nobody listens on any more. Raises Conflict for anything else."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"--metrics unix:{path}: something is there that is no socket", path=path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise Conflict(f"--metrics unix:{path}: somebody listens there already", path=path)
    os.unlink(path)


def _unlink(path: str, mine: int | None) -> None:
    """Remove our socket, unless another one has taken its place."""
    try:
        if os.lstat(path).st_ino == mine:
            os.unlink(path)
    except FileNotFoundError:
        return
