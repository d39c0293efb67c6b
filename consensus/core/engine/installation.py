"""From one view to the next: INSTALL, messages of other views, and being left out."""

from __future__ import annotations

from abc import abstractmethod

from consensus.core.config import STOPPED_MAX
from consensus.core.engine.state import Phase
from consensus.core.engine.view_change import ViewChange
from consensus.core.message_fields import (
    AskMessage,
    DecisionMessage,
    ExpelledMessage,
    GoneMessage,
    HereMessage,
    InstallMessage,
    ReadyMessage,
    SnapshotMessage,
)
from consensus.core.message_kinds import (
    ACCEPT,
    ACCEPTED,
    ASK,
    DECISION,
    EXPELLED,
    GONE,
    HERE,
    INSTALL,
    LEASE_ASK,
    PREPARE,
    PROMISE,
    PROPOSE,
    READY,
    SNAPSHOT,
    STALLED,
    SUSPECT,
    Message,
)
from consensus.core.numbers import RANK_BITS, Clock, Index, Key, Rank
from consensus.core.outputs import Abandoned, Decided, Expelled, Installed
from consensus.core.tables.suspicion import struck_more
from consensus.core.types import Content, Handle, Member, Outcome, Reasons, Value
from consensus.core.view import View

PROBING = frozenset((PREPARE, ACCEPT, ASK))
"""Whoever sends one of these in an old view is stuck there and always gets an answer; to other
messages one answer is enough, since lanes lose nothing."""
ASKING = PROBING | {PROPOSE, SUSPECT}
"""Whoever sends one of these out of a view that is long over is told that it is out."""
UNANSWERED = frozenset((EXPELLED, HERE, INSTALL, PROMISE, ACCEPTED, SNAPSHOT, DECISION, READY))
"""Answers themselves, or what is normally still under way when a view ends."""

JOINERS = frozenset((SNAPSHOT, DECISION, READY))
"""What joiners are told, and what they say: members of a view say nothing of it to each other."""

_TO_JOINER = SnapshotMessage, DecisionMessage

TOO_OLD = "not in this view, nor in the one before"


def gone(message: Message) -> GoneMessage:
    """The answer of what remains of a group (D8): it has no view, clock or mark of its own."""
    return GoneMessage(GONE, message.view, Clock(0), Index(0))


