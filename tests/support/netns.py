"""Network namespaces for tests: each is a machine of its own, wired to others by hand.

A call runs inside one in a thread of its own; the sockets that it makes, and the processes that it starts,
stay there. Nothing is left when the descriptors are closed: no mount, no name.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from support.forms import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
TIMEOUT = within(3.0)
DROPPED = 0.4
"""Seconds after which one that must not be is taken for dropped; one is made in under a millisecond."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Call(threading.Thread, Generic[T]):
    def __init__(self, enter: Callable[[], int], call: Callable[[], T]) -> None:
        super().__init__()
        self._enter, self._call = enter, call
        self.value: T
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            if self._enter() != 0:
                raise OSError(ctypes.get_errno(), "the namespace cannot be entered")  # noqa: TRY301 - as any
            self.value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error


def _run(enter: Callable[[], int], call: Callable[[], T]) -> T:
    thread = _Call(enter, call)
    thread.start()
    thread.join()
    if thread.error is not None:
        raise thread.error
    return thread.value


class Place:
    """A network namespace. To be closed by whoever made it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def new(cls) -> Place:
        """Make an empty one; its loopback is up."""
        fd = _run(
            lambda: _libc.unshare(CLONE_NEWNET),
            lambda: os.open(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net", os.O_RDONLY),
        )
        place = cls(fd)
        place.ip("link set lo up")
        return place

    @classmethod
    def of(cls, pid: int) -> Place:
        """That of a process."""
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY))

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function inside."""
        return _run(lambda: _libc.setns(self.fd, CLONE_NEWNET), function)

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside; return what it printed, errors included."""
        done = self.call(
            lambda: subprocess.run(
                command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
        return done.stdout

    def ip(self, line: str, *, check: bool = True) -> str:
        """Run ip(8)."""
        return self.run("ip", *line.split(), check=check)

    def nft(self, line: str) -> str:
        """Run nft(8)."""
        return self.run("nft", *line.split())

    def set(self, name: str, value: str) -> None:
        """Set a sysctl, its name a path below /proc/sys."""

        def write() -> None:
            with open(f"/proc/sys/{name}", "w") as file:
                file.write(value)

        self.call(write)

    def wire(self, other: Place, ours: str, theirs: str) -> None:
        """Lay a cable to another place: a veth pair, both ends up."""
        self.call(lambda: _wire(ours, theirs, other.fd))
        self.ip(f"link set {ours} up")
        other.ip(f"link set {theirs} up")

    # -- traffic

    def socket(self, family: int, kind: int) -> socket.socket:
        """Make a socket inside."""
        sock = self.call(lambda: socket.socket(family, kind))
        sock.settimeout(TIMEOUT)
        return sock

    @contextmanager
    def server(self, port: int, *, udp: bool = False) -> Iterator[None]:
        """Serve at a port, on every address, IPv6 too: answers with the address that it sees."""
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        sock = self.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::", port))
        sock.settimeout(None)
        if not udp:
            sock.listen(64)
        thread = threading.Thread(target=_answer_udp if udp else _answer_tcp, args=(sock,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            # It wakes the thread, which closing alone does not.
            sock.shutdown(socket.SHUT_RDWR) if not udp else _poke(self, port)
            thread.join(TIMEOUT)
            sock.close()

    def ask(
        self,
        address: str,
        port: int,
        *,
        udp: bool = False,
        source: str | None = None,
        patience: float = TIMEOUT,
    ) -> str:
        """Return what a server there says our address is; raises OSError (TimeoutError: nothing came)."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
            sock.settimeout(patience)
            if source is not None:
                sock.bind((source, 0))
            sock.connect((address, port))
            sock.sendall(b"?")
            text = sock.recv(200).decode()
        return text.removeprefix("::ffff:")

    def reaches(
        self,
        address: str,
        port: int,
        *,
        udp: bool = False,
        source: str | None = None,
        patience: float = TIMEOUT,
    ) -> bool:
        """Say whether a server there answers, at once or on a machine that has other things to do."""
        try:
            self.ask(address, port, udp=udp, source=source, patience=patience)
        except OSError:
            return False
        return True

    def is_kept_from(self, address: str, port: int, *, udp: bool = False, source: str | None = None) -> bool:
        """Say that no server there answers soon: whoever may reach it does in a hundredth of that time."""
        return not self.reaches(address, port, udp=udp, source=source, patience=DROPPED)


def _wire(ours: str, theirs: str, fd: int) -> None:
    subprocess.run(
        ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", f"/proc/self/fd/{fd}"],
        check=True, pass_fds=(fd,),
    )  # fmt: skip


def _answer_tcp(sock: socket.socket) -> None:
    while True:
        try:
            connection, (address, *_) = sock.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(TIMEOUT)
            try:
                if connection.recv(1):
                    connection.sendall(address.encode())
            except OSError:
                continue


def _answer_udp(sock: socket.socket) -> None:
    while True:
        data, address = sock.recvfrom(100)
        if data == b"":
            return
        sock.sendto(address[0].encode(), address)


def _poke(place: Place, port: int) -> None:
    with place.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"", ("::1", port))
