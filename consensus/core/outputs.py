"""What a group asks of its shell, in the order in which it happened."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from consensus.core.message_kinds import Message
from consensus.core.numbers import BallotNumber, Index, ViewNumber
from consensus.core.types import (
    Candidate,
    Decision,
    Handle,
    Member,
    Proposal,
    ProposalId,
    Timer,
    Value,
)
from consensus.core.view import View


class Send(NamedTuple):
    """Append the message to the lane to this member. The sends of one broadcast follow each
    other and share the very same message object, so it needs to be encoded once only."""

    to: Member
    message: Message


class Arm(NamedTuple):
    """Call `fire(timer)` after this delay, replacing the timer if it is armed."""

    timer: Timer
    delay_s: float


class Disarm(NamedTuple):
    """Forget the timer."""

    timer: Timer


class VoteWanted(NamedTuple):
    """The application shall say what it thinks, with `answer(proposal.id, vote)`, before the
    deadline; after it the engine rejects in its stead."""

    proposal: Proposal


class Decided(NamedTuple):
    """An outcome, in order. `handle` is set for the caller's own proposals and then final; an
    own proposal that was abandoned has no handle here and is followed by `Abandoned`."""

    decision: Decision
    handle: Handle | None


class Abandoned(NamedTuple):
    """An own proposal fell to a view change. It goes on under another id, or (None) is over."""

    handle: Handle
    resubmitted_as: ProposalId | None


class Installed(NamedTuple):
    """This member is in the view from here on; all that follows is of it."""

    view: View


class ValueAccepted(NamedTuple):
    """This member accepts the value of a ballot of the synod that ends a view; the sends that
    say so follow."""

    view: ViewNumber
    ballot: BallotNumber
    value: Value


class Suspended(NamedTuple):
    """This member has lost (or found again) a quorum it can hear."""

    flag: bool


class Expelled(NamedTuple):
    """This member is not in the next view (it left, was kicked or was removed), or was refused
    as a joiner. The object answers stragglers until `Ended`."""

    reason: str


class Lost(NamedTuple):
    """The group can never decide again, as far as this member can tell."""

    reason: str


class Ended(NamedTuple):
    """Nothing more will come from this object and nothing needs to be given to it."""


class ReachWanted(NamedTuple):
    """Build a presence with the candidate, then call `reached(candidate.member, ok)`."""

    candidate: Candidate


class SnapshotWanted(NamedTuple):
    """A joiner needs the application's state: call `snapshot(joiner, index, data)` with the state
    after the decision of that index, which is at least this one, or with None for none."""

    joiner: Member
    index: Index  # type: ignore[assignment]


class SnapshotReceived(NamedTuple):
    """The joiner's application shall start from this state; later decisions follow. It may come
    again, and then replaces everything since."""

    index: Index  # type: ignore[assignment]
    data: bytes


class Accused(NamedTuple):
    """This member sent what no honest member could send; the message was refused."""

    member: Member
    what: str


class LeaseAsked(NamedTuple):
    """A question for the lease leaves now: note the time, it counts from here."""

    number: int


class LeaseGranted(NamedTuple):
    """A quorum answered the question: this member may read without asking until `lease_s` after
    the question left, less what clocks may differ in rate, as long as `lease` names it."""

    number: int
    lease_s: float


class Readable(NamedTuple):
    """A read is done: what this member has delivered holds everything that was committed when it
    began. If `lease` is not 0, that is so only if the lease of that question still runs."""

    handle: Handle
    lease: int


class Persist(NamedTuple):
    """Write this down, after everything before it, then call `persisted(seq)`."""

    seq: int
    record: bytes
    decisions: tuple[Decision, ...]
    """Those of this turn, after the snapshot if there was one: they are reported once it is on
    disk."""
    restored: tuple[Index, bytes] | None
    """The snapshot a joiner got in this turn, index and data: all decisions written down before
    are void."""
    checkpoint: bytes | None
    """The whole state after this record; with it on disk, records up to `seq` are void."""


Output: TypeAlias = (
    Send
    | Arm
    | Disarm
    | VoteWanted
    | Decided
    | Abandoned
    | Installed
    | ValueAccepted
    | Suspended
    | Expelled
    | Lost
    | Ended
    | ReachWanted
    | SnapshotWanted
    | SnapshotReceived
    | Accused
    | Persist
    | LeaseAsked
    | LeaseGranted
    | Readable
)
