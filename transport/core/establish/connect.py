"""The initiator's side of a handshake: an attempt, from P1 to the presence its P4 makes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from transport.core import frames
from transport.core.constants import FIRST_DATA_SIZE_MAX, KEY_SIZE
from transport.core.errors import LocalError, WireError
from transport.core.establish.promotion import (
    begin_anew,
    bind,
    is_other_life,
    lane_open_untrusted,
    next_lane,
    promote,
)
from transport.core.events import ConnectFailed, Heard, Reason
from transport.core.handshake.negotiation import Established
from transport.core.initiator.attempt import Attempt
from transport.core.initiator.initiator import Initiator
from transport.core.initiator.simultaneous_attempt import SimultaneousAttempt
from transport.core.initiator.simultaneous_open import SimultaneousOpen
from transport.core.lane.lane import Lane
from transport.core.peer import teardown
from transport.core.peer.context import Context, Mask
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.responder.responder import Responder
from transport.core.types import Address

__all__ = [
    "Answer",
    "Introduced",
    "attempt_datagram_untrusted",
    "attempt_failed",
    "begin_attempt",
    "begin_meeting",
    "draw_alias",
    "flush_attempt",
    "met",
    "probe_untrusted",
    "seek",
]


class Answer(NamedTuple):
    """What the P4 of an attempt holds besides the handshake, and nobody has looked at."""

    presence: Presence
    """The one it has made."""
    payload: bytes
    """The reply: frames, from `offset` on."""
    offset: int
    attempt: Attempt


class Introduced(NamedTuple):
    """What an introducer has told of a peer."""

    token: bytes
    own_record: bytes
    peer_record: bytes
    addresses: Sequence[Address]
    rtt_s: float


def begin_attempt(
    context: Context, peer: Peer, addresses: Sequence[Address], now: float, deadline: float
) -> None:
    """Try to reach the peer. Raises `LocalError` for a key that is none, or this node's own, and
    for too many attempts at once."""
    message_cid, bulk_cid = _drawn(context)
    at_once = context.at_once(peer.key, now)
    peer.attempt = attempt = Attempt(
        _beginner(context, peer, message_cid, bulk_cid),
        addresses,
        context.config,
        context.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        now=now,
        deadline=deadline,
        at_once=at_once,
    )
    context.attempts += 1
    if at_once is None:
        context.unprepared = attempt.initiator


def seek(
    context: Context,
    peer: Peer,
    addresses: Sequence[Address],
    now: float,
    deadline: float,
    *,
    anew: bool,
) -> None:
    """The user wants a presence: the attempt under way takes the addresses as well, a peer that is
    up and heard needs nothing unless it is wanted `anew`. Raises `LocalError` as `begin_attempt`,
    and for one without a name that was had before."""
    attempt = peer.attempt
    if attempt is not None:
        attempt.add(addresses)
        attempt.deadline = max(attempt.deadline, deadline)
        attempt.next_at = now
        attempt.asked = True
    elif anew or peer.current is None or peer.liveness.silent_at is not None:
        if peer.key in context.masks and peer.incarnation is not None:
            raise LocalError("a presence without a name is not had a second time")
        try:
            begin_attempt(context, peer, addresses, now, deadline)
        except LocalError:
            teardown.drop_if_unused(context, peer)
            raise


def _drawn(context: Context) -> tuple[bytes, bytes]:
    if context.attempts >= context.config.attempts_max:
        raise LocalError("too many attempts at once")
    return context.draw_cids()


def _beginner(
    context: Context, peer: Peer, message_cid: bytes, bulk_cid: bytes
) -> Callable[[], Initiator]:
    config, incarnation = context.config.handshake, context.incarnation
    mask = context.masks.get(peer.key)
    if mask is not None:
        # Nothing in it may be the same as in any other handshake of this node's.
        config = replace(config, clock_origin_s=context.draw_clock_origin_s())
        incarnation = int.from_bytes(context.random(8), "big")

    def begin() -> Initiator:
        return Initiator(
            context.identity,
            peer.key if mask is None else mask.peer,
            config,
            context.random,
            message_cid=message_cid,
            bulk_cid=bulk_cid,
            incarnation=incarnation,
            anonymous=mask is not None,
        )

    return begin


def draw_alias(context: Context, key: bytes) -> bytes:
    """The key's stand-in where this node does not tell its name: 32 bytes that are no key."""
    while True:
        drawn = context.random(KEY_SIZE)
        alias = drawn[:-1] + bytes((drawn[-1] | 0x80,))
        if alias not in context.by_key:
            context.masks[alias] = Mask(key, b"")
            return alias


def begin_meeting(
    context: Context,
    responder: Responder,
    peer: Peer,
    introduced: Introduced,
    now: float,
    deadline: float,
) -> None:
    """Open at the same time as the peer. Takes the place of an attempt under way. Raises
    `LocalError`, `WireError` as `SimultaneousOpen` does."""
    message_cid, bulk_cid = ids = _drawn(context)
    begin = _beginner(context, peer, message_cid, bulk_cid)
    simultaneous_open = _simultaneous_open(context, responder, peer, introduced, ids, now)
    if peer.attempt is not None:
        deadline = max(deadline, peer.attempt.deadline)
        _end_attempt(context, peer)
    peer.attempt = attempt = SimultaneousAttempt(
        begin,
        simultaneous_open,
        introduced.addresses,
        context.config,
        context.random,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        now=now,
        deadline=deadline,
    )
    context.by_probe[attempt.probe] = peer
    context.attempts += 1


