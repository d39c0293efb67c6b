"""Messages between two peers: one unacknowledged in each direction, each handed up at most once.

For a question now and then, which needs neither order nor a window, and says more about its
delivery than a lane does. A mailbox belongs to one life of the lane: where that ends, what was
sent and not acknowledged has an unknown fate, and what waited has failed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from transport.core import frames
from transport.core.errors import LaneFull, LocalError, UnknownPeer, WireError
from transport.core.events import DeliveryKnown, MessageReceived
from transport.core.lane.lane import Lane
from transport.core.lane.message import (
    DISTANCE_MAX,
    Delivery,
    Message,
    Outcome,
    Ways,
    decode_untrusted,
    encode,
    name_of,
)
from transport.core.peer import relay
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = [
    "AWAITED_MAX",
    "WAITING_MAX",
    "Mailbox",
    "end",
    "flush",
    "handle_timeout",
    "mailbox_of",
    "next_timeout",
    "receive_ack_untrusted",
    "receive_untrusted",
    "send",
]

WAITING_MAX = 64
"""Messages that wait for the one before to be acknowledged."""
AWAITED_MAX = 256
"""Messages acknowledged whose answer is awaited."""
_NUMBER_MAX = 2**32 - 2


class _Names:
    """The names of the messages that passed last in one direction."""

    __slots__ = ("_by_name", "_by_number")

    def __init__(self) -> None:
        self._by_number: dict[int, bytes] = {}
        self._by_name: dict[bytes, int] = {}

    def add(self, number: int, name: bytes) -> None:
        if number in self._by_number:
            return
        self._by_number[number] = name
        self._by_name[name] = number
        # Twice what is ever referred to: the other side may be that far behind.
        while len(self._by_number) > 2 * DISTANCE_MAX:
            del self._by_name[self._by_number.pop(next(iter(self._by_number)))]

    def name(self, number: int) -> bytes | None:
        return self._by_number.get(number)

    def number(self, name: bytes) -> int | None:
        return self._by_name.get(name)


class _Queued(NamedTuple):
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
        self.waiting: deque[_Queued] = deque()
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
        self.sent = _Names()
        self.arrived = _Names()
        """Those of `sent` that were acknowledged: the peer knows what they are called."""
        self.received = _Names()

    @property
    def owing(self) -> bool:
        """Something is under way or waits: the peer is wanted."""
        return bool(self.waiting)


def mailbox_of(table: Table, relation: Relation) -> Mailbox | None:
    """The peer's, if it belongs to this life of the lane."""
    mail = table.mail.get(relation.peer)
    return mail if mail is not None and mail.lane is relation.lane else None


def _ensure(table: Table, relation: Relation) -> Mailbox:
    mail = mailbox_of(table, relation)
    if mail is None:
        end(table, relation, 0)
        mail = table.mail[relation.peer] = Mailbox(relation.lane)
    return mail


def send(
    table: Table,
    relation: Relation,
    message: Message,
    now: float,
    timeout_s: float | None,
    reply_timeout_s: float | None,
    ways: Ways,
) -> Delivery:
    """Queue a message. Raises `LocalError` for one that cannot be sent, `UnknownPeer` without a
    presence, `LaneFull` if too many wait.
    """
    message.check()
    if not ways & (Ways.DIRECT | Ways.RELAYED):
        raise LocalError("a message goes directly or by a relay")
    if relation.current is None:
        raise UnknownPeer("there is no presence with this peer")
    mail = _ensure(table, relation)
    number = mail.next_number
    full = len(mail.waiting) >= WAITING_MAX or len(mail.awaited) >= AWAITED_MAX
    if full or number > _NUMBER_MAX:
        raise LaneFull("too many messages to this peer wait")
    mail.next_number = number + 1
    lane = relation.lane
    own, peer = table.names(relation.peer)
    name = name_of(own, peer, (lane.id, lane.peer_id), number, message)
    deadline = None if timeout_s is None else now + timeout_s
    reply_deadline = None if reply_timeout_s is None else now + reply_timeout_s
    delivery = Delivery(relation.peer, name, deadline, reply_deadline)
    mail.waiting.append(_Queued(delivery, message, reply_deadline, number, ways))
    if len(mail.waiting) == 1:
        mail.next_at = now
        mail.tries = 0
    return delivery


