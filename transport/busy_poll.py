"""How long to stay awake for the next datagram: not at all, unless the last ones came soon.

Whoever waits in the kernel is woken by an interrupt, and on many machines by leaving a state in
which the processor sleeps. On a virtual machine that is 50 µs and more each way, half of what a
question to a peer takes in all. So when a peer was just heard or something was just sent, the
endpoint goes on looking into its socket for a moment before it sleeps, as hypervisors do for their
guests (Linux, Documentation/virt/kvm/halt-polling.rst), and by the same rule: the moment grows
while what follows comes soon, and is nothing again as soon as it does not. What comes late costs
that moment, once.

- **Only peers count.** What a stranger sends neither begins nor prolongs it: else a few thousand
  datagrams a second would keep a processor busy.
- **Everybody else goes first.** The event loop has a turn after each slice of 20 µs, and while
  others use those turns a slice is a single look. Between any two looks the processor is offered to
  other threads; if one takes it, the endpoint sleeps, and sleeps for a number of datagrams to come.
"""

from collections.abc import Callable
from math import inf
from typing import Final

from transport.core.errors import LocalError
from transport.event_loop import Loop
from transport.surroundings import current
from utp_native.attend import attend

__all__ = ["FIRST_S", "LIMIT_S", "PENALTY", "PENALTY_MAX", "BusyPoll", "check_limit"]

LIMIT_S: Final = 750e-6
"""The longest moment: a first contact has pauses of 300 to 600 µs. What comes later than this would
not come much sooner for it."""
FIRST_S: Final = 50e-6
PENALTY: Final = 4
"""So many datagrams pass after the processor was wanted by others before the endpoint stays awake
again; twice as many each time, and half as many after as many as went well."""
PENALTY_MAX: Final = 1024
_SLICE_US: Final = 20
_OWN_TURN_S: Final = 15e-6
"""A turn of an event loop that has nothing else to do is shorter."""


def check_limit(limit_s: float) -> None:
    """Raise `LocalError` for a longest moment that is negative or no number of seconds."""
    if not 0 <= limit_s < inf:
        raise LocalError("the longest time to stay awake is a number of seconds, or 0")


class BusyPoll:
    """One socket's. `readable` is called from the event loop when there is something to read."""

    __slots__ = (
        "_call_soon", "_deaf", "_fd", "_good", "_left_at", "_limit_s", "_looking", "_penalty",
        "_readable", "_since", "_time", "moment_s",
    )  # fmt: skip

    def __init__(
        self, loop: Loop, fd: int, readable: Callable[[], None], limit_s: float = LIMIT_S
    ) -> None:
        """`limit_s`: the longest moment, 0 for none. Raises as `check_limit` does."""
        check_limit(limit_s)
        self._call_soon: Callable[[Callable[[], None]], None] = loop.call_soon
        self._time = loop.time
        self._fd = fd
        self._readable = readable
        may = loop.cheap_turns and current().stays_awake
        self._limit_s = limit_s if may else 0.0
        self._since = self._left_at = -limit_s
        self._looking = False
        self._penalty = 0
        self._deaf = 0
        self._good = 0
        self.moment_s = 0.0
        """How long the endpoint will stay awake, at present."""

    def heard(self, now: float) -> None:
        """A peer's datagram came."""
        waited_s = now - self._since
        if self._deaf:
            self._deaf -= 1
        elif waited_s <= self.moment_s:
            self._good += 1
            if self._good >= self._penalty:
                self._good = 0
                self._penalty >>= 1
        else:
            longer_s = min(self._limit_s, 2 * self.moment_s or FIRST_S)
            self.moment_s = longer_s if waited_s <= self._limit_s else 0.0

    def rest(self) -> None:
        """All that was to be done is done, and the next thing is a peer's to do."""
        self._since = self._time()
        if self.moment_s and not self._looking:
            self._looking = True
            self._call_soon(self._look)

    def close(self) -> None:
        """Look no more."""
        self.moment_s = self._limit_s = 0.0

    def _look(self) -> None:
        now = self._time()
        if self.moment_s:
            found = attend(self._fd, _SLICE_US if now - self._left_at < _OWN_TURN_S else 0)
            if found > 0:
                self._readable()
            elif found < 0:
                self.moment_s = 0.0
                self._good = 0
                self._deaf = self._penalty = min(max(2 * self._penalty, PENALTY), PENALTY_MAX)
            now = self._left_at = self._time()
        if now - self._since < self.moment_s:
            self._call_soon(self._look)
        else:
            self._looking = False
