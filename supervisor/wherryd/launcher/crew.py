"""The launcher's workers: one idle at hand, more while there is work, a new one past each that hangs.

Owns their processes and what each is busy with. Must never wait for one.
"""

from __future__ import annotations

import _socket
import math
import os
import time
from collections import deque

from wherryd.kernel.pidfd import pidfd_open, pidfd_send_signal
from wherryd.kernel.syscalls import clone3
from wherryd.launcher import wire, worker
from wherryd.launcher.hand import Hand, Order

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wherryd.launcher.entry import Entry

SIGCHLD = 17
"""On every architecture that we support; importing `signal` would cost the process 0.7 MiB."""

_SOON = 0.005
"""Seconds that an order waits for a busy worker: it takes some three, and a second one takes its core."""

_LATER = 0.25
"""Seconds before the next try to have one worker more, when there could be none."""

_REST = 0.003
"""Seconds that a free worker rests before it prepares for its next order, unless a container ends before:
after that ours are the only processes that have work."""

_PATIENCE = 0.1
"""Seconds that an order waits when there is a worker for every core: then they hang, and one more comes."""

_KEEP = 2.0
"""Seconds that a root is kept for the next container of an image: it keeps the image's file system busy."""

_SIGKILL = 9
_PREPARE = wire.pack(worker.PREPARE, True)
_LET_GO = wire.pack(worker.PREPARE, False)
_FAMILY = (_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


class Crew:
    """All workers. `watch` and `unwatch` are the loop's; `nofile` is what containers get by default."""

    def __init__(
        self,
        watch: Callable[[int, Callable[[int], None]], None],
        unwatch: Callable[[int], None],
        nofile: tuple[int, int],
    ) -> None:
        self._watch = watch
        self._unwatch = unwatch
        self._nofile = nofile
        self._host = pidfd_open(os.getpid())
        self._enough = os.cpu_count() or 1
        self._hands: list[Hand] = []
        self._orders: deque[Order] = deque()

    @property
    def patience(self) -> float | None:
        """How long the loop may sleep before it calls `attend`: None is for ever."""
        due = [hand.spent + _REST for hand in self._hands if hand.spent]
        due += [hand.ready + _KEEP for hand in self._hands if hand.ready]
        if self._orders:
            due.append(self._due())
        return max(0.0, min(due) - time.monotonic()) if due else None

    @property
    def behind(self) -> bool:
        """Whether an order waits for a worker."""
        return bool(self._orders)

    @property
    def busy(self) -> list[int]:
        """The descriptors of those that work: readable once they are free again."""
        return [hand.sock.fileno() for hand in self._hands if hand.busy is not None]

    def _due(self) -> float:
        return self._orders[0].since + (_SOON if len(self._hands) < self._enough else _PATIENCE)

    def take(self, order: Order) -> None:
        """Give the order to a worker, now or when one is free. Raises KernelError when there can be none."""
        former = order.promise and order.promise[0]
        for hand in self._hands:
            if hand.preparing and former is not None and hand.promise == former:
                hand.next = order  # two at once in one directory would be one too many
                return
        for hand in self._hands:
            if hand.idle and hand.suits(order):
                self._give(hand, order)
                return
        if not any(hand.suits(order) for hand in self._hands):
            try:
                self.hire()
            except OSError:
                order.close()
                raise
        self._orders.append(order)

    def wake(self) -> None:
        """Have the worker awake that the next order goes to, if one is idle."""
        for hand in self._hands:
            if hand.idle:
                self._send(hand, worker.WAKE)
                return

    def drop(self, entry: Entry) -> bool:
        """Forget the order of an entry, if it waits still."""
        for hand in self._hands:
            if hand.next is not None and hand.next.entry is entry:
                hand.next.close()
                hand.next = None
                return True
        for order in self._orders:
            if order.entry is entry:
                self._orders.remove(order)
                order.close()
                return True
        return False

    def kill(self, entry: Entry) -> None:
        """Kill the worker that is busy with an entry, if there is one."""
        for hand in self._hands:
            if hand.busy is entry:
                pidfd_send_signal(hand.pidfd, _SIGKILL)

    def attend(self) -> None:
        """Add a worker, if those there are did not come back in time; have rested ones prepare, or let go."""
        now = time.monotonic()
        if self._orders and now >= self._due():
            self._orders[0].since = now
            self._hire_if_possible()
        self.prepare(now - _REST)
        for hand in [*self._hands]:
            if 0 < hand.ready <= now - _KEEP:
                hand.work()
                self._send(hand, _LET_GO)

    def _hire_if_possible(self) -> None:
        """Hire, or leave what waits to those there are; without any it comes to nothing, which is told."""
        try:
            self.hire()
        except OSError:
            self._orders[0].since += _LATER
            if not self._hands:
                self._orders.popleft().close()

    def prepare(self, before: float = math.inf) -> None:
        """Have workers that were free before a time, and are still, make what their next order will need."""
        for hand in [*self._hands]:
            if 0 < hand.spent <= before:
                hand.work()
                hand.preparing = True
                self._send(hand, _PREPARE)

    def hire(self) -> None:
        """Fork one more worker. Raises KernelError."""
        ours, theirs = _socket.socketpair(*_FAMILY)
        ours.setblocking(False)
        try:
            pid, pidfd = clone3(0, SIGCHLD, 0)
            if pid == 0:
                worker.run(theirs.fileno(), self._host, self._nofile)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        hand = Hand(pid, pidfd, ours)
        self._hands.append(hand)
        self._watch(ours.fileno(), lambda _events: self._on_hand(hand))

    def _on_hand(self, hand: Hand) -> None:
        try:
            word = hand.sock.recv(16)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if word not in (worker.FREE, worker.SPENT, worker.READY):
            self._dismiss(hand)
            return
        hand.busy = None
        hand.preparing = False
        order = self._next_for(hand)
        if order is not None:
            self._give(hand, order)
        else:
            hand.rest(word)
            self._thin()

    def _next_for(self, hand: Hand) -> Order | None:
        """Return what waits for it, or for any that suits."""
        if hand.next is not None:
            self._orders.appendleft(hand.next)
            hand.next = None
        for order in self._orders:
            if hand.suits(order):
                self._orders.remove(order)
                return order
        return None

    def _thin(self) -> None:
        """Keep one idle worker: one that can prepare the promised directory, else what most orders suit."""
        idle = [hand for hand in self._hands if hand.idle]
        for hand in sorted(idle, key=lambda hand: (hand.promise is None, -hand.width))[1:]:
            self._dismiss(hand)

    def _give(self, hand: Hand, order: Order) -> None:
        hand.work(order.entry)
        if hand.bounds is None:
            hand.bounds = order.needs
        if order.promise is not None:
            hand.promise = order.promise[1]
        self._send(hand, order.plan, order.fds)  # if it died, the status socket, closed below, tells of it
        os.sched_yield()  # it waits for nothing else; we have time
        order.close()

    def _send(self, hand: Hand, data: bytes, fds: Sequence[int] = ()) -> None:
        try:
            wire.send(hand.sock, data, fds)
        except OSError:
            self._dismiss(hand)

    def _dismiss(self, hand: Hand) -> None:
        self._unwatch(hand.sock.fileno())
        self._hands.remove(hand)
        hand.sock.close()
        os.close(hand.pidfd)
        if hand.next is not None:
            self._orders.appendleft(hand.next)
