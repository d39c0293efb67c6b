"""A relay between two UDP sockets, like a NAT: it can change the address it sends from."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

Address = tuple[str, int]
POLL_S = 0.05


class Relay:
    """Passes datagrams between whoever speaks to `address` and `target`, in a thread."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._inner = _bound()
        self._outer = _bound()
        self._client: Address | None = None
        self._moved = threading.Event()
        self._ended = False
        self.address: Address = self._inner.getsockname()
        self.passed = 0
        self.moves = 0

    def move(self) -> None:
        """From now on the target sees another port; what it sends to the old one is lost."""
        self._outer, old = _bound(), self._outer
        old.close()
        self.moves += 1

    def run(self) -> None:
        """Until `end`."""
        while not self._ended:
            inner, outer = self._inner, self._outer
            try:
                for ready in select.select([inner, outer], [], [], POLL_S)[0]:
                    self._pass(ready, inner, outer)
            except (OSError, ValueError):
                continue  # The socket was replaced meanwhile.

    def _pass(self, ready: socket.socket, inner: socket.socket, outer: socket.socket) -> None:
        for _ in range(64):
            try:
                data, source = ready.recvfrom(65535)
            except BlockingIOError:
                return
            self.passed += 1
            if ready is inner:
                self._client = source
                outer.sendto(data, self._target)
            elif self._client is not None:
                inner.sendto(data, self._client)

    def end(self) -> None:
        """Close everything."""
        self._ended = True


def _bound() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    return sock


@contextmanager
def relay_to(target: Address) -> Iterator[Relay]:
    """A running relay."""
    relay = Relay(target)
    thread = threading.Thread(target=relay.run, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        relay.end()
        thread.join()
        relay._inner.close()
        relay._outer.close()
