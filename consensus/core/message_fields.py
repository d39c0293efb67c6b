"""The fields of each kind of group message: who sends it to whom, and what it says.

A message is a tuple, on the wire and in memory. All begin with the same head: `kind`; `view`, the
sender's; `clock`, its Lamport clock; `mark`, the index up to which it has delivered. What one kind
says beyond that stands in its class. `message_kinds` has their numbers.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from consensus.core.numbers import BallotNumber, Clock, Index, Key, Mask, Rank, ViewNumber
from consensus.core.types import Content, Entry, Held, LinkFields, Member, Strikes, Value


class ProposeMessage(NamedTuple):
    """From its proposer to all. Its key is made of the head's clock and its sender's rank.
    Proposing is accepting."""

    kind: Literal[1]
    view: ViewNumber
    clock: Clock
    mark: Index
    content: Content


class VoteMessage(NamedTuple):
    """From a voter to all: it accepts, and has nothing to say with it."""

    kind: Literal[2]
    view: ViewNumber
    clock: Clock
    mark: Index
    keys: tuple[Key, ...]
    """What it accepted since it said so last; at least one."""


class AnswerMessage(NamedTuple):
    """From a voter to all: it accepts one proposal and says something with it."""

    kind: Literal[3]
    view: ViewNumber
    clock: Clock
    mark: Index
    key: Key
    answer: bytes


class RejectMessage(NamedTuple):
    """From a voter to all: it votes against a proposal."""

    kind: Literal[4]
    view: ViewNumber
    clock: Clock
    mark: Index
    key: Key
    reason: str


class NotedMessage(NamedTuple):
    """From a member to all: it has stored somebody else's reject, and does not vote any more."""

    kind: Literal[5]
    view: ViewNumber
    clock: Clock
    mark: Index
    key: Key
    rejecter: Rank
    """One of those who rejected it."""
    reason: str
    """What that one said."""


class MarkMessage(NamedTuple):
    """From a member to all, when nothing else has carried its mark for long."""

    kind: Literal[6]
    view: ViewNumber
    clock: Clock
    mark: Index


class SuspectMessage(NamedTuple):
    """From a member to all: its row of the suspicion matrix, whenever it changes."""

    kind: Literal[7]
    view: ViewNumber
    clock: Clock
    mark: Index
    down: Mask
    """Whom it does not hear, or does not trust."""
    agreed: Mask
    """Whom it agrees to remove."""
    stalled: Mask
    """Whom it hears, but who makes no progress (S2)."""
    disputed: Mask
    """With whom it does not agree on what passed between the two (S3)."""


class PrepareMessage(NamedTuple):
    """From a coordinator to all: phase 1 of the synod, a ballot higher than any it has seen."""

    kind: Literal[8]
    view: ViewNumber
    clock: Clock
    mark: Index
    ballot: BallotNumber


class PromiseMessage(NamedTuple):
    """From a member to the coordinator: it is wedged, and this is its frozen state. From `stable`
    on the fields are those of `types.Promise`."""

    kind: Literal[9]
    view: ViewNumber
    clock: Clock
    mark: Index
    ballot: BallotNumber
    """The one it answers."""
    stable: Index
    """Up to here everybody has delivered, as far as the sender knows."""
    accepted: BallotNumber
    """The ballot whose value it accepted last, or 0."""
    value: Value | None
    """That value."""
    held: tuple[Held, ...]
    """What it has of proposals, by key."""


class AcceptMessage(NamedTuple):
    """From a coordinator to all: phase 2. It counts as the coordinator's own ACCEPTED."""

    kind: Literal[10]
    view: ViewNumber
    clock: Clock
    mark: Index
    ballot: BallotNumber
    value: Value


class AcceptedMessage(NamedTuple):
    """From a member to all: it has accepted the value of a ballot."""

    kind: Literal[11]
    view: ViewNumber
    clock: Clock
    mark: Index
    ballot: BallotNumber


class InstallMessage(NamedTuple):
    """What follows the head's view: from the coordinator to all, old and new, and from any member
    to who is still in that view."""

    kind: Literal[12]
    view: ViewNumber
    clock: Clock
    mark: Index
    value: Value
    """The one that was chosen."""


class AskMessage(NamedTuple):
    """From a member to who spoke in a newer view: it is in the head's, and lacks the INSTALL."""

    kind: Literal[13]
    view: ViewNumber
    clock: Clock
    mark: Index


class ExpelledMessage(NamedTuple):
    """From a member to who is too far behind to be told more, from a sponsor to a joiner that is
    refused."""

    kind: Literal[14]
    view: ViewNumber
    clock: Clock
    mark: Index
    reason: str


