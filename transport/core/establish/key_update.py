"""New keys through the presence: docs/protocol/handshake.md, section 4, and presence.md, 4.

The handshake's initiator starts it, the responder asks for it (PR23). What comes of it is a
presence of its own, with new connection ids and packet numbers from 0, on the same path and the
same lane. The responder sends under the old keys until a datagram of the new ones opens; the old
presence drains.
"""

from __future__ import annotations

from contextlib import suppress

from transport.core import frames
from transport.core.constants import CID_SIZE, PAYLOAD_SIZE_MAX
from transport.core.errors import LocalError, WireError
from transport.core.establish import connect, promotion
from transport.core.events import Reason
from transport.core.handshake.negotiation import Established
from transport.core.handshake.rekey import Rekeyed, Rekeying, answer_rekeying_untrusted
from transport.core.handshake.wire import is_handshake
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.epoch import AnsweredKeyUpdate, KeyUpdate
from transport.core.presence.presence import Presence
from transport.core.types import Address

__all__ = ["ASK_AGE_S", "age", "count_bulk", "due_at", "receive_untrusted", "succeed"]

_LIMIT_FACTOR = 3
"""Limits after which a presence closes."""
_FULL_TIMEOUT_S = 10.0  # for a handshake beside a presence that is up
ASK_AGE_S = 1.0
"""An epoch younger than this is not renewed because the peer asks: no peer can make this side spend
more than one Diffie-Hellman a second on new keys."""


def due_at(peer: Peer, presence: Presence) -> float | None:
    """When `age` has something to do; None while the keys are not used."""
    used = max(peer.active_at, presence.bulk_at) > presence.made_at
    if used or presence.key_update_tries or presence.key_update_wanted:
        return presence.key_update_at
    return None


