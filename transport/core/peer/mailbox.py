"""Messages between two peers: one unacknowledged in each direction, each handed up at most once.

For a question now and then, which needs neither order nor a window, and says more about its
delivery than a lane does. A mailbox belongs to one life of the lane: where that ends, what was
sent and not acknowledged has an unknown fate, and what waited has failed.
"""

from __future__ import annotations

from transport.core import frames
from transport.core.errors import LaneFull, LocalError, UnknownPeer, WireError
from transport.core.events import DeliveryKnown, MessageReceived
from transport.core.lane.message import check, decode_untrusted, encode, name_of
from transport.core.peer import relay, transmit
from transport.core.peer.context import Context
from transport.core.peer.mailbox_state import Mailbox, Queued
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.types import Delivery, Message, Outcome, Ways

__all__ = [
    "AWAITED_MAX",
    "WAITING_MAX",
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


def mailbox_of(context: Context, peer: Peer) -> Mailbox | None:
    """The peer's, if it belongs to this life of the lane."""
    mail = context.mail.get(peer.key)
    return mail if mail is not None and mail.lane is peer.lane else None


def _ensure(context: Context, peer: Peer) -> Mailbox:
    mail = mailbox_of(context, peer)
    if mail is None:
        end(context, peer, 0)
        mail = context.mail[peer.key] = Mailbox(peer.lane)
    return mail


def send(
    context: Context,
    peer: Peer,
    message: Message,
    now: float,
    timeout_s: float | None,
    reply_timeout_s: float | None,
    ways: Ways,
) -> Delivery:
    """Queue a message. Raises `LocalError` for one that cannot be sent, `UnknownPeer` without a
    presence, `LaneFull` if too many wait.
    """
    check(message)
    if not ways & (Ways.DIRECT | Ways.RELAYED):
        raise LocalError("a message goes directly or by a relay")
    if peer.current is None:
        raise UnknownPeer("there is no presence with this peer")
    mail = _ensure(context, peer)
    number = mail.next_number
    full = len(mail.waiting) >= WAITING_MAX or len(mail.awaited) >= AWAITED_MAX
    if full or number > _NUMBER_MAX:
        raise LaneFull("too many messages to this peer wait")
    mail.next_number = number + 1
    lane = peer.lane
    own, theirs = context.names(peer.key)
    name = name_of(own, theirs, (lane.id, lane.peer_id), number, message)
    deadline = None if timeout_s is None else now + timeout_s
    reply_deadline = None if reply_timeout_s is None else now + reply_timeout_s
    delivery = Delivery(peer.key, name, deadline, reply_deadline)
    mail.waiting.append(Queued(delivery, message, reply_deadline, number, ways))
    if len(mail.waiting) == 1:
        mail.next_at = now
        mail.tries = 0
    return delivery


def flush(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Send what is due: the message under way, or an acknowledgement alone."""
    mail = mailbox_of(context, peer)
    if mail is None or presence.lane is not mail.lane:
        return
    if mail.waiting and mail.next_at is not None and mail.next_at <= now:
        first = mail.waiting[0]
        if mail.sent_number >= first.number and Ways.RETRANSMIT not in first.ways:
            mail.waiting.popleft()
            _given_up(context, mail, first, 0)
            _following(mail, now)
            flush(context, peer, presence, now)
            return
        if peer.liveness.silent_at is None and _send(context, peer, mail, presence):
            peer.active_at = now
        timeout_s = peer.rtt.timeout_s(mail.tries) + context.config.ack_delay_s
        mail.next_at = now + timeout_s
        mail.tries += 1
    if mail.ack_at is not None and mail.ack_at <= now:
        mail.ack_at = None
        transmit.send(context, peer, presence, frames.message_ack(mail.expected))


def _send(context: Context, peer: Peer, mail: Mailbox, presence: Presence) -> bool:
    """Send the first by one of its ways. False: there is none at present."""
    delivery, message, _, number, ways = mail.waiting[0]
    cut = peer.detour is not None and peer.detour.cut
    if Ways.RELAYED not in ways and cut:
        return False
    frame = encode(number, mail.expected, message, mail.arrived.number, mail.received.number)
    if Ways.DIRECT not in ways and not cut:
        if not relay.through(context, peer, presence.seal(frame).data):
            return False
    else:
        transmit.send(context, peer, presence, frame)
    mail.sent.add(number, delivery.name)
    mail.sent_number = number
    mail.ack_at = None
    return True


def receive_untrusted(
    context: Context, peer: Peer, presence: Presence, payload: bytes, offset: int, now: float
) -> int:
    """Take a MESSAGE; returns where the next frame begins. Raises `WireError`."""
    lane = presence.lane
    if lane is not peer.lane:
        return len(payload)  # of a life that is over
    mail = _ensure(context, peer)
    number, acknowledged, message, offset = decode_untrusted(
        payload, offset, mail.sent.name, mail.received.name
    )
    _acknowledged_untrusted(context, peer, mail, acknowledged, now)
    if number < mail.expected:
        mail.ack_at = now
        return offset
    mail.expected = number + 1
    if mail.ack_at is None:
        mail.ack_at = now + context.config.ack_delay_s
    lanes = (lane.peer_id, lane.id)
    own, theirs = context.names(peer.key)
    name = name_of(theirs, own, lanes, number, message)
    mail.received.add(number, name)
    peer.active_at = now
    context.events.append(MessageReceived(peer.key, presence.incarnation, name, message))
    if message.in_reply_to is not None:
        delivery = mail.awaited.pop(message.in_reply_to, None)
        if delivery is not None:
            _known(context, delivery, Outcome.REPLIED)
    return offset


def receive_ack_untrusted(
    context: Context, peer: Peer, presence: Presence, acknowledged: int, now: float
) -> None:
    """Take a MESSAGE_ACK. Raises `WireError` for what was never sent."""
    mail = mailbox_of(context, peer)
    if presence.lane is not peer.lane:
        return
    if mail is None:
        if acknowledged:
            raise WireError("a message was acknowledged that was never sent")
        return
    _acknowledged_untrusted(context, peer, mail, acknowledged, now)


def _acknowledged_untrusted(
    context: Context, peer: Peer, mail: Mailbox, acknowledged: int, now: float
) -> None:
    if acknowledged > mail.sent_number + 1:
        raise WireError("a message was acknowledged that was never sent")
    if not mail.waiting or mail.waiting[0].number >= acknowledged:
        return
    delivery, _, reply_deadline, number, _ = mail.waiting.popleft()
    mail.arrived.add(number, delivery.name)
    if reply_deadline is not None:
        mail.awaited[delivery.name] = delivery
    _known(context, delivery, Outcome.SUCCEEDED)
    _following(mail, now)


def _following(mail: Mailbox, now: float) -> None:
    mail.tries = 0
    mail.next_at = now if mail.waiting else None


def next_timeout(context: Context, peer: Peer) -> float | None:
    """When something is due: to send, to acknowledge, to give up."""
    mail = mailbox_of(context, peer)
    if mail is None:
        return None
    due: list[float] = []
    if peer.current is not None:
        due += [each for each in (mail.next_at, mail.ack_at) if each is not None]
    due += [at for entry in mail.waiting if (at := entry.delivery.due) is not None]
    due += [at for delivery in mail.awaited.values() if (at := delivery.due) is not None]
    return min(due, default=None)


def handle_timeout(context: Context, peer: Peer, now: float) -> None:
    """Give up what ran out of time; what is due to be sent leaves with the next flush."""
    mail = mailbox_of(context, peer)
    if mail is None:
        return
    for entry in [each for each in mail.waiting if _over(each.delivery, now)]:
        first = entry is mail.waiting[0]
        mail.waiting.remove(entry)
        _given_up(context, mail, entry, 0)
        if first:
            _following(mail, now)
    for delivery in [each for each in mail.awaited.values() if _over(each, now)]:
        del mail.awaited[delivery.name]
        # The message has arrived; that no answer came says nothing about what was done with it.
        _known(context, delivery, Outcome.UNKNOWN)


def end(context: Context, peer: Peer, reason: int) -> None:
    """The life of the lane is over, and so is all that was under way."""
    mail = context.mail.pop(peer.key, None)
    if mail is None:
        return
    for entry in mail.waiting:
        _given_up(context, mail, entry, reason)
    for delivery in mail.awaited.values():
        _known(context, delivery, Outcome.UNKNOWN, reason)


def _over(delivery: Delivery, now: float) -> bool:
    return delivery.due is not None and delivery.due <= now


def _given_up(context: Context, mail: Mailbox, entry: Queued, reason: int) -> None:
    sent = entry.number <= mail.sent_number
    _known(context, entry.delivery, Outcome.UNKNOWN if sent else Outcome.FAILED, reason)


def _known(context: Context, delivery: Delivery, outcome: Outcome, reason: int = 0) -> None:
    delivery.outcome = outcome
    delivery.reason = reason
    context.events.append(DeliveryKnown(delivery.peer, delivery, outcome))
