"""New keys through the presence: docs/protocol/handshake.md, section 4, and presence.md, 4.

The handshake's initiator starts it, the responder asks for it (PR23). What comes of it is a
presence of its own, with new connection ids and counters from 0, on the same path and the same
lane. The responder sends under the old keys until a datagram of the new ones opens; the old
presence drains.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.constants import CID_SIZE
from transport.core.errors import LocalError, WireError
from transport.core.establish import connect, promotion
from transport.core.events import Reason
from transport.core.handshake.negotiation import Established
from transport.core.handshake.rekey import Rekeyed, Rekeying, answer_rekeying_untrusted
from transport.core.handshake.wire import is_handshake
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence, Renewal, Renewed
from transport.core.types import Address

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = ["ASK_AGE_S", "age", "due_at", "receive_untrusted", "succeed"]

_LIMIT_FACTOR = 3
"""Limits after which a presence closes."""
_FULL_TIMEOUT_S = 10.0  # for a handshake beside a presence that is up
ASK_AGE_S = 1.0
"""An epoch younger than this is not renewed because the peer asks: no peer can make this side spend
more than one Diffie-Hellman a second on new keys."""


def due_at(relation: Relation, presence: Presence) -> float | None:
    """When `age` has something to do; None while the keys are not used."""
    used = max(relation.active_at, presence.bulk_at) > presence.made_at
    if used or presence.renew_tries or presence.renew_wanted:
        return presence.renew_at
    return None


def age(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    """Look at the age of the current presence: renew its keys, ask for it, or close."""
    if presence.renew_at is None or presence.renew_at > now:
        return
    config = table.config
    used_at = max(relation.active_at, presence.bulk_at)
    sent = presence.sealed
    since = presence.renewing_at
    # From when it was tried: keys that were idle for an hour are not an hour of use old.
    late = since is not None and used_at - since >= (_LIMIT_FACTOR - 1) * config.rekey_s
    root = presence.root
    # In use, as above: renewed so often that it was not idle meanwhile.
    overdue = root.renewals_late * config.rekey_s >= (_LIMIT_FACTOR - 1) * config.full_s
    if late or overdue or sent >= _LIMIT_FACTOR * config.rekey_datagrams:
        relation.close(Reason.LIMIT, now)
        return
    used = used_at > presence.made_at or sent >= config.rekey_datagrams
    if not used and not presence.renew_wanted:
        return
    if not presence.confirmed:
        presence.renew_at = now + (1.0 if presence.renew_wanted else config.rekey_s)
        return
    if since is None:
        presence.renewing_at = now
        if now - root.made_at >= config.full_s:
            _begin_full(table, relation, presence, now)
    presence.renew_at = now + relation.rtt.timeout_s(presence.renew_tries)
    presence.renew_tries += 1
    if not presence.initiator:
        presence.say(bytes((frames.REKEY_ASK,)))
        if not presence.renew_wanted:
            presence.renew_at = now + config.rekey_s
        return
    if presence.renewal is None:
        message_cid, bulk_cid = table.draw_cids()
        rekeying = Rekeying(
            presence.epoch_keys,
            presence.handshake_hash,
            presence.suite,
            message_cid + bulk_cid,
            table.random,
        )
        presence.renewal = Renewal(rekeying, message_cid, bulk_cid)
    presence.say(frames.rekey(frames.REKEY_FIRST, presence.renewal.rekeying.message))


def _begin_full(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    """A handshake with static keys and a cookie, beside the renewal: if it fails, the next renewal
    tries again. Not without a name, which would be another one."""
    if presence.initiator and relation.attempt is None and relation.peer not in table.masks:
        with suppress(LocalError):  # too many attempts at once
            deadline = now + _FULL_TIMEOUT_S
            connect.begin_attempt(table, relation, [presence.address], now, deadline)
            assert relation.attempt is not None
            relation.attempt.asked = False


def receive_untrusted(
    table: Table, relation: Relation, presence: Presence, kind: int, message: bytes, now: float
) -> None:
    """Take a frame of a rekeying. Raises `WireError` for what no honest peer sends."""
    if kind == frames.REKEY_ASK:
        known = presence.initiator and presence is relation.current and presence.renewal is None
        if known and now - presence.made_at >= ASK_AGE_S:
            presence.renew_wanted = True
            presence.renew_at = now
    elif kind == frames.REKEY_FIRST:
        if presence.initiator:
            raise WireError("only the initiator of the handshake renews its keys")
        _answer_untrusted(table, relation, presence, message, now)
    elif presence is relation.current and presence.renewal is not None:
        renewal = presence.renewal
        rekeyed = renewal.rekeying.finish_untrusted(message)
        presence.renewal = None
        presence.renew_at = None
        address, ids = presence.address, (renewal.message_cid, renewal.bulk_cid)
        new = succeed(table, relation, presence, rekeyed, *ids, address, now)
        table.by_cid[new.message_cid] = new
        promotion.promote(table, relation, new, now)


def _answer_untrusted(
    table: Table, relation: Relation, presence: Presence, message: bytes, now: float
) -> None:
    renewed = presence.renewed
    if renewed is not None and renewed.message_cid in table.by_cid:
        if renewed.first == message:
            presence.say(frames.rekey(frames.REKEY_SECOND, renewed.second))
        return
    if presence is not relation.current:
        return
    message_cid, bulk_cid = table.draw_cids()
    rekeyed = answer_rekeying_untrusted(
        message,
        presence.epoch_keys,
        presence.handshake_hash,
        presence.suite,
        message_cid + bulk_cid,
        table.random,
    )
    address = presence.address
    new = succeed(table, relation, presence, rekeyed, message_cid, bulk_cid, address, now)
    table.by_cid[message_cid] = new
    relation.unconfirmed = (*relation.unconfirmed, new)
    presence.renewed = Renewed(message, rekeyed.message, message_cid)
    presence.say(frames.rekey(frames.REKEY_SECOND, rekeyed.message))


def succeed(
    table: Table,
    relation: Relation,
    old: Presence,
    rekeyed: Rekeyed,
    message_cid: bytes,
    bulk_cid: bytes,
    address: Address,
    now: float,
) -> Presence:
    """The presence under the new keys, in the place of the old one. Raises `WireError` for
    connection ids that cannot be."""
    their_message_cid = rekeyed.payload[:CID_SIZE]
    their_bulk_cid = rekeyed.payload[CID_SIZE:]
    if (
        len(rekeyed.payload) != 2 * CID_SIZE
        or their_message_cid == their_bulk_cid
        or is_handshake(their_message_cid)
        or is_handshake(their_bulk_cid)
    ):
        raise WireError("unusable connection ids")
    root = old.root
    if now - root.made_at >= table.config.full_s:
        root = root._replace(renewals_late=root.renewals_late + 1)
    established = Established(
        datagram=b"",
        reply=b"",
        peer=relation.peer,
        incarnation=old.incarnation,
        handshake_hash=rekeyed.handshake_hash,
        suite=old.suite,
        message_cid=their_message_cid,
        bulk_cid=their_bulk_cid,
        keys=rekeyed.keys,
        rtt_s=None,
        clock_offset_s=old.clock_offset_s,
    )
    new = Presence(
        established,
        address,
        relation,
        old.lane,
        table.config,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        own_key=table.identity.key,
        initiator=old.initiator,
        now=now,
        root=root,
    )
    # The peer is known to live: a silence now is a silence, not a handshake that failed.
    new.expires_at = now + table.config.silence_max_s
    return new
