"""What one peer's mailbox holds, in one life of a lane, as data; `mailbox` says what happens."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from transport.core.lane.lane import Lane
from transport.core.lane.message import DISTANCE_MAX
from transport.core.types import Delivery, Message, Ways

__all__ = ["Mailbox", "Names", "Queued"]


class Names:
    """The names of the messages that passed last in one direction."""

    __slots__ = ("_by_name", "_by_number")

    def __init__(self) -> None:
        self._by_number: dict[int, bytes] = {}
        self._by_name: dict[bytes, int] = {}

    def add(self, number: int, name: bytes) -> None:
        """The message of that number is called so."""
        if number in self._by_number:
            return
        self._by_number[number] = name
        self._by_name[name] = number
        # Twice what is ever referred to: the other side may be that far behind.
        while len(self._by_number) > 2 * DISTANCE_MAX:
            del self._by_name[self._by_number.pop(next(iter(self._by_number)))]

    def name(self, number: int) -> bytes | None:
        """None: it is not known any more, or never was."""
        return self._by_number.get(number)

    def number(self, name: bytes) -> int | None:
        """As `name`, the other way."""
        return self._by_name.get(name)


class Queued(NamedTuple):
    """A message that was not acknowledged yet."""

    delivery: Delivery
    message: Message
    reply_deadline: float | None
    number: int
    ways: Ways


class Mailbox:
    """Both directions, in one life of a lane."""

    __slots__ = (
        "ack_at",
        "arrived",
        "awaited",
        "expected",
        "lane",
        "next_at",
        "next_number",
        "received",
        "sent",
        "sent_number",
        "tries",
        "waiting",
    )

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.waiting: deque[Queued] = deque()
        """The first is under way."""
        self.awaited: dict[bytes, Delivery] = {}
        """Acknowledged, an answer is awaited, by name."""
        self.next_number = 0
        """Of the next message queued."""
        self.sent_number = -1
        """Of the message sent last."""
        self.next_at: float | None = None
        """When the first is sent, or sent again; None: nothing is under way."""
        self.tries = 0
        self.expected = 0
        """The least number that is not known to be a duplicate."""
        self.ack_at: float | None = None
        self.sent = Names()
        self.arrived = Names()
        """Those of `sent` that were acknowledged: the peer knows what they are called."""
        self.received = Names()

    @property
    def owing(self) -> bool:
        """Something is under way or waits: the peer is wanted."""
        return bool(self.waiting)