def count_bulk(context: Context, presence: Presence, size: int, now: float) -> None:
    """`size` bytes of bulk have passed: they count toward the limit of the keys."""
    presence.bulk_datagrams += -(-size // PAYLOAD_SIZE_MAX)
    presence.bulk_at = now
    due = presence.sealed >= context.config.rekey_datagrams
    if due and presence.key_update is None and presence.key_update_tries == 0:
        presence.key_update_at = now


def age(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Look at the age of the current presence: renew its keys, ask for it, or close."""
    if presence.key_update_at is None or presence.key_update_at > now:
        return
    config = context.config
    used_at = max(peer.active_at, presence.bulk_at)
    sent = presence.sealed
    since = presence.key_update_wanted_at
    # From when it was tried: keys that were idle for an hour are not an hour of use old.
    late = since is not None and used_at - since >= (_LIMIT_FACTOR - 1) * config.rekey_s
    root = presence.root
    # In use, as above: renewed so often that it was not idle meanwhile.
    overdue = root.key_updates_late * config.rekey_s >= (_LIMIT_FACTOR - 1) * config.full_s
    if late or overdue or sent >= _LIMIT_FACTOR * config.rekey_datagrams:
        teardown.close(context, peer, Reason.LIMIT, now)
        return
    used = used_at > presence.made_at or sent >= config.rekey_datagrams
    if not used and not presence.key_update_wanted:
        return
    if not presence.confirmed:
        presence.key_update_at = now + (1.0 if presence.key_update_wanted else config.rekey_s)
        return
    if since is None:
        presence.key_update_wanted_at = now
        if now - root.made_at >= config.full_s:
            _begin_full(context, peer, presence, now)
    presence.key_update_at = now + peer.rtt.timeout_s(presence.key_update_tries)
    presence.key_update_tries += 1
    if presence.initiator:
        _begin(context, presence)
        return
    presence.say(bytes((frames.REKEY_ASK,)))
    if not presence.key_update_wanted:
        presence.key_update_at = now + config.rekey_s


def _begin(context: Context, presence: Presence) -> None:
    """Send message 1, the same until it is answered."""
    if presence.key_update is None:
        message_cid, bulk_cid = context.draw_cids()
        rekeying = Rekeying(
            presence.epoch_keys,
            presence.handshake_hash,
            presence.suite,
            message_cid + bulk_cid,
            context.random,
        )
        presence.key_update = KeyUpdate(rekeying, message_cid, bulk_cid)
    presence.say(frames.rekey(frames.REKEY_FIRST, presence.key_update.rekeying.message))


def _begin_full(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """A handshake with static keys and a cookie, beside the key update: if it fails, the next one
    tries again. Not without a name, which would be another one."""
    if presence.initiator and peer.attempt is None and peer.key not in context.masks:
        with suppress(LocalError):  # too many attempts at once
            deadline = now + _FULL_TIMEOUT_S
            connect.begin_attempt(context, peer, [presence.address], now, deadline)
            assert peer.attempt is not None
            peer.attempt.asked = False


def receive_untrusted(
    context: Context, peer: Peer, presence: Presence, kind: int, message: bytes, now: float
) -> None:
    """Take a frame of a rekeying. Raises `WireError` for what no honest peer sends."""
    if kind == frames.REKEY_ASK:
        known = presence.initiator and presence is peer.current and presence.key_update is None
        if known and now - presence.made_at >= ASK_AGE_S:
            presence.key_update_wanted = True
            presence.key_update_at = now
    elif kind == frames.REKEY_FIRST:
        if presence.initiator:
            raise WireError("only the initiator of the handshake renews its keys")
        _answer_untrusted(context, peer, presence, message, now)
    elif presence is peer.current and presence.key_update is not None:
        key_update = presence.key_update
        rekeyed = key_update.rekeying.finish_untrusted(message)
        presence.key_update = None
        presence.key_update_at = None
        ids = key_update.message_cid, key_update.bulk_cid
        new = succeed(context, peer, presence, rekeyed, ids, presence.address, now)
        context.by_cid[new.message_cid] = new
        promotion.promote(context, peer, new, now)


def _answer_untrusted(
    context: Context, peer: Peer, presence: Presence, message: bytes, now: float
) -> None:
    answered_key_update = presence.answered_key_update
    if answered_key_update is not None and answered_key_update.message_cid in context.by_cid:
        if answered_key_update.first == message:
            presence.say(frames.rekey(frames.REKEY_SECOND, answered_key_update.second))
        return
    if presence is not peer.current:
        return
    message_cid, bulk_cid = context.draw_cids()
    rekeyed = answer_rekeying_untrusted(
        message,
        presence.epoch_keys,
        presence.handshake_hash,
        presence.suite,
        message_cid + bulk_cid,
        context.random,
    )
    ids = message_cid, bulk_cid
    new = succeed(context, peer, presence, rekeyed, ids, presence.address, now)
    context.by_cid[message_cid] = new
    peer.unconfirmed = (*peer.unconfirmed, new)
    presence.answered_key_update = AnsweredKeyUpdate(message, rekeyed.message, message_cid)
    presence.say(frames.rekey(frames.REKEY_SECOND, rekeyed.message))


def succeed(
    context: Context,
    peer: Peer,
    old: Presence,
    rekeyed: Rekeyed,
    ids: tuple[bytes, bytes],
    address: Address,
    now: float,
) -> Presence:
    """The presence under the new keys, in the place of the old one; `ids` are this side's for
    messages and for bulk. Raises `WireError` for connection ids of the peer's that cannot be."""
    root = old.root
    if now - root.made_at >= context.config.full_s:
        root = root._replace(key_updates_late=root.key_updates_late + 1)
    new = Presence(
        _as_established(peer, old, rekeyed),
        address,
        peer.key,
        old.lane,
        context.side,
        message_cid=ids[0],
        bulk_cid=ids[1],
        initiator=old.initiator,
        now=now,
        root=root,
    )
    # The peer is known to live: a silence now is a silence, not a handshake that failed.
    new.expires_at = now + context.config.silence_max_s
    return new


def _as_established(peer: Peer, old: Presence, rekeyed: Rekeyed) -> Established:
    """As if a handshake had agreed on the new keys. Raises `WireError`."""
    their_message_cid = rekeyed.payload[:CID_SIZE]
    their_bulk_cid = rekeyed.payload[CID_SIZE:]
    if (
        len(rekeyed.payload) != 2 * CID_SIZE
        or their_message_cid == their_bulk_cid
        or is_handshake(their_message_cid)
        or is_handshake(their_bulk_cid)
    ):
        raise WireError("unusable connection ids")
    return Established(
        datagram=b"",
        reply=b"",
        peer=peer.key,
        incarnation=old.incarnation,
        handshake_hash=rekeyed.handshake_hash,
        suite=old.suite,
        message_cid=their_message_cid,
        bulk_cid=their_bulk_cid,
        keys=rekeyed.keys,
        rtt_s=None,
        clock_offset_s=old.clock_offset_s,
    )
