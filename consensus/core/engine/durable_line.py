"""What is between two lives of members of a durable group, over all their lanes.

A lane of the transport ends with a process. What one end had sent and the other has not on disk is
sent again on the next lane:

- Messages are counted, on either side, for each pair of lives (DL1). RESUME and SEEN are not.
- On a lane that began anew each end first says RESUME(n): how many it has received. Nothing else
  is sent, and what comes is dropped, until a RESUME of the other is here; then what is beyond the
  other's n is sent again (DL2). A RESUME is answered with one that says it is an answer and needs
  none, so it does not matter if one end was not there when the lane began, or sees no new lane:
  DL3.
- SEEN(n): n are received *and on disk*; only those are forgotten by their sender (DL4).
- Who is told that more was received than it ever sent has been started from an old copy of its
  file. It has forgotten votes it gave, so it stops for good. What it has to say since it was
  started, and no lane has taken yet, is no part of what it sent. Whoever is asked for what was
  forgotten speaks to such a one, which is therefore lost (DL5).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from consensus.core.message_kinds import Message

SEEN_EVERY = 64
"""Messages of one member that are on disk here before it is told so."""
LINES_MAX = 4096
"""Lives of members, joiners and strangers whose messages are counted."""
UNSEEN_MAX = 65_536
"""Messages kept for one member until it has them on disk; beyond, it counts as lost."""
OUTSIDE_MAX = 4096
"""Messages kept in all for those who are out, or not yet in."""


class Line:
    """The messages between this life and another member's, over all lanes."""

    __slots__ = ("base", "kept", "open", "received", "released", "seen", "sent", "stored")

    def __init__(self) -> None:
        self.kept: deque[Message] = deque()
        """What was put out for it and is not known to be on its disk."""
        self.base = 0
        """How many were forgotten before those."""
        self.released = 0
        """How many were allowed to leave."""
        self.sent = 0
        """How many of those a lane may have taken: not those that wait for it to open."""
        self.received = 0
        self.stored = 0
        """How many of those received are on disk."""
        self.seen = 0
        """How many it was last told are on disk."""
        self.open = True
        """Both ends know what the other has: messages may go, and count when they come."""

    def release(self) -> None:
        """One more is allowed to leave."""
        self.released += 1
        if self.open:
            self.sent = self.released

    def wake(self) -> None:
        """All that was written down is on disk; what was put out then may have left then."""
        self.released = self.sent = self.base + len(self.kept)
        self.stored = self.received
        self.open = False

    def reopen(self, count: int) -> list[Message]:
        """The other end has received so many: what leaves now."""
        self.open = True
        self.sent = self.released
        return self.beyond(count)

    def forget(self, count: int) -> None:
        """So many are on the other's disk."""
        while self.base < count:
            self.kept.popleft()
            self.base += 1

    def beyond(self, count: int) -> list[Message]:
        """What was allowed to leave after the first so many, of which it has all."""
        return list(self.kept)[count - self.base : self.released - self.base]

    def drop(self) -> None:
        """Forget what is kept; what the other end lacks of it, it will never have."""
        self.base += len(self.kept)
        self.kept.clear()


def bound_outside(lines: Sequence[Line]) -> None:
    """Of those to members who are out, or not yet in: drop what is kept when it is too much."""
    if sum(len(line.kept) for line in lines) > OUTSIDE_MAX:
        for line in lines:
            line.drop()