class Installation(ViewChange):
    """The layer that goes from view to view, and deals with messages of other views."""

    # -- installing --------------------------------------------------------------------------

    def _install(self, value: Value, *, spread: bool) -> None:
        """Deliver the trim, then go on to the next view or out. No promise of one's own (R2)."""
        self._flush()  # What was accepted in this view is said in it.
        view = self._view
        kept, joiner, reasons, trim, _, struck = value
        following = view.following(kept, joiner)
        again = self._deliver_trim(value)
        self._clock = max(self._clock, *(e[0] >> RANK_BITS for e in trim), Clock(0))
        self._stop_takeover()
        if self._settling:
            self._settling = False
            self._disarm("settle")
        self._strikes = struck_more(self._strikes, struck, view)
        message = InstallMessage(INSTALL, self._number, *self._head(), value)
        if spread:
            for member in self._others:
                self._tell(member, message)
            if joiner is not None:
                self._tell(joiner, message)
        self._record_before, self._record = self._record, (view, value, self._clock)
        self._informed = 0
        if self.me in following.members:
            self._go_on(following, again)
        else:
            self._go_out(dict(reasons).get(self._rank, "left out"), again)

    def _deliver_trim(self, value: Value) -> list[tuple[Handle, Content]]:
        """Deliver what of the trim was not delivered yet. Returns what to submit again."""
        again = []
        order = self._order
        for entry in value[3]:
            key, outcome, content = entry[:3]
            if key <= order.last_key:
                continue
            order.index += 1
            order.last_key = key
            ballot = self._ballots.pop(key, None)
            handle = None
            if ballot is not None:
                if ballot.armed is not None:
                    self._disarm("answer", key)
                handle = ballot.handle
            abandoned = outcome == Outcome.ABANDONED
            decision = self._decision(order.index, entry)
            self._out.append(Decided(decision, None if abandoned else handle))
            if abandoned and handle is not None and ballot is not None:
                if ballot.resubmit:
                    again.append((handle, content))
                elif content.kind[0] != "@" or handle not in self._sponsored_handles():
                    self._out.append(Abandoned(handle, None))
            if content.subject is not None:
                self._join_settled(key, content, Outcome(outcome), entry[4])
        return again

    def _sponsored_handles(self) -> frozenset[Handle]:
        return frozenset(s.handle for s in self._sponsored.values())

    @abstractmethod
    def _join_settled(self, key: Key, content: Content, outcome: Outcome, why: Reasons) -> None:
        """The outcome of a join that this member sponsors."""

    @abstractmethod
    def _sponsor_again(self) -> None:
        """Propose the joins anew that a change of view abandoned."""

    @abstractmethod
    def _sponsor_stops(self) -> None:
        """This member sponsors nobody any more."""

    def _go_on(self, view: View, again: list[tuple[Handle, Content]]) -> None:
        index = self._order.index
        out_of_it = [m for m in self._others if m not in view.members]
        newcomer = [m for m in view.members if m not in self._view.members and m != self.me]
        if self._phase == Phase.JOINING:
            self._disarm("join")
            self._disarm("ready")
        self._enter(view, view.members.index(self.me), index)
        self._phase = Phase.MEMBER
        known = (*view.members, *self._sponsored)
        self._gone = tuple(m for m in self._gone if m in known)
        self._out.append(Installed(view))
        for member in out_of_it + newcomer:
            self._tell(member, HereMessage(HERE, self._number, *self._head()))
        for handle, content in again:
            self._submit_again(handle, content)
        self._sponsor_again()
        self._drain_backlog()
        self._links_changed()
        self._restart_lanes()

    def _submit_again(self, handle: Handle, content: Content) -> None:
        """Only what was delivered as abandoned, in the view then installed, under a new id
        (R6). The window of the next view is never smaller than what fell out of this one, unless
        a joiner took its share: then the rest waits."""
        if self._may_propose(content):
            key = self._propose_now(handle, content, True)
            self._out.append(Abandoned(handle, self._proposal_id(key)))
        else:
            self._wait(handle, content, True)

    def _restart_lanes(self) -> None:
        """Lanes that stopped at a message of the view now installed go on."""
        stopped, self._stopped = self._stopped, {}
        for sender in sorted(stopped):
            for message in stopped[sender]:
                self.receive(sender, message)

    @abstractmethod
    def receive(self, sender: Member, message: Message) -> None:
        """Take the next message of the lane from `sender`."""

    # -- messages of other views -------------------------------------------------------------

    def _receive_beside(self, sender: Member, message: Message) -> None:
        """What is not from a member of this view in this view."""
        number = message.view
        if sender == self.me:
            return
        if self._phase == Phase.ENDED:
            if message.kind not in (GONE, EXPELLED):
                self._tell(sender, gone(message))
        elif not self.config.changes:
            self._receive_of_another(sender, message)
        elif message.kind == GONE:
            self.lost(sender)
        elif message.kind == STALLED:
            self.stalled(sender, message)
        elif message.kind == EXPELLED:
            self._on_expelled(sender, message)
        elif self._phase == Phase.OUT:
            self._receive_out(sender, message)
        elif message.kind == INSTALL:
            self._on_install(sender, message)
        elif self._phase == Phase.JOINING and isinstance(message, _TO_JOINER):
            self._receive_from_sponsor(sender, message)
        elif number < self._number:
            self._answer_older(sender, message)
        elif number > self._number:
            if self._lane_stops():
                self._stop_lane(sender, message)
            elif sender in self._rank_of:
                self.receive(sender, message._replace(view=self._number))
        elif self._phase == Phase.MEMBER and sender in self._rank_of:
            if message.kind in JOINERS:
                self._accuse(sender, "not for a member")
        elif message.kind == READY and self._phase == Phase.MEMBER:
            self._on_ready(sender, message)

    def _receive_of_another(self, sender: Member, message: Message) -> None:
        """Two: of a view before this one, whose sender is told that it is over; or GONE."""
        if message.kind == GONE:
            if message.view == self._number:
                self.lost(sender)
        elif message.view < self._number:
            self._tell(sender, gone(message))

    def _lane_stops(self) -> bool:
        """A message of a newer view is never acted upon in this one (R1)."""
        return True

    @abstractmethod
    def _receive_from_sponsor(
        self, sender: Member, message: SnapshotMessage | DecisionMessage
    ) -> None:
        """A message to a joiner."""

    @abstractmethod
    def _on_ready(self, sender: Member, message: ReadyMessage) -> None:
        """READY: whom a joiner reaches."""

    @abstractmethod
    def _is_joiner(self, member: Member) -> bool:
        """Whether its join is open or committed in this view."""

    def _answer_older(self, sender: Member, message: Message) -> None:
        """What is of an older view is dropped, and answered by INSTALL or EXPELLED (R1, D14)."""
        kind, number = message.kind, message.view
        if kind in UNANSWERED:
            return
        for record in (self._record, self._record_before):
            if record is None or record[0].number != number:
                continue
            view, value, clock = record
            if sender in view.members:
                bit = 1 << view.members.index(sender)
                if kind not in PROBING and record is self._record:
                    if self._informed & bit:
                        return
                    self._informed |= bit
            elif sender != value[1]:
                continue
            self._tell(sender, InstallMessage(INSTALL, number, clock, value[4], value))
            return
        if kind in ASKING:
            self._tell(sender, ExpelledMessage(EXPELLED, self._number, *self._head(), TOO_OLD))

    def _stop_lane(self, sender: Member, message: Message) -> None:
        """The lane stops at a message of a newer view until that is installed here."""
        if self._number == 0 or not self._expected(sender):
            return
        lane = self._stopped.get(sender)
        if lane is None:
            lane = self._stopped[sender] = []
            self._tell(sender, AskMessage(ASK, self._number, *self._head()))
        if lane and message.kind == lane[-1].kind == LEASE_ASK and message.view == lane[-1].view:
            lane[-1] = message  # Only the last question counts; a reader may ask without end (D19).
            return
        if len(lane) >= STOPPED_MAX:
            self._accuse(sender, "too much of a newer view")
            return
        lane.append(message)

    def _expected(self, sender: Member) -> bool:
        """A member of this view, or somebody whose join was proposed in it, or is about to be."""
        members = self._view.members
        return sender in members or sender in self._sponsored or self._is_joiner(sender)

    def _on_ask(self, rank: Rank, message: AskMessage) -> None:
        """Asked out of a view that is still ours: there is nothing to give yet."""

    def _on_install(self, sender: Member, message: InstallMessage) -> None:
        value = message.value
        if message.view != self._number or self._number == 0:
            return
        if sender not in self._view.members and not (
            sender == value[1] and self._is_joiner(sender)
        ):
            return
        if self._phase == Phase.JOINING and value[1] != self.me:
            return  # the join lapsed; the sponsor will say what comes next
        if not self._value_sound(value):
            self._accuse(sender, "impossible value")
            return
        self._clock = max(self._clock, message.clock)
        self._install(value, spread=False)

    def _on_expelled(self, sender: Member, message: ExpelledMessage) -> None:
        """Only somebody this member knows, in a view beyond this one, may say so (R2)."""
        if self._phase == Phase.JOINING:
            if sender == self._sponsor:
                self._reason = message.reason
                self._out.append(Expelled(message.reason))
                self._end()
        elif (
            self._phase == Phase.MEMBER
            and message.view > self._number
            and sender in self._view.members
        ):
            self._stop_takeover()
            self._go_out(message.reason, [])

    # -- out ---------------------------------------------------------------------------------

    def _go_out(self, reason: str, again: list[tuple[Handle, Content]]) -> None:
        """Report what is still open as unknown, and stay for stragglers (R5, R13)."""
        for handle, _ in again:
            self._out.append(Abandoned(handle, None))
        self._outcomes_unknown()
        self._sponsor_stops()
        self._reason = reason
        self._out.append(Expelled(reason))
        members = len(self._view.members)
        self._phase = Phase.OUT
        self._rank_of = {}
        self._stopped = {}
        self._ballots = {}
        self._order.queue.clear()
        self._order.log.clear()
        self._accepts.clear()
        if members == 1:
            self._end()
        else:
            self._arm("linger", self.config.linger_s)

    def _receive_out(self, sender: Member, message: Message) -> None:
        number = message.view
        record = self._record
        if record is None or number <= self._number:
            self._answer_older(sender, message)
            return
        following = record[0].following(record[1][0], record[1][1])
        if record[0].number != self._number or number != following.number:
            return
        if sender in following.members:
            self._confirmed |= 1 << following.members.index(sender)
            if self._confirmed == following.full:
                self._disarm("linger")
                self._end()
