"""A group with what its shell keeps for it, and what it tells the application."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group
from consensus.core.errors import MessageError
from consensus.core.evidence.notary import Notary
from consensus.core.lives import generation, life
from consensus.core.message_kinds import RESUME, VOUCH
from consensus.core.messages import Assembler, decode_entry_untrusted
from consensus.core.outputs import Output
from consensus.core.types import Candidate, Handle, Member, Timer
from consensus.machine.instant import Clocks
from consensus.machine.lease_clock import SLEW_BOUND, LeaseClock, ReadReady
from transport.core.peer.relay import RELAYS_MAX

_PART = b"\xc1"


UNREACHABLE = "the peer could not be reached: gone, cut off, or it is not at that address"
"""Why a view of two is lost that never had a presence."""


class TimedOut(NamedTuple):
    """The caller's patience with its proposal is over. The outcome may still come."""

    handle: Handle


class GroupEvent(NamedTuple):
    """What a group has to say to the application."""

    number: int
    output: Output | TimedOut | ReadReady


class PairEvent(NamedTuple):
    """What the view of two with `peer` has to say to the application. Of outcomes, those of what
    this node asked: whoever answered keeps no sequence of them."""

    peer: bytes
    output: Output | TimedOut | ReadReady


class HostedGroup:
    """One group of a node. `peer` is set for the view of two of `ask`."""

    __slots__ = (
        "assemblers", "awaited", "candidates", "durable", "generation", "group", "joining", "lease",
        "lost_because", "members", "notary", "number", "other", "peer", "poll",
    )  # fmt: skip

    def __init__(
        self,
        group: Group | DurableGroup,
        number: int,
        peer: bytes | None = None,
        sponsor: Member | None = None,
        notary: Notary | None = None,
        other: Member | None = None,
    ) -> None:
        self.notary = notary
        self.durable: DurableGroup | None = None
        """What stands between the group and everything else, if it is to outlive the process."""
        if isinstance(group, DurableGroup):
            self.durable = group
        elif group.config.durable:
            self.durable = DurableGroup(group, notary)
        else:
            self.group = group
        if self.durable is not None:
            self.group = self.durable.as_group()
        self.poll: Callable[[], list[Output]] = self.group.poll
        """What the group asks for, with what its notary adds."""
        if notary is not None and self.durable is None:
            self.poll = self._poll_accompanied
        self.number = number
        self.generation = generation(self.group.me)
        self.peer = peer
        self.other = other
        """With `peer`: what both sides call it, which is not what it goes by here if this node has
        told it no name."""
        self.joining = sponsor is not None
        """Not installed yet: any presence may be one with a member to be."""
        self.lost_because = ""
        self.lease = LeaseClock()
        self.members: tuple[Member, ...] = () if sponsor is None else (sponsor,)
        """Whom presences are kept with: the other members, or a joiner's sponsor."""
        self.awaited: frozenset[Member] = frozenset()
        self.candidates: dict[Member, Candidate] = {}
        self.assemblers: dict[Member, Assembler] = {}

    def receive_untrusted(self, sender: Member, entry: bytes) -> int:
        """An entry of the lane from `sender`. What is no message is an accusation. Of two: the
        number of the newer view that it belongs to, if so, and then nothing was done; else 0."""
        try:
            if entry[:1] != _PART and sender not in self.assemblers:
                messages = decode_entry_untrusted(entry)
            elif self.peer is None and not self._knows(sender):
                return 0  # Only members, and a joiner's sponsor, send what does not fit one entry.
            else:
                assembler = self.assemblers.get(sender)
                if assembler is None:
                    assembler = self.assemblers[sender] = Assembler()
                messages = assembler.receive_untrusted(entry)
        except MessageError as error:
            self.assemblers.pop(sender, None)
            self.group.accuse(sender, str(error))
            return 0
        if self.peer is not None and messages and messages[0].view > self.group.view.number:
            return messages[0].view
        for message in messages:
            if message.kind < VOUCH or self.durable is not None:
                self.group.receive(sender, message)
            elif message.kind >= RESUME:
                self.group.accuse(sender, "of a durable group")
            elif self.notary is not None:
                self.notary.receive(sender, message)
        return 0

    def _knows(self, sender: Member) -> bool:
        return sender in self.members or sender in self.group.view.members

    def _poll_accompanied(self) -> list[Output]:
        assert self.notary is not None
        return self.notary.accompany(self.group.poll())

    def everybody(self) -> tuple[Member, ...]:
        """The other members, and who may be one soon."""
        return self.members if self.joining else (*self.members, *self.group.joiners)

    def known(self, peer: bytes, of_life: int) -> list[Member]:
        """The members of this life that the group is to be told of."""
        found = [m for m in self.everybody() if m.key == peer and life(m) == of_life]
        if self.joining and not found:
            found.append(Member(peer, of_life))
        return found

    def lane_began(self, peer: bytes, of_life: int) -> bool:
        """The lane to this life of a peer began anew. Whether that is no matter to the group."""
        for member in [m for m in self.assemblers if m.key == peer and life(m) == of_life]:
            del self.assemblers[member]
        if self.durable is None:
            return False
        for member in self.durable.lined(peer):
            if life(member) == of_life:
                self.durable.lane_began(member)
        return True

    def grant(self, clocks: Clocks | None, timer: Timer, delay_s: float) -> float:
        """A lease that this member grants begins to run; when to look whether it is over."""
        if clocks is None:
            return delay_s * (1 + SLEW_BOUND)
        self.lease.grants(timer, delay_s, clocks())
        return delay_s

    def renew(self, members: tuple[Member, ...]) -> None:
        """These are the other members now; pieces of messages from others are void."""
        self.joining = False
        self.members = members
        self.assemblers = {m: a for m, a in self.assemblers.items() if m in members}


def in_common(peer: bytes, groups: Iterable[HostedGroup]) -> list[bytes]:
    """Members of those groups that this node and the peer share: they relay between the two, and
    for whom this node relays between them and the peer."""
    found: dict[bytes, None] = {}
    for hosted in groups:
        keys = [member.key for member in hosted.members]
        if peer in keys:
            found.update(dict.fromkeys(keys))
    found.pop(peer, None)
    return list(found)[:RELAYS_MAX]