def _simultaneous_open(
    context: Context,
    responder: Responder,
    peer: Peer,
    introduced: Introduced,
    ids: tuple[bytes, bytes],
    now: float,
) -> SimultaneousOpen:
    return SimultaneousOpen(
        context.identity,
        responder,
        peer.key,
        context.config.handshake,
        context.random,
        token=introduced.token,
        own_record=introduced.own_record,
        peer_record=introduced.peer_record,
        addresses=list(introduced.addresses),
        rtt_s=introduced.rtt_s,
        message_cid=ids[0],
        bulk_cid=ids[1],
        incarnation=context.incarnation,
        first_data=b"",
        now=now,
    )


def probe_untrusted(context: Context, data: bytes, address: Address, now: float) -> None:
    """Take a probe; whose it is, its 20 bytes say. Raises nothing."""
    peer = context.by_probe.get(data)
    attempt = peer.attempt if peer is not None else None
    if peer is not None and isinstance(attempt, SimultaneousAttempt):
        attempt.probed(data, address, lambda: _first_data(peer, now), now, context.out)
        _register_echo(context, peer)
        context.mark(peer)


def met(context: Context, peer: Peer) -> None:
    """A P3 of the peer's was admitted: if it was expected in a meeting, that has come about."""
    attempt = peer.attempt
    if isinstance(attempt, SimultaneousAttempt) and attempt.responding:
        attempt.admitted()
        _end_attempt(context, peer)


def flush_attempt(context: Context, peer: Peer, now: float) -> None:
    """Send what the attempt has to send."""
    attempt = peer.attempt
    if attempt is not None:
        attempt.handle_timeout(lambda: _first_data(peer, now), now, context.out)
        _register_echo(context, peer)


def attempt_datagram_untrusted(
    context: Context, peer: Peer, data: bytes, address: Address, now: float
) -> tuple[bool, Answer | None]:
    """Take a P2 or P4 of this peer's attempt; raises nothing. Whether the attempt got on by it:
    anybody who sees a P1 can send what only looks like an answer. And what is left to be done, if
    it was the P4.
    """
    attempt = peer.attempt
    if attempt is None:
        return False, None
    state = attempt.initiator.state
    established = attempt.receive_untrusted(data, address, lambda: _first_data(peer, now), now)
    _register_echo(context, peer)
    got_on = attempt.initiator.state is not state
    if established is None:
        return got_on, None
    _end_attempt(context, peer)
    try:
        lane_id, _, offset = lane_open_untrusted(established.reply)
    except WireError:
        context.events.append(ConnectFailed(peer.key, Reason.PROTOCOL))
        teardown.drop_if_unused(context, peer)
        return got_on, None
    presence = _established(context, peer, attempt, established, address, lane_id, now)
    return got_on, Answer(presence, established.reply, offset, attempt)


def attempt_failed(context: Context, peer: Peer, reason: int) -> None:
    """Give the attempt up and say so, if anybody asked for it."""
    asked = peer.attempt is None or peer.attempt.asked
    _end_attempt(context, peer)
    if asked:
        context.events.append(ConnectFailed(peer.key, reason))
    teardown.drop_if_unused(context, peer)


def _end_attempt(context: Context, peer: Peer) -> None:
    if peer.attempt is not None:
        context.by_echo.pop(peer.attempt.echo, None)
        context.by_probe.pop(peer.attempt.probe, None)
        if context.unprepared is peer.attempt.initiator:
            context.unprepared = None
        peer.attempt = None
        context.attempts -= 1


def _register_echo(context: Context, peer: Peer) -> None:
    attempt = peer.attempt
    assert attempt is not None
    echo = attempt.initiator.echo
    if echo != attempt.echo:
        context.by_echo.pop(attempt.echo, None)
        context.by_echo[echo] = peer
        attempt.echo = echo


def _first_data(peer: Peer, now: float) -> bytes:
    lane = peer.lane
    opening = frames.lane_open(lane.id, lane.peer_id)
    if peer.current is not None:
        return opening  # the presence that is still there carries the lane
    return opening + (lane.packet_frame(now, FIRST_DATA_SIZE_MAX - len(opening)) or b"")


def _lane_with(context: Context, peer: Peer, peer_id: int) -> Lane:
    """The lane for another life of the peer's: the one its own P3 has brought about, if any."""
    for presence in peer.unconfirmed:
        if presence.lane is not peer.lane and presence.lane.peer_id == peer_id:
            return presence.lane
    return next_lane(context, peer)


def _established(
    context: Context,
    peer: Peer,
    attempt: Attempt,
    established: Established,
    address: Address,
    lane_id: int,
    now: float,
) -> Presence:
    """The presence that the attempt was for.

    By its timer, which is due at once, it probes, so that the responder sees its keys used; what
    the user sends or closes in answer to the reply leaves before and does as well.
    """
    if attempt.initiator.learned is not None:
        context.learn_transient(attempt.initiator.learned)
    if attempt.initiator.handle:
        context.masks[peer.key] = Mask(established.peer, attempt.initiator.handle)
    if is_other_life(peer, established.incarnation, lane_id):
        begin_anew(context, peer, _lane_with(context, peer, lane_id), now)
    bind(context, peer, established.incarnation, lane_id)
    presence = Presence(
        established,
        address if address in attempt.targets else attempt.targets[0],
        peer.key,
        peer.lane,
        context.side,
        message_cid=attempt.message_cid,
        bulk_cid=attempt.bulk_cid,
        initiator=True,
        now=now,
    )
    context.by_cid[presence.message_cid] = presence
    if established.rtt_s is not None:
        peer.rtt.guess(established.rtt_s)
    if peer.liveness.heard(now):
        context.events.append(Heard(peer.key, established.incarnation))
    promote(context, peer, presence, now)
    return presence
