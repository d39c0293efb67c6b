"""What every part of a group shares: its state, its outputs and the safety rules as methods.

`Group` is assembled from layers, each a class over the one before, so that a test may break one
rule by overriding one small method. Legend: of each layer the messages it takes, the timers it
arms, and which attributes of the state below are its own.

    GroupBase
        attributes: config, me, _phase, _view, _number, _rank, _bit, _full, _rank_of, _others,
            _clock, _out, _accused, _reason
    Delivery
        attributes: _order, _ballots, _open, _open_bytes, _accepts, _backlog, _window,
            _window_bytes, _mark_every, _sent_mark, _unmarked_bytes, _marks_moved
    Voting
        messages: PROPOSE, VOTE, ANSWER, REJECT, NOTED, MARK
        timers: answer
        attributes: _next_handle, _early, _early_max, _held_max, _held_bytes_max
    FailureDetection
        messages: SUSPECT
        timers: lost, settle
        attributes: _down, _gone, _suspended, _settling, _matrix, _strikes
    Stalling
        messages: STALL, STALLED
        timers: stall
        attributes: _stall, _watching
    ViewChange
        messages: PREPARE, PROMISE, ACCEPT, ACCEPTED
        timers: takeover
        attributes: _synod, _takeover, _lapse, _departure
    Installation
        messages: INSTALL, ASK, EXPELLED, HERE, GONE
        timers: linger
        attributes: _record, _record_before, _informed, _confirmed, _stopped
    Kicks
        timers: kick
        attributes: _charges, _pressed, _unwanted, _overdue, _distrusted
    Membership
        messages: SNAPSHOT, DECISION, READY
        timers: join, ready
        attributes: _sponsor, _sponsored, _committed_changes, _ready, _feeds, _reached,
            _told_ready
    Reads
        messages: LEASE_ASK, LEASE, LEASES
        timers: lease
        attributes: _reads, _leases
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar

from consensus.core.config import (
    DEPARTURES_BYTES,
    DEPARTURES_MAX,
    HOLD_FACTOR,
    WINDOW_BYTES,
    GroupConfig,
)
from consensus.core.message_kinds import Message
from consensus.core.numbers import RANK_BITS, RANK_MASK, Clock, Index, Key, Mask, Rank, ViewNumber
from consensus.core.outputs import Accused, Arm, Disarm, Output, Send
from consensus.core.quorum import Standing, standing
from consensus.core.tables.ballot import Ballot
from consensus.core.tables.leases import Leases, Read
from consensus.core.tables.membership_rules import Sponsorship
from consensus.core.tables.stall import Stall
from consensus.core.tables.suspicion import Matrix, strikes_by_rank
from consensus.core.tables.synod import Synod
from consensus.core.tables.total_order import Order
from consensus.core.types import (
    JOIN,
    Content,
    Entry,
    Handle,
    Member,
    Outcome,
    ProposalId,
    Strikes,
    Timer,
    Value,
)
from consensus.core.view import View

COMMITTED = Outcome.COMMITTED

_new = tuple.__new__


@cache
def _plain_of(
    apart: frozenset[str], attributes: tuple[str, ...]
) -> tuple[tuple[str, ...], Callable[[object], tuple[Any, ...]]]:
    """The names of what the state holds as it is, and a quick way to get all of it."""
    names = tuple(sorted(set(attributes) - apart))
    return names, attrgetter(*names)


class Phase(IntEnum):
    """Where a group object is in its life."""

    JOINING = 0
    MEMBER = 1
    OUT = 2
    """Not in the next view, answering stragglers."""
    ENDED = 3


class GroupBase(ABC):
    """State and outputs. See `group.Group` for what it means to its users."""

    # How state is copied and compared: lists, dictionaries and parts by name, the rest is made of
    # immutable values.
    _LISTS: ClassVar[tuple[str, ...]] = (
        "_out", "_accepts", "_others", "_open", "_open_bytes", "_committed_changes",
    )  # fmt: skip
    _DICTS: ClassVar[tuple[str, ...]] = ("_rank_of", "_ready", "_feeds")
    _PARTS: ClassVar[tuple[str, ...]] = ("_order", "_matrix", "_synod", "_leases", "_stall")
    _APART: ClassVar[frozenset[str]] = frozenset(
        (*_LISTS, *_DICTS, *_PARTS, "_backlog", "_ballots", "_sponsored", "_stopped", "config",
         "_reads", "_full", "_bit", "_number", "_window", "_window_bytes", "_mark_every",
         "_held_max", "_held_bytes_max", "_early_max")
    )  # fmt: skip
    """What the state does not hold as it is, or that follows from the rest."""

    config: GroupConfig
    me: Member

    def __init__(self, me: Member, config: GroupConfig) -> None:
        self.config = config
        self.me = me
        self._phase = Phase.JOINING
        self._clock = Clock(0)
        self._out: list[Output] = []
        self._accepts: list[Key] = []
        """Keys accepted since the last poll, to go out as one VOTE."""
        self._next_handle = 1
        self._backlog: deque[tuple[Handle, Content, bool]] = deque()
        """Own proposals that wait for room in the window, or for the next view."""
        self._suspended = False
        self._takeover = False  # The takeover timer runs.
        self._settling = False  # The settle timer runs.
        self._watching = False  # The stall timer runs.
        self._strikes: Strikes = ()
        self._record: tuple[View, Value, Clock] | None = None
        """The INSTALL out of the view before (or, when out, out of the last one): R4."""
        self._record_before: tuple[View, Value, Clock] | None = None
        self._informed: Mask = 0
        """Ranks of the record's view that were sent it."""
        self._confirmed: Mask = 0
        """Ranks of the next view that have spoken in it, as known to a member that is out."""
        self._gone: tuple[Member, ...] = ()
        """Incarnations that have ended."""
        self._down: tuple[Member, ...] = ()
        """Members the transport does not hear."""
        self._sponsor: Member | None = None
        self._sponsored: dict[Member, Sponsorship] = {}
        self._stopped: dict[Member, list[Message]] = {}
        """Lanes that stopped at a message of a newer view."""
        self._reason = ""  # Why this member is out, if it is.
        self._reached: tuple[Member, ...] = ()
        """Whom a joiner reaches."""
        self._told_ready: tuple[Member, ...] = ()
        """Whom its last READY listed."""
        self._reads: list[Read] = []
        """Reads that wait."""
        self._leases = Leases(0, 0, 0)
        self._enter(View(ViewNumber(0), (), config.casting_vote), -1, Index(0))

    def _enter(self, view: View, rank: Rank, index: Index) -> None:
        """Start a view with nothing in flight. Clocks go on; the marks of lanes start anew."""
        size = len(view.members)
        self._view = view
        self._number = view.number
        self._rank = rank
        self._bit = 1 << rank if rank >= 0 else 0
        self._full = view.full
        member = rank >= 0
        self._rank_of: dict[Member, Rank] = (
            {m: r for r, m in enumerate(view.members) if r != rank} if member else {}
        )
        self._others: list[Member] = [m for r, m in enumerate(view.members) if r != rank]
        self._order = self._fresh_order(size, rank, index)
        self._matrix = Matrix(size, strikes_by_rank(self._strikes, view))
        self._stall = Stall()
        self._synod = Synod(size)
        self._leases = Leases(size, self._leases.asked, self._leases.serial)
        self._ballots: dict[Key, Ballot] = {}
        self._open = [0] * size
        """Proposals held of each proposer (placeholders not counted)."""
        self._open_bytes = [0] * size
        self._early = 0
        """Ballots whose votes came before the proposal."""
        share = max(size, 1)
        self._window = max(1, self.config.window_total // share)
        self._window_bytes = WINDOW_BYTES // share
        self._mark_every = max(1, self._window // 4)
        # What one proposer may make this member hold, and how many votes of one voter may be
        # here too early.
        self._held_max = HOLD_FACTOR * (self._window + DEPARTURES_MAX)
        self._held_bytes_max = HOLD_FACTOR * (self._window_bytes + DEPARTURES_BYTES)
        self._early_max = 2 * (self.config.window_total + size * DEPARTURES_MAX)
        self._sent_mark = index
        self._unmarked_bytes = 0
        """Of contents delivered here since all others were sent the mark."""
        self._marks_moved = False
        self._enter_changes()

    def _enter_changes(self) -> None:
        """Nothing has changed the membership of this view yet, or is about to."""
        self._committed_changes: list[tuple[Key, str, Member, str, Index]] = []
        """(key, kind, subject, reason, index) of the membership decisions committed in this view,
        in order."""
        self._ready: dict[Member, tuple[Index, tuple[Member, ...]]] = {}
        """Joiners that are ready: the index they have reached, and whom they reach."""
        self._feeds: dict[Member, Index] = {}
        """Joiners fed by this member, and the index up to which they were."""
        self._lapse = False
        self._departure = False
        """A leave or kick is known to be committed here, delivered or not."""
        self._accused: Mask = 0
        """Ranks that broke the protocol in this view."""
        self._charges: tuple[tuple[Rank, str], ...] = ()
        """Of those: which are to answer for it, and what they did."""
        self._unwanted: Mask = 0
        """Ranks whom this member's user wanted out in this view."""
        self._pressed: Mask = 0
        """Of those: whose kick was proposed here."""
        self._overdue: tuple[Key, ...] = ()
        """Keys of kicks that their targets did not accept in time."""
        self._distrusted: Mask = 0
        """Ranks of the targets of those that have still not answered."""

    # -- what the layers above provide -------------------------------------------------------

    @abstractmethod
    def _deliver(self) -> None:
        """Report what is settled, in order."""

    @abstractmethod
    def _propose_soon(
        self, content: Content, *, resubmit: bool = True, handle: Handle | None = None
    ) -> Handle:
        """Propose, or wait for room in the window."""

    @abstractmethod
    def _flush(self) -> None:
        """Send the accepts that were gathered, if any."""

    @abstractmethod
    def _doubt(self, rank: Rank, what: str) -> None:
        """A member has broken the protocol towards this one."""

    @abstractmethod
    def _watch(self) -> None:
        """Have the stall timer run if something is waited for."""

    @abstractmethod
    def _reconsider(self) -> None:
        """Look whether the membership has to change, and do one's part in it."""

    # -- outputs -----------------------------------------------------------------------------

    def _broadcast(self, message: Message) -> None:
        """To all others. Things leave in the order in which they were done: what is said may not
        overtake the accepts that wait to be sent (OP1)."""
        if self._accepts:
            self._flush()
        self._sent_mark = message.mark
        self._unmarked_bytes = 0
        append = self._out.append
        for member in self._others:
            append(_new(Send, (member, message)))

    def _tell(self, member: Member, message: Message) -> None:
        if self._accepts:
            self._flush()
        self._out.append(Send(member, message))

    def _arm(self, name: str, delay_s: float, key: int = 0) -> None:
        self._out.append(Arm(Timer(name, key), delay_s))

    def _disarm(self, name: str, key: int = 0) -> None:
        self._out.append(Disarm(Timer(name, key)))

    def _accuse(self, sender: Member, what: str) -> None:
        """Refuse what no honest member could send: say so, and answer it, once (KT1)."""
        self._out.append(Accused(sender, what))
        rank = self._rank_of.get(sender, -1)
        if rank < 0 or self._accused >> rank & 1:
            return
        self._accused |= 1 << rank
        if self.config.kicks_liars and self.config.changes:
            self._doubt(rank, what)

    # -- small helpers -----------------------------------------------------------------------

    def _head(self) -> tuple[Clock, Index]:
        return self._clock, self._order.index

    def _proposal_id(self, key: Key) -> ProposalId:
        member = self._view.members[key & RANK_MASK]
        return ProposalId(self._number, key >> RANK_BITS, member)

    def _cap(self) -> Index | None:
        """While a committed join waits, decisions after it are kept until the joiner has them."""
        caps = [
            self._ready[subject][0] if subject in self._ready else index
            for _, kind, subject, _, index in self._committed_changes
            if kind == JOIN
        ]
        return min(caps) if caps else None

    # -- the safety rules of the ordinary path, one method each ------------------------------

    def _fresh_order(self, size: int, rank: Rank, index: Index) -> Order:
        """Clocks go on across views, and the marks of lanes start anew (R7)."""
        return Order(size, rank, index)

    def _may_vote(self, ballot: Ballot) -> bool:
        """A vote is given once, never by one who noted a reject, never when wedged (R14)."""
        return not (ballot.accepted | ballot.noted) & self._bit and not self._synod.wedged

    def _may_note(self, ballot: Ballot) -> bool:
        """A reject is noted once, with the content in hand, never when wedged (OP4, R14)."""
        return (
            ballot.content is not None and not ballot.noted & self._bit and not self._synod.wedged
        )

    def _must_tell_note(self, ballot: Ballot) -> bool:
        """What was noted is told unless one has accepted before and the rejects seen already
        suffice (D9): the others wait until every lane has shown the proposal's clock."""
        return not ballot.accepted & self._bit or self._view.is_quorum(
            self._full & ~ballot.rejected
        )

    def _commit_ready(self, ballot: Ballot) -> bool:
        """Committed when everybody in the view accepted (OP3), the target of a kick included."""
        return ballot.accepted == self._full and ballot.content is not None

    def _may_report_reject(self, ballot: Ballot) -> bool:
        """Rejected is reported only once those who have not stored the reject are no quorum: every
        quorum that may promise in a synod then holds one who stored it before it froze (OP4)."""
        size = len(self._view.members)
        return standing(0, ballot.noted, size, self._view.casting_vote) is Standing.LOST

    def _next_deliverable(self) -> Ballot | None:
        """The lowest open proposal, if it is settled and nothing lower can still come (OP5)."""
        order = self._order
        queue = order.queue
        if not queue:
            return None
        ballot = self._ballots[queue[0]]
        outcome = ballot.outcome
        # Everybody's accept carried at least the proposal's clock, so a commit needs no look.
        if outcome == COMMITTED or (outcome and order.passed(ballot.key >> RANK_BITS)):
            return ballot
        return None

    def _entry(self, ballot: Ballot) -> Entry:
        """What there is to tell of a settled proposal: a commit's answers, a reject's reasons."""
        outcome, content = int(ballot.outcome or 0), ballot.content
        assert content is not None
        if ballot.answers is None and ballot.reasons is None:
            return ballot.key, outcome, content, (), ()
        answers, reasons = ballot.said()
        if outcome == Outcome.COMMITTED:
            return ballot.key, outcome, content, answers, ()
        return ballot.key, outcome, content, (), reasons

    # -- exploration -------------------------------------------------------------------------

    def _plain_state(self) -> tuple[tuple[str, ...], tuple[Any, ...]]:
        """The attributes that are values already, by name."""
        names, values = _plain_of(self._APART, tuple(self.__dict__))
        return names, values(self)

    def _fork_into(self, twin: Any) -> None:
        state = twin.__dict__
        state.update(self.__dict__)
        for name in self._LISTS:
            state[name] = state[name][:]
        for name in self._DICTS:
            state[name] = state[name].copy()
        for name in self._PARTS:
            state[name] = state[name].fork()
        twin._backlog = deque(self._backlog)
        twin._ballots = {key: ballot.fork() for key, ballot in self._ballots.items()}
        twin._sponsored = {m: s.fork() for m, s in self._sponsored.items()}
        twin._reads = [read.fork() for read in self._reads]
        twin._stopped = {m: list(lane) for m, lane in self._stopped.items()}


__all__ = ["GroupBase", "Outcome", "Phase"]
