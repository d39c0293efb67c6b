"""Deliberate moves: on to another address, under connection ids that nobody has seen.

Threat: who watches two networks that a peer uses one after the other, and looks for what the
datagrams there have in common. Property: no connection id, key or counter of before the move is
used after it, on either plane, in either direction. Construction: from each epoch's rekey secret
two *spare* epochs follow, ids included, so that nothing has to be said at the move. A node that
may move tells its peers to know the ids (MOVABLE); a peer makes the spare's presence when a
datagram under one opens. Lifetime: a spare is used once and dies with its epoch; what comes of it
asks for new keys at once, since whoever holds the epoch's rekey secret can derive it.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from transport.core.constants import CID_SIZE, KEY_SIZE
from transport.core.errors import LocalError, UnknownPeer
from transport.core.establish import key_update, promotion
from transport.core.handshake.negotiation import (
    INITIATOR_TO_RESPONDER,
    RESPONDER_TO_INITIATOR,
    epoch_keys,
)
from transport.core.handshake.rekey import Rekeyed
from transport.core.handshake.wire import is_handshake
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence
from transport.core.presence.spare_epochs import SPARES, Origin, Spare
from transport.core.types import Address

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = ["expect", "forget_ended", "move", "receive_untrusted", "withdraw"]

_IDS_LABEL = b"quorate spare ids"
_KEY_LABEL = b"quorate spare key"
_HASH_LABEL = b"quorate spare hash"
_IDS_EACH = 2 * CID_SIZE


class _Ids(NamedTuple):
    """Of one spare, in one direction."""

    message: bytes
    bulk: bytes

    @property
    def usable(self) -> bool:
        """Both sides find the same; one spare in four million is not."""
        return self.message != self.bulk and not any(map(is_handshake, self))


def _ids(secret: bytes, direction: int) -> list[_Ids]:
    label = _IDS_LABEL + bytes((direction,))
    drawn = blake2b(label, digest_size=SPARES * _IDS_EACH, key=secret).digest()
    return [
        _Ids(drawn[at : at + CID_SIZE], drawn[at + CID_SIZE : at + _IDS_EACH])
        for at in range(0, len(drawn), _IDS_EACH)
    ]


def _inward(initiator: bool) -> int:
    return RESPONDER_TO_INITIATOR if initiator else INITIATOR_TO_RESPONDER


def expect(table: Table, presence: Presence) -> None:
    """The peer says that it may move: know its spare ids."""
    if presence is presence.relation.current:
        for number, ids in enumerate(_ids(presence.epoch_keys.rekey, _inward(presence.initiator))):
            table.spares.setdefault(ids.message, Spare(presence, number))


def withdraw(table: Table, presence: Presence) -> None:
    """The presence is about to be discarded, and its spares with it."""
    if table.spares:
        for ids in _ids(presence.epoch_keys.rekey, _inward(presence.initiator)):
            spare = table.spares.get(ids.message)
            if spare is not None and spare.presence is presence:
                del table.spares[ids.message]
    table.moved.pop(presence, None)


def move(table: Table, relation: Relation, now: float) -> None:
    """From here on use a spare. Raises `UnknownPeer` without a presence, `LocalError` before it is
    confirmed, and with no spare left: the peer must be heard before it can be left again.
    """
    current = relation.current
    if current is None:
        raise UnknownPeer("there is no presence with this peer")
    origin = table.moved.get(current)
    if origin is None:
        if not current.confirmed:
            raise LocalError("the presence is not confirmed yet")
        origin = Origin(current.epoch_keys.rekey, current.handshake_hash, 0)
    made = _made(table, relation, current, origin, current.address, now)
    if made is None:
        raise LocalError("no spare connection ids are left until the peer is heard")
    spare, number = made
    spare.probe_at = now
    spare.renew_wanted = True
    spare.renew_at = now
    # Nothing leaves under ids of before, not even an answer or a CLOSE; so they do not drain. What
    # was under way to this side comes again.
    for presence in (*relation.former, *relation.unconfirmed, current):
        relation.discard(presence)
    table.moved[spare] = origin._replace(used=number + 1)
    table.by_cid[spare.message_cid] = spare
    relation.rtt.reset()
    promotion.promote(table, relation, spare, now)
    relation.lane.sender.resume(now)


def forget_ended(table: Table) -> None:
    """Of peers whose presence has ended nothing is left that could answer under its ids."""
    for relation in [each for each in table.relations.values() if each.current is None]:
        for presence in relation.former:
            relation.discard(presence)
        relation.drop_if_unused()


def receive_untrusted(table: Table, data: bytes, address: Address, now: float) -> Relation | None:
    """Take a datagram under an id that is no presence's. The relation of the peer that has moved;
    None if it is nobody's spare or does not open, and nothing has changed.
    """
    spare = table.spares.get(data[:CID_SIZE])
    if spare is None or spare.presence.closed_reason is not None:
        return None
    parent = spare.presence
    relation = parent.relation
    origin = Origin(parent.epoch_keys.rekey, parent.handshake_hash, spare.number)
    made = _made(table, relation, parent, origin, address, now)
    if made is None or made[1] != spare.number:
        return None
    presence = made[0]
    presence.path.unsettle(relation.rtt.timeout_s(), now)
    table.by_cid[presence.message_cid] = presence
    relation.unconfirmed = (*relation.unconfirmed, presence)
    if not relation.receive_untrusted(presence, data, address, now):
        relation.discard(presence)
        return None
    # Once: under the same keys again, whoever recorded this datagram could have it open again.
    table.spares.pop(data[:CID_SIZE], None)
    return relation


def _made(
    table: Table, relation: Relation, parent: Presence, origin: Origin, address: Address, now: float
) -> tuple[Presence, int] | None:
    """The presence of the next usable spare from `origin.used` on, and its number."""
    inward = _inward(parent.initiator)
    outward = _inward(not parent.initiator)
    mine, theirs = _ids(origin.secret, inward), _ids(origin.secret, outward)
    for number in range(origin.used, SPARES):
        ids = mine[number]
        if ids.usable and theirs[number].usable and ids.message not in table.by_cid:
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
    presence = key_update.succeed(
        table, relation, parent, rekeyed, mine[number].message, mine[number].bulk, address, now
    )
    return presence, number