class HereMessage(NamedTuple):
    """From a member of the view just installed to who is not in it any more, and to its joiner."""

    kind: Literal[15]
    view: ViewNumber
    clock: Clock
    mark: Index


class SnapshotMessage(NamedTuple):
    """From the sponsor to its joiner: what to start from, in the head's view."""

    kind: Literal[16]
    view: ViewNumber
    clock: Clock
    mark: Index
    members: tuple[Member, ...]
    """Of the view."""
    position: Index
    """The last decision the state contains."""
    last_key: Key
    """That decision's key."""
    data: bytes
    """The application's state."""
    strikes: Strikes
    """Of the view's group."""


class DecisionMessage(NamedTuple):
    """From the sponsor to its joiner: what was decided after the snapshot, one by one."""

    kind: Literal[17]
    view: ViewNumber
    clock: Clock
    mark: Index
    position: Index
    entry: Entry


class ReadyMessage(NamedTuple):
    """From a joiner to all: it has the snapshot; the mark says how far it got since."""

    kind: Literal[18]
    view: ViewNumber
    clock: Clock
    mark: Index
    reached: tuple[Member, ...]
    """Members with whom it has a presence."""


class GoneMessage(NamedTuple):
    """From what remains of a group, to who speaks to it; clock and mark are 0."""

    kind: Literal[19]
    view: ViewNumber
    clock: Clock
    mark: Index


class StallMessage(NamedTuple):
    """From a member to all: what have you done about this proposal, for which I wait (S2)?"""

    kind: Literal[28]
    view: ViewNumber
    clock: Clock
    mark: Index
    key: Key
    turn: int
    """How often this was asked about this proposal, from 1 on."""


class StalledMessage(NamedTuple):
    """To who asked, in answer to STALL. In a durable group it goes past the disk, and no line
    counts it; clock and mark are 0."""

    kind: Literal[29]
    view: ViewNumber
    clock: Clock
    mark: Index
    key: Key
    turn: int
    """As it was asked."""
    did: int
    """See `tables.stall`."""
    pending: int
    """The first turn of a durable member's that is not on its disk, or 0."""


class LeaseAskMessage(NamedTuple):
    """From a reader to all: is the view still in force, and for how long may that be relied on?"""

    kind: Literal[24]
    view: ViewNumber
    clock: Clock
    mark: Index
    question: int
    """Counts over all views."""
    wanted_ms: int


class LeaseMessage(NamedTuple):
    """From a grantor to who asked: it has not promised in the synod of this view."""

    kind: Literal[25]
    view: ViewNumber
    clock: Clock
    mark: Index
    question: int
    """The one it answers."""
    granted_ms: int
    """How long it lets no synod go by the asker; 0 for an answer without a lease."""


class LeasesMessage(NamedTuple):
    """From a grantor to the coordinator before its PROMISE, then to all whenever one ends."""

    kind: Literal[26]
    view: ViewNumber
    clock: Clock
    mark: Index
    holders: Mask
    """Whose leases by the sender's grant still run."""


# -- evidence for certificates: between the members' notaries (see `notary`) -------------------


class VouchMessage(NamedTuple):
    """From a member to all, before ACCEPT or ACCEPTED: what accepting the value means, signed."""

    kind: Literal[30]
    view: ViewNumber
    clock: Clock
    mark: Index
    ballot: BallotNumber
    signature: bytes


class LinkMessage(NamedTuple):
    """To whom INSTALL goes, before it: why the next view follows from the head's."""

    kind: Literal[31]
    view: ViewNumber
    clock: Clock
    mark: Index
    link: LinkFields


class ChainMessage(NamedTuple):
    """From the sponsor to its joiner, before SNAPSHOT: the evidence from the founding on."""

    kind: Literal[32]
    view: ViewNumber
    clock: Clock
    mark: Index
    founding: bytes
    """See `founding`."""
    links: tuple[LinkFields, ...]
    """One for each change of view."""
    position: Index
    """The snapshot's."""
    head: bytes
    """The head of the chain there."""


# -- between the lines of durable groups (see `durable`); they are not counted ---------------


class ResumeMessage(NamedTuple):
    """From either end of a lane that began anew, first of all, and in answer to it."""

    kind: Literal[40]
    view: ViewNumber
    clock: Clock
    mark: Index
    received: int
    """Messages that have come from the other end."""
    is_answer: int
    """1 if it needs no answer itself, else 0."""


class SeenMessage(NamedTuple):
    """From a receiver to who sent them: messages are on its disk."""

    kind: Literal[41]
    view: ViewNumber
    clock: Clock
    mark: Index
    stored: int
    """How many."""
