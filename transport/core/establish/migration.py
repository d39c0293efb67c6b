"""Migration: on to another address, on purpose, under connection ids that nobody has seen.

Threat: who watches two networks that a peer uses one after the other, and looks for what the
datagrams there have in common. Property: no connection id, key or packet number of before is used
after it, on either plane, in either direction. Construction: from each epoch's rekey secret two
*spare* epochs follow, ids included, so that nothing has to be said at the move. A node that may
move tells its peers to know the ids (MOVABLE); a peer makes the spare's presence when a datagram
under one opens. Lifetime: a spare is used once and dies with its epoch; what comes of it
asks for new keys at once, since whoever holds the epoch's rekey secret can derive it.
"""

from __future__ import annotations

from hashlib import blake2b

from transport.core.constants import CID_SIZE, KEY_SIZE
from transport.core.errors import LocalError, UnknownPeer
from transport.core.establish import key_update, promotion
from transport.core.handshake.negotiation import (
    INITIATOR_TO_RESPONDER,
    RESPONDER_TO_INITIATOR,
    epoch_keys,
)
from transport.core.handshake.rekey import Rekeyed
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.presence.spare_epochs import (
    SPARES,
    Origin,
    Spare,
    ids_of,
    inward,
    spare_ids,
)
from transport.core.types import Address

__all__ = ["expect", "follow_untrusted", "followed", "forget_ended", "move"]

_KEY_LABEL = b"quorate spare key"
_HASH_LABEL = b"quorate spare hash"


def expect(context: Context, peer: Peer, presence: Presence) -> None:
    """The peer says that it may move: know its spare ids."""
    if presence is peer.current:
        for number, ids in enumerate(ids_of(presence)):
            context.spares.setdefault(ids.message, Spare(presence, number))


def move(context: Context, peer: Peer, now: float) -> None:
    """From here on use a spare. Raises `UnknownPeer` without a presence, `LocalError` before it is
    confirmed, and with no spare left: the peer must be heard before it can be left again.
    """
    current = peer.current
    if current is None:
        raise UnknownPeer("there is no presence with this peer")
    origin = context.moved.get(current)
    if origin is None:
        if not current.confirmed:
            raise LocalError("the presence is not confirmed yet")
        origin = Origin(current.epoch_keys.rekey, current.handshake_hash, 0)
    made = _made(context, peer, current, origin, current.address, now)
    if made is None:
        raise LocalError("no spare connection ids are left until the peer is heard")
    spare, number = made
    spare.probe_at = now
    spare.key_update_wanted = True
    spare.key_update_at = now
    # Nothing leaves under ids of before, not even an answer or a CLOSE; so they do not drain. What
    # was under way to this side comes again.
    for presence in (*peer.former, *peer.unconfirmed, current):
        teardown.discard(context, peer, presence)
    context.moved[spare] = origin._replace(used=number + 1)
    context.by_cid[spare.message_cid] = spare
    peer.rtt.reset()
    promotion.promote(context, peer, spare, now)
    peer.lane.sender.resume(now)


def forget_ended(context: Context) -> None:
    """Of peers whose presence has ended nothing is left that could answer under its ids."""
    for peer in [each for each in context.by_key.values() if each.current is None]:
        for presence in peer.former:
            teardown.discard(context, peer, presence)
        teardown.drop_if_unused(context, peer)


def follow_untrusted(
    context: Context, data: bytes, address: Address, now: float
) -> tuple[Peer, Presence] | None:
    """A datagram came under an id that is no presence's: the presence to receive it under, and
    whose. None: it is nobody's spare, and nothing has changed. What does not open is to be
    discarded, what opens `followed`.
    """
    spare = context.spares.get(data[:CID_SIZE])
    if spare is None or spare.presence.closed_reason is not None:
        return None
    parent = spare.presence
    peer = context.by_key[parent.key]
    origin = Origin(parent.epoch_keys.rekey, parent.handshake_hash, spare.number)
    made = _made(context, peer, parent, origin, address, now)
    if made is None or made[1] != spare.number:
        return None
    presence = made[0]
    presence.path.unsettle(peer.rtt.timeout_s(), now)
    context.by_cid[presence.message_cid] = presence
    peer.unconfirmed = (*peer.unconfirmed, presence)
    return peer, presence


def followed(context: Context, data: bytes) -> None:
    """A spare is used once: under the same keys again, whoever recorded this datagram could have it
    open again."""
    context.spares.pop(data[:CID_SIZE], None)


def _made(
    context: Context, peer: Peer, parent: Presence, origin: Origin, address: Address, now: float
) -> tuple[Presence, int] | None:
    """The presence of the next usable spare from `origin.used` on, and its number."""
    mine = spare_ids(origin.secret, inward(parent.initiator))
    theirs = spare_ids(origin.secret, inward(not parent.initiator))
    for number in range(origin.used, SPARES):
        ids = mine[number]
        if ids.usable and theirs[number].usable and ids.message not in context.by_cid:
            break
    else:
        return None
    split = [
        blake2b(
            _KEY_LABEL + bytes((number, direction)), digest_size=KEY_SIZE, key=origin.secret
        ).digest()
        for direction in (INITIATOR_TO_RESPONDER, RESPONDER_TO_INITIATOR)
    ]
    keys = epoch_keys(split[0], split[1], parent.suite, initiator=parent.initiator)
    named = blake2b(_HASH_LABEL + bytes((number,)) + origin.handshake_hash).digest()
    rekeyed = Rekeyed(b"", theirs[number].message + theirs[number].bulk, named, keys)
    return key_update.succeed(context, peer, parent, rekeyed, mine[number], address, now), number
