"""One group as one member sees it: the object the engine's users drive.

Pure: no instants, no randomness, no I/O. After any input call `poll` and do what it says, in
order. The lanes beneath are ideal: what is sent to an incarnation arrives at it in order, once,
unless either end dies. Equal inputs give equal outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from consensus.core.config import CLOCK_STEP_MAX, MARK_STEP_MAX, GroupConfig
from consensus.core.engine.reads import Reads
from consensus.core.engine.state import Phase
from consensus.core.engine.state_codec import read, written
from consensus.core.message_fields import (
    AcceptedMessage,
    AcceptMessage,
    AnswerMessage,
    AskMessage,
    LeaseAskMessage,
    LeaseMessage,
    LeasesMessage,
    MarkMessage,
    NotedMessage,
    PrepareMessage,
    PromiseMessage,
    ProposeMessage,
    RejectMessage,
    StallMessage,
    SuspectMessage,
    VoteMessage,
)
from consensus.core.message_kinds import KIND_OF, PROPOSE, SUSPECT, Message, message_of
from consensus.core.numbers import Index, Key, Rank, ViewNumber
from consensus.core.outputs import Installed, Output, ReachWanted, SnapshotWanted, VoteWanted
from consensus.core.tables.ballot import WAITS_APPLICATION, WAITS_REACH
from consensus.core.types import JOIN, Candidate, Member, Proposal, Timer
from consensus.core.view import View

Handler = Callable[[Any, Rank, Any], None]
"""What a message of one kind does: group, rank of its sender, message."""
M = TypeVar("M", bound=Message)


def _to(kind: type[M], handler: Callable[[Any, Rank, M], None]) -> tuple[int, Handler]:
    """The number of a kind and its handler, which mypy has seen to take messages of that kind."""
    return KIND_OF[kind], handler


_HANDLERS: dict[int, Handler] = dict(
    (
        _to(ProposeMessage, Reads._on_propose),
        _to(VoteMessage, Reads._on_vote),
        _to(AnswerMessage, Reads._on_answer),
        _to(RejectMessage, Reads._on_reject),
        _to(NotedMessage, Reads._on_noted),
        _to(MarkMessage, Reads._on_mark),
        _to(SuspectMessage, Reads._on_suspect),
        _to(PrepareMessage, Reads._on_prepare),
        _to(PromiseMessage, Reads._on_promise),
        _to(AcceptMessage, Reads._on_accept),
        _to(AcceptedMessage, Reads._on_accepted),
        _to(AskMessage, Reads._on_ask),
        _to(LeaseAskMessage, Reads._on_lease_ask),
        _to(LeaseMessage, Reads._on_lease),
        _to(LeasesMessage, Reads._on_leases),
        _to(StallMessage, Reads._on_stall),
    )
)
"""What members of a view say to each other in it."""
_NOT_REMEMBERED = {"config", "_out"}


class Group(Reads):
    """See the module. Constructors: `found`, `pair` and `joining`."""

    _handlers: ClassVar[dict[int, Handler]] = _HANDLERS

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """What a subclass overrides is what its messages come to."""
        super().__init_subclass__(**kwargs)
        cls._handlers = {kind: getattr(cls, each.__name__) for kind, each in _HANDLERS.items()}

    # -- constructors ------------------------------------------------------------------------

    @classmethod
    def found(cls, me: Member, config: GroupConfig) -> Group:
        """A new group whose view 1 is its founder alone."""
        group = cls(me, config)
        group._begin_with(View(ViewNumber(1), (me,), config.casting_vote))
        return group

    @classmethod
    def pair(cls, me: Member, other: Member, config: GroupConfig, number: int = 1) -> Group:
        """The view of two of `ask`: strict, without synod, without an order between calls (D3: a
        call made to answer a call would otherwise wait for itself). Seniority is by key. One that
        takes the place of another on the same lane has a higher number (D43)."""
        config = replace(config, casting_vote=False, ordered=False, changes=False)
        first, second = sorted((me, other))
        group = cls(me, config)
        group._begin_with(View(ViewNumber(number), (first, second), False))
        return group

    @classmethod
    def within(cls, me: Member, view: View, config: GroupConfig) -> Group:
        """A member of a view that is in force already, with nothing decided or in flight (for
        exploration, and for groups that are agreed on beforehand)."""
        group = cls(me, config)
        group._begin_with(view)
        return group

    @classmethod
    def joining(cls, me: Member, sponsor: Member, config: GroupConfig) -> Group:
        """Somebody whom `sponsor` proposes. It becomes a member with `Installed`, or ends with
        `Expelled` (refused) or `Lost`."""
        group = cls(me, config)
        group._sponsor = sponsor
        group._reached = (sponsor,)
        group._arm("join", 4 * config.join_s)
        return group

    def _begin_with(self, view: View) -> None:
        self._enter(view, view.members.index(self.me), Index(0))
        self._phase = Phase.MEMBER
        self._out.append(Installed(view))

    # -- inputs ------------------------------------------------------------------------------

    def receive(self, sender: Member, message: Message) -> None:
        """Take the next message of the lane from `sender`: one that `decode_untrusted` made, or
        one another group put out. Never raises for what is in it."""
        rank = self._rank_of.get(sender)
        kind, view, clock, mark = message[:4]
        if rank is None or view != self._number:
            self._receive_beside(sender, message)
            return
        handler = self._handlers.get(kind)
        if handler is None:
            self._receive_beside(sender, message)
            return
        if self._stopped and sender in self._stopped:
            self._accuse(sender, "went back to an older view")
            return
        order = self._order
        heard = order.heard
        last = heard[rank]
        if clock <= last and (clock < last or kind == PROPOSE):
            self._accuse(sender, "clock went back")
            return
        marks = order.marks
        if mark != marks[rank]:
            if mark < marks[rank]:
                self._accuse(sender, "mark went back")
                return
            if mark - order.index > MARK_STEP_MAX and self.config.ordered:
                self._accuse(sender, "mark leapt")
                return
            marks[rank] = mark
            self._marks_moved = True
        if clock > self._clock:
            if clock - self._clock > CLOCK_STEP_MAX:
                self._accuse(sender, "clock leapt")
                return
            self._clock = clock
        if kind >= SUSPECT and not self.config.changes:
            self._accuse(sender, "a change in a view that cannot change")
            return
        handler(self, rank, message)
        if order is self._order:
            heard[rank] = clock
            if self._distrusted and self._distrusted >> rank & 1:
                self._distrust()
            queue = order.queue
            if self._departure or (queue and self._ballots[queue[0]].outcome):
                self._deliver()

    def accuse(self, sender: Member, what: str) -> None:
        """The shell saw that `sender` sent what no honest member could (bytes that are no
        message): treat it like a message the group itself refuses."""
        if self._phase == Phase.MEMBER:
            self._accuse(sender, what)

    def fire(self, timer: Timer) -> None:
        """An armed timer's delay is over."""
        name, key = timer
        if self._phase == Phase.ENDED:
            return
        if self._phase == Phase.OUT:
            if name == "linger":
                self._end()
        elif name == "answer":
            self._no_answer(Key(key))
        elif name == "takeover":
            self._take_over()
        elif name == "stall":
            self._wait_on()
        elif name == "settle":
            self._settled()
        elif name == "kick":
            self._kick_overdue(Key(key))
        elif name == "join":
            self._join_overdue(key)
        elif name == "ready":
            self._tell_ready(partly=True)
        elif name == "lost":
            self._lost_for_good()
        elif name == "lease":
            self._grant_over(key)

    # -- what can be asked -------------------------------------------------------------------

    @property
    def view(self) -> View:
        """The view installed last (of a joiner: the one it is to leave for the next)."""
        return self._view

    @property
    def index(self) -> Index:
        """The index of the last decision delivered."""
        return self._order.index

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def reason(self) -> str:
        """Why it is out; empty if it is not, or was lost."""
        return self._reason

    @property
    def suspended(self) -> bool:
        return self._suspended

    @property
    def wedged(self) -> bool:
        """Frozen for a view change."""
        return self._synod.wedged

    @property
    def acquaintances(self) -> set[Member]:
        """Whose messages may matter, as far as this member knows: members of this view and of those
        it still answers for, and who may be about to join. Whoever is joining may hear from others,
        too."""
        records = (record for record in (self._record, self._record_before) if record is not None)
        past = (member for view, _, _ in records for member in view.members)
        return {*self._view.members, *past, *self.joiners}

    @property
    def sponsor_awaited(self) -> Member | None:
        """A joiner's sponsor, until it is installed."""
        return self._sponsor if self._phase == Phase.JOINING else None

    # -- on disk -----------------------------------------------------------------------------

    def remembered(self) -> dict[str, Any]:
        """All there is to it but its rules and what is still to be carried out."""
        return written({k: v for k, v in self.__dict__.items() if k not in _NOT_REMEMBERED})

    def recall(self, state: dict[str, Any]) -> None:
        """Be as it was then. Raises KeyError if that was another version's group."""
        found = read(state)
        if set(found) != set(self.__dict__) - _NOT_REMEMBERED:
            raise KeyError("the state of another version")
        stopped = found["_stopped"].items()
        found["_stopped"] = {member: [*map(message_of, lane)] for member, lane in stopped}
        self.__dict__.update(found)
        self._out.clear()

    def unanswered(self) -> list[Output]:
        """What was asked of the shell and the application and is still to be answered, again: for
        those who have forgotten it."""
        asked: list[Output] = []
        for key in sorted(self._ballots):
            ballot = self._ballots[key]
            content = ballot.content
            if content is None:
                continue
            if ballot.waits & WAITS_APPLICATION:
                asked.append(VoteWanted(Proposal(self._proposal_id(key), content)))
            if ballot.waits & WAITS_REACH and content.subject is not None:
                asked.append(ReachWanted(Candidate(content.subject, content.where)))
        for _, kind, subject, _, index in self._committed_changes:
            if kind == JOIN and subject in self._sponsored and subject not in self._feeds:
                asked.append(SnapshotWanted(subject, index))
        if self._phase == Phase.JOINING:
            missing = [m for m in self._view.members if m not in self._reached]
            asked += [ReachWanted(Candidate(member, b"")) for member in missing]
        return asked

    def stop(self) -> None:
        """Take no further part, whatever comes."""
        self._end()

    # -- exploration -------------------------------------------------------------------------

    def fork(self) -> Group:
        """An independent copy that behaves alike."""
        twin = object.__new__(type(self))
        self._fork_into(twin)
        return twin

    def state(self) -> Hashable:
        """A hashable value; groups with equal ones behave equally."""
        return (
            self._plain_state(),
            tuple(self._out),
            tuple(self._accepts),
            tuple(self._committed_changes),
            tuple(sorted(self._ready.items())),
            tuple(sorted(self._feeds.items())),
            tuple(getattr(self, name).state() for name in self._PARTS),
            tuple(self._backlog),
            tuple(self._ballots[key].state() for key in sorted(self._ballots)),
            tuple((m, s.state()) for m, s in sorted(self._sponsored.items())),
            tuple(read.state() for read in self._reads),
            tuple((m, tuple(lane)) for m, lane in sorted(self._stopped.items())),
        )