def flush(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    """Send what is due: the message under way, or an acknowledgement alone."""
    mail = mailbox_of(table, relation)
    if mail is None or presence.lane is not mail.lane:
        return
    if mail.waiting and mail.next_at is not None and mail.next_at <= now:
        first = mail.waiting[0]
        if mail.sent_number >= first.number and Ways.RETRANSMIT not in first.ways:
            mail.waiting.popleft()
            _given_up(table, mail, first, 0)
            _following(mail, now)
            flush(table, relation, presence, now)
            return
        if relation.liveness.silent_at is None and _send(table, relation, mail, presence):
            relation.active_at = now
        timeout_s = relation.rtt.timeout_s(mail.tries) + table.config.ack_delay_s
        mail.next_at = now + timeout_s
        mail.tries += 1
    if mail.ack_at is not None and mail.ack_at <= now:
        mail.ack_at = None
        relation.send(presence, frames.message_ack(mail.expected))


def _send(table: Table, relation: Relation, mail: Mailbox, presence: Presence) -> bool:
    """Send the first by one of its ways. False: there is none at present."""
    delivery, message, _, number, ways = mail.waiting[0]
    cut = relation.detour is not None and relation.detour.cut
    if Ways.RELAYED not in ways and cut:
        return False
    frame = encode(number, mail.expected, message, mail.arrived.number, mail.received.number)
    if Ways.DIRECT not in ways and not cut:
        if not relay.through(table, relation, presence.seal(frame).data):
            return False
    else:
        relation.send(presence, frame)
    mail.sent.add(number, delivery.name)
    mail.sent_number = number
    mail.ack_at = None
    return True


def receive_untrusted(
    table: Table, relation: Relation, presence: Presence, payload: bytes, offset: int, now: float
) -> int:
    """Take a MESSAGE; returns where the next frame begins. Raises `WireError`."""
    lane = presence.lane
    if lane is not relation.lane:
        return len(payload)  # of a life that is over
    mail = _ensure(table, relation)
    number, acknowledged, message, offset = decode_untrusted(
        payload, offset, mail.sent.name, mail.received.name
    )
    _acknowledged_untrusted(table, relation, mail, acknowledged, now)
    if number < mail.expected:
        mail.ack_at = now
        return offset
    mail.expected = number + 1
    if mail.ack_at is None:
        mail.ack_at = now + table.config.ack_delay_s
    lanes = (lane.peer_id, lane.id)
    own, peer = table.names(relation.peer)
    name = name_of(peer, own, lanes, number, message)
    mail.received.add(number, name)
    relation.active_at = now
    table.events.append(MessageReceived(relation.peer, presence.incarnation, name, message))
    if message.in_reply_to is not None:
        delivery = mail.awaited.pop(message.in_reply_to, None)
        if delivery is not None:
            _known(table, delivery, Outcome.REPLIED)
    return offset


def receive_ack_untrusted(
    table: Table, relation: Relation, presence: Presence, acknowledged: int, now: float
) -> None:
    """Take a MESSAGE_ACK. Raises `WireError` for what was never sent."""
    mail = mailbox_of(table, relation)
    if presence.lane is not relation.lane:
        return
    if mail is None:
        if acknowledged:
            raise WireError("a message was acknowledged that was never sent")
        return
    _acknowledged_untrusted(table, relation, mail, acknowledged, now)


def _acknowledged_untrusted(
    table: Table, relation: Relation, mail: Mailbox, acknowledged: int, now: float
) -> None:
    if acknowledged > mail.sent_number + 1:
        raise WireError("a message was acknowledged that was never sent")
    if not mail.waiting or mail.waiting[0].number >= acknowledged:
        return
    delivery, _, reply_deadline, number, _ = mail.waiting.popleft()
    mail.arrived.add(number, delivery.name)
    if reply_deadline is not None:
        mail.awaited[delivery.name] = delivery
    _known(table, delivery, Outcome.SUCCEEDED)
    _following(mail, now)


def _following(mail: Mailbox, now: float) -> None:
    mail.tries = 0
    mail.next_at = now if mail.waiting else None


def next_timeout(table: Table, relation: Relation) -> float | None:
    """When something is due: to send, to acknowledge, to give up."""
    mail = mailbox_of(table, relation)
    if mail is None:
        return None
    due: list[float] = []
    if relation.current is not None:
        due += [each for each in (mail.next_at, mail.ack_at) if each is not None]
    due += [at for entry in mail.waiting if (at := entry.delivery.due) is not None]
    due += [at for delivery in mail.awaited.values() if (at := delivery.due) is not None]
    return min(due, default=None)


def handle_timeout(table: Table, relation: Relation, now: float) -> None:
    """Give up what ran out of time; what is due to be sent leaves with the next flush."""
    mail = mailbox_of(table, relation)
    if mail is None:
        return
    for entry in [each for each in mail.waiting if _over(each.delivery, now)]:
        first = entry is mail.waiting[0]
        mail.waiting.remove(entry)
        _given_up(table, mail, entry, 0)
        if first:
            _following(mail, now)
    for delivery in [each for each in mail.awaited.values() if _over(each, now)]:
        del mail.awaited[delivery.name]
        # The message has arrived; that no answer came says nothing about what was done with it.
        _known(table, delivery, Outcome.UNKNOWN)


def end(table: Table, relation: Relation, reason: int) -> None:
    """The life of the lane is over, and so is all that was under way."""
    mail = table.mail.pop(relation.peer, None)
    if mail is None:
        return
    for entry in mail.waiting:
        _given_up(table, mail, entry, reason)
    for delivery in mail.awaited.values():
        _known(table, delivery, Outcome.UNKNOWN, reason)


def _over(delivery: Delivery, now: float) -> bool:
    return delivery.due is not None and delivery.due <= now


def _given_up(table: Table, mail: Mailbox, entry: _Queued, reason: int) -> None:
    sent = entry.number <= mail.sent_number
    _known(table, entry.delivery, Outcome.UNKNOWN if sent else Outcome.FAILED, reason)


def _known(table: Table, delivery: Delivery, outcome: Outcome, reason: int = 0) -> None:
    delivery.outcome = outcome
    delivery.reason = reason
    table.events.append(DeliveryKnown(delivery.peer, delivery, outcome))
