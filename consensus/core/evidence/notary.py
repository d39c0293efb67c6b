"""What a member keeps, signs and passes on so that decisions can be certified.

A notary stands beside one group in the shell. It watches what the group puts out, adds messages of
its own to the lanes, and takes those of the other members' notaries; the group knows nothing of it.

- Whoever accepts a value of the synod signs what the value amounts to (`certificate.Link`) and
  tells everybody with VOUCH, right before ACCEPT or ACCEPTED on the same lane. So whoever counts a
  quorum of them and installs holds a quorum's signatures.
- Right before INSTALL goes LINK with those signatures, so whoever installs on an INSTALL has them.
- Right before SNAPSHOT goes CHAIN: everything so far, for the joiner.

A group that has lost a piece (a joiner whose sponsor remembered no more, a liar's signature) goes
on as before; it is certificates that this member then cannot give, and it says so when asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from consensus.core.evidence.certificate import (
    HEAD_LABEL,
    LINK_LABEL,
    Certificate,
    Link,
    Signatures,
    Verify,
    check_signatures,
    follow,
    head_statement,
    link_statement,
)
from consensus.core.evidence.chain import Chain, Place, decision_record
from consensus.core.evidence.founding import CertificateError, group_id
from consensus.core.message_fields import ChainMessage, LinkMessage, VouchMessage
from consensus.core.message_kinds import (
    ACCEPT,
    ACCEPTED,
    CHAIN,
    INSTALL,
    LINK,
    SNAPSHOT,
    VOUCH,
    Message,
)
from consensus.core.messages import LINKS_MAX
from consensus.core.numbers import BallotNumber, Index, Mask, Rank, ViewNumber
from consensus.core.outputs import Decided, Installed, Output, Send, SnapshotReceived, ValueAccepted
from consensus.core.tables.trim import entry_decision
from consensus.core.types import Decision, Member, Outcome, Value
from consensus.core.view import VIEW_SIZE_MAX, View

T = TypeVar("T")

EVIDENCE_MAX = 4 * VIEW_SIZE_MAX
"""Vouches, and links, kept until their view ends: two views of as many as may be members of it."""

Sign = Callable[[bytes, bytes], bytes]
"""`sign(label, content)`: this member's Ed25519 signature."""

_OBSERVED = frozenset((Installed, ValueAccepted, SnapshotReceived))
_ACCOMPANIED = frozenset((ACCEPT, ACCEPTED, INSTALL, SNAPSHOT))
_NO_VOUCH = BallotNumber(0), b""


class Draft(NamedTuple):
    """A certificate that lacks its signatures."""

    group: bytes
    certificate: Certificate
    members: View
    """Whose signatures it takes."""

    def statement(self) -> bytes:
        """What they sign, under HEAD_LABEL."""
        _, _, view, position, head = self.certificate[:5]
        return head_statement(self.group, view, position, head)

    def signed(self, signatures: Signatures) -> bytes:
        """The certificate."""
        return self.certificate._replace(signatures=signatures).encode()


