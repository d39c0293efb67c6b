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
- What strangers say is neither counted nor written down, and of the lines of those who are out only
  the latest are kept. Who turns out to be about to join is asked by RESUME
  for what it has said before (DL6).

What of a member does not wait for its disk is whether it is the disk that hangs. Everything that a
member says waits until what it depends on is on the disk; a member whose disk hangs would therefore
fall silent in the group while its transport answers, and the others could not tell it from one that
lies. So the answer to STALL goes past the disk and is no part of a line: it promises nothing, and
says which turn is waited for (S2).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

from consensus.core.durable.turns import Turn
from consensus.core.engine.group import Group
from consensus.core.engine.installation import ASKING, TOO_OLD
from consensus.core.engine.state import Phase
from consensus.core.message_fields import (
    ExpelledMessage,
    ResumeMessage,
    StalledMessage,
    StallMessage,
)
from consensus.core.message_kinds import EXPELLED, RESUME, STALLED, Message
from consensus.core.numbers import Clock, Index
from consensus.core.outputs import Arm, Output, Send
from consensus.core.types import Member, Timer

SEEN_EVERY = 64
"""Messages of one member that are on disk here before it is told so."""
LINES_MAX = 4096
"""Lives whose messages are counted by a member that is joining: it knows nobody yet."""
FORMER_MAX = 1024
"""Lives that are out, or were never let in, whose messages stay counted."""
UNHEARD_MAX = 1024
"""Lives that said something while they were nobody, and are remembered for it."""
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


class Lines(dict[Member, Line]):
    """The line to each whose messages count (DL6)."""

    def __init__(self) -> None:
        super().__init__()
        self._unheard: dict[Member, None] = {}
        """Who said something here while it was nobody; the latest."""
        self._unheard_more = False
        """There were more of them: it may be anybody."""

    def of(self, member: Member) -> Line:
        """The line to a member; it begins here if there was none."""
        line = self.get(member)
        if line is None:
            line = self[member] = Line()
        return line

    def may_begin(self, group: Group, sender: Member) -> bool:
        """Whether what it says counts. Whoever is joining does not know yet who is in the group."""
        if group.phase == Phase.JOINING:
            return len(self) < LINES_MAX
        return sender in group.acquaintances

    def turn_away(self, sender: Member) -> None:
        """Something that it said does not count."""
        self._unheard[sender] = None
        if len(self._unheard) > UNHEARD_MAX:
            del self._unheard[next(iter(self._unheard))]
            self._unheard_more = True

    def is_unheard(self, member: Member) -> bool:
        """Whether something that it said may not have counted; says so once."""
        if member in self._unheard:
            del self._unheard[member]
            return True
        return self._unheard_more and member not in self

    def keep(self, known: Collection[Member]) -> None:
        """Forget all others but the latest: a join that lapsed may be proposed again, and what was
        said before is still part of what was said."""
        former = [member for member in self if member not in known]
        for member in former[: max(0, len(former) - FORMER_MAX)]:
            del self[member]

    def bound_outside(self, members: Collection[Member]) -> None:
        """Drop what is kept for those who are out, or not yet in, when it is too much."""
        outside = [line for member, line in self.items() if member not in members]
        if sum(len(line.kept) for line in outside) > OUTSIDE_MAX:
            for line in outside:
                line.drop()


def to_stranger(group: Group, message: Message) -> Message | None:
    """What is said to nobody here, if anything. Who was a member so long ago that the group does
    not answer for its view any more is told that it is out, or that nothing is left of what was
    between the two. Never more than what was said."""
    head = group.view.number, Clock(0), group.index
    if message.view >= group.view.number or group.phase != Phase.MEMBER:
        return None
    if isinstance(message, ResumeMessage):
        return None if message.is_answer else ResumeMessage(RESUME, *head, 0, 1)
    return ExpelledMessage(EXPELLED, *head, TOO_OLD) if message.kind in ASKING else None


class PastDisk:
    """The part of a durable group that looks at its disk."""

    group: Group
    seq: int
    _control: list[Output]
    _turns: deque[Turn]
    _timers: dict[Timer, float]
    _looked_at = 0
    """The last turn when the stall timer fired last."""

    def fire(self, timer: Timer) -> None:
        """A timer's delay is over: an input, but while this member's own disk is waited for."""
        if not self._waits_itself(timer):
            whole: Any = self
            whole.__getattr__("fire")(timer)

    def _pending(self) -> int:
        """The first turn that has not left."""
        return self._turns[0].seq if self._turns else 0

    def _answer_stall(self, sender: Member, message: StallMessage) -> None:
        if sender not in self.group.view.members or message.view != self.group.view.number:
            return
        said = message.key, message.turn, self.group.did_about(message.key), self._pending()
        answer = StalledMessage(STALLED, message.view, Clock(0), Index(0), *said)
        self._control.append(Send(sender, answer))

    def _waits_itself(self, timer: Timer) -> bool:
        """While its own disk hangs, a member does not count for how long it waits for others (S1):
        what it asked them has not left either."""
        pending = self._pending()
        waits = timer.name == "stall" and 0 < pending <= self._looked_at
        if timer.name == "stall":
            self._looked_at = self.seq
        if waits and timer in self._timers:
            self._control.append(Arm(timer, self._timers[timer]))
        return waits