class Notary:
    """One member's evidence about one group. `founding` is given to the founder's only."""

    def __init__(
        self, me: Member, group: bytes, founding: bytes | None, sign: Sign, verify: Verify
    ) -> None:
        self.me = me
        self.group = group
        self._founding = founding
        self._sign = sign
        self._verify = verify
        self._view: View | None = None
        """The view in force, or the one a joiner waits to leave."""
        self._chain: Chain | None = None
        self._links: list[Link] = []
        """From the founding to the view in force; void once a piece is missing."""
        self._lost = False
        self._since = ViewNumber(0)
        """The first view this member was in."""
        self._vouches: dict[tuple[ViewNumber, Member], tuple[BallotNumber, bytes]] = {}
        """By view and member: the ballot it accepted last, and its signature."""
        self._offered: dict[tuple[ViewNumber, Member], Link] = {}
        """Links of others, by the view they end and who sent them."""
        self._start: ChainMessage | None = None
        """A joiner's: the last CHAIN."""

    # -- what the group puts out, in order ---------------------------------------------------

    def accompany(self, outputs: list[Output]) -> list[Output]:
        """The outputs of the group with this notary's own messages among them."""
        extra: list[tuple[int, list[Output]]] = []
        message: Message | None = None
        for at, output in enumerate(outputs):
            if type(output) is Send:
                if output.message is not message:
                    message = output.message
                    if message.kind in _ACCOMPANIED:
                        extra.append((at, self._sends_before(outputs, at)))
            elif type(output) is Decided:
                if self._chain is not None and output[0][3] != Outcome.UNKNOWN:
                    self._chain.decided(output[0])
            elif type(output) in _OBSERVED:
                self._observe(output)
        if not extra:
            return outputs
        merged: list[Output] = []
        done = 0
        for at, sends in extra:
            merged += outputs[done:at]
            merged += sends
            done = at
        return merged + outputs[done:]

    def _sends_before(self, outputs: list[Output], at: int) -> list[Output]:
        """To everybody that the message at this place is broadcast to, what goes before it."""
        first = outputs[at]
        assert type(first) is Send
        message = first.message
        members = []
        for output in outputs[at:]:
            if type(output) is not Send or output.message is not message:
                break
            members.append(output.to)
        return [Send(member, own) for own in self.before(message) for member in members]

    def _observe(self, output: Output) -> None:
        match output:
            case Installed(view):
                self._installed(view)
            case ValueAccepted(number, ballot, value):
                self._accepted(number, ballot, value)
            case SnapshotReceived(index, _):
                self._begin(index)

    def before(self, message: Message) -> list[Message]:
        """What goes onto a lane before this message of the group."""
        _, number, clock, mark = message[:4]
        if message.kind == ACCEPT or message.kind == ACCEPTED:
            ballot, signature = self._vouches.get((number, self.me), _NO_VOUCH)
            if ballot == message.ballot:
                return [VouchMessage(VOUCH, number, clock, mark, ballot, signature)]
        elif message.kind == INSTALL:
            self._close(number, message.value[0], message.value[1])
            if 0 < number <= len(self._links) and not self._lost:
                return [LinkMessage(LINK, number, clock, mark, self._links[number - 1][:])]
        elif message.kind == SNAPSHOT and self._chain is not None and self._founding is not None:
            place = self._chain.at(number, message.position)
            if place is not None and not self._lost:
                links = tuple([link[:] for link in self._links])
                fields = self._founding, links, message.position, place.head
                return [ChainMessage(CHAIN, number, clock, mark, *fields)]
        return []

    # -- messages of other notaries ----------------------------------------------------------

    def receive(self, sender: Member, message: Message) -> None:
        """The next message of another member's notary."""
        number = message.view
        view = self._view
        if message.kind == CHAIN:
            if self._since == 0:
                self._start = message
        elif view is None or number < view.number:
            return  # Too late to matter.
        elif message.kind == VOUCH:
            _keep(self._vouches, (number, sender), (message.ballot, message.signature), view)
        elif message.kind == LINK:
            _keep(self._offered, (number, sender), Link(*message.link), view)

    # -- what is asked of it -----------------------------------------------------------------

    @property
    def index(self) -> Index:
        """The index of the last decision delivered."""
        return Index(0) if self._chain is None else self._chain.index

    @property
    def whole(self) -> bool:
        """Whether it can be shown from here how the present view came about."""
        return self._chain is not None and not self._lost

    def head(self) -> Place | None:
        """The latest place of the chain; None if nothing was added to it here."""
        return None if self._chain is None else self._chain.latest()

    def sign_head(self, view: ViewNumber, index: Index, head: bytes) -> bytes | None:
        """This member's signature over a head it has delivered as a member of that view, or None
        if it is not known here (not yet, or no longer). Raises CertificateError when what was
        delivered here is something else."""
        chain = self._chain
        if chain is None or not 0 < self._since <= view:
            return None
        place = chain.at(view, index)
        if place is None:
            return None
        if place.head != head:
            raise CertificateError("something else was decided here")
        return self._sign(HEAD_LABEL, head_statement(self.group, view, index, head))

    def draft(self, decision: Decision) -> Draft:
        """The certificate of a decision, to be signed by the present view. Raises CertificateError
        when this member cannot show how the decision or the view came about."""
        chain, view, founding = self._chain, self._view, self._founding
        if chain is None or view is None or founding is None or self._lost:
            raise CertificateError("how this group's views came about is not known here")
        if decision.outcome == Outcome.UNKNOWN:
            raise CertificateError("the outcome is not known here")
        place = self._place(chain, view, decision)
        path = None if place is None else chain.path(decision.id.view, decision.index, place)
        if place is None or path is None:
            raise CertificateError("the decision is too old to be certified here")
        certificate = Certificate(
            founding,
            tuple(self._links),
            place.view,
            place.position,
            place.head,
            (),
            path[0],
            decision_record(decision),
            path[1],
        )
        return Draft(self.group, certificate, view)

    @staticmethod
    def _place(chain: Chain, view: View, decision: Decision) -> Place | None:
        """What is to be signed: the decision's own head if the view can vouch for it (everybody
        has that soonest), else the latest, which everybody in the view has."""
        if decision.id.view == view.number:
            return chain.at(view.number, decision.index)
        latest = chain.latest()
        return latest if latest is not None and latest.view == view.number else None

    # -- across a restart --------------------------------------------------------------------

    def remembered(self) -> list[Any]:
        """All that `recall` needs, made of plain values."""
        chain = None if self._chain is None else self._chain.remembered()
        links = [list(link) for link in self._links]
        others = [self._vouches, self._offered, self._start]
        return [chain, links, self._founding, self._view, self._lost, self._since, others]

    def recall(self, remembered: list[Any]) -> None:
        """Be as the notary was whose `remembered` this is."""
        chain, links, self._founding, self._view, self._lost, self._since, others = remembered
        self._chain = None if chain is None else Chain.recalled(chain)
        self._links = [Link(*link) for link in links]
        self._vouches, self._offered, start = others
        # A message of a file is a plain tuple, and no other kind was ever kept here.
        self._start = None if start is None else ChainMessage(*start)

    # -- the membership ----------------------------------------------------------------------

    def _accepted(self, number: ViewNumber, ballot: BallotNumber, value: Value) -> None:
        """This member accepts a value: sign what that comes to."""
        chain, view = self._chain, self._view
        if chain is None or view is None or view.number != number:
            return
        kept, joiner, _, trim, end, _ = value
        fresh = end - chain.index
        if not 0 <= fresh <= len(trim) or not kept:
            return
        first = len(trim) - fresh
        decisions = [
            entry_decision(view, chain.index + 1 + at, entry)
            for at, entry in enumerate(trim[first:])
        ]
        link = Link(ballot, kept, joiner, end, chain.after(tuple(decisions)), ())
        signature = self._sign(LINK_LABEL, link_statement(self.group, view, link))
        self._vouches[number, self.me] = ballot, signature

    def _close(self, number: ViewNumber, kept: Mask, joiner: Member | None) -> None:
        """The view has ended: find the proof of what follows."""
        chain, view = self._chain, self._view
        if view is None or view.number != number or self._lost or len(self._links) >= number:
            return
        if chain is None or len(self._links) >= LINKS_MAX:
            self._lost = True
            return
        bare = Link(BallotNumber(0), kept, joiner, chain.index, chain.head, ())
        found = self._vouched(view, bare) or self._proved(view, bare)
        if found is None:
            self._lost = True
        else:
            self._links.append(found)

    def _vouched(self, view: View, bare: Link) -> Link | None:
        """The link as a quorum has vouched for it in one ballot, if it has."""
        ballots: dict[BallotNumber, list[tuple[Rank, bytes]]] = {}
        for rank, member in enumerate(view.members):
            ballot, signature = self._vouches.get((view.number, member), _NO_VOUCH)
            if ballot:
                ballots.setdefault(ballot, []).append((rank, signature))
        for ballot in sorted(ballots, reverse=True):
            link = bare._replace(ballot=ballot)
            statement = link_statement(self.group, view, link)
            good = [
                (rank, signature)
                for rank, signature in ballots[ballot]
                if self._verify(view.members[rank].key, LINK_LABEL, statement, signature)
            ]
            if view.is_quorum(sum(1 << rank for rank, _ in good)):
                return link._replace(signatures=tuple(good))
        return None

    def _proved(self, view: View, bare: Link) -> Link | None:
        """The link as somebody else has proved it, if anybody has."""
        for (number, _), link in sorted(self._offered.items()):
            same = link._replace(ballot=bare.ballot, signatures=()) == bare
            if number != view.number or not same:
                continue
            statement = link_statement(self.group, view, link)
            try:
                check_signatures(view, link.signatures, LINK_LABEL, statement, self._verify)
            except CertificateError:
                continue
            return link
        return None

    def _installed(self, view: View) -> None:
        before = self._view
        if before is None:
            if self._founding is not None and view.number == 1:
                self._chain = Chain(ViewNumber(1), Index(0), self.group)
            else:
                self._lost = True
        else:
            newcomers = [m for m in view.members if m not in before.members]
            self._close(before.number, before.mask(view.members), next(iter(newcomers), None))
        self._since = self._since or view.number
        self._view = view
        if self._chain is not None:
            self._chain.installed(view)
        for table in (self._vouches, self._offered):
            for key in [key for key in table if key[0] < view.number]:
                del table[key]

    def _begin(self, index: Index) -> None:
        """A joiner's group has its snapshot: go on from the CHAIN that came before it."""
        start = self._start
        self._chain = self._view = None
        self._links = []
        self._lost = True
        if start is None or start.position != index or group_id(start.founding) != self.group:
            return
        links = [Link(*link) for link in start.links]
        try:
            views, _ = follow(start.founding, links, None)
        except CertificateError:
            return
        if views[-1].number != start.view:
            return
        self._lost = False
        self._founding, self._links, self._view = start.founding, links, views[-1]
        self._chain = Chain(start.view, index, start.head)


def _keep(
    table: dict[tuple[ViewNumber, Member], T], key: tuple[ViewNumber, Member], value: T, view: View
) -> None:
    """Remember something of another member; beyond EVIDENCE_MAX what is of no member goes."""
    if len(table) >= EVIDENCE_MAX and key not in table:
        for other in [k for k in table if k[1] not in view.members]:
            del table[other]
        if len(table) >= EVIDENCE_MAX:
            return
    table[key] = value
