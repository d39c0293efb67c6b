"""Who has a place among the peers: made for whom it is needed, taken from who can be spared."""

from __future__ import annotations

from itertools import islice

from transport.core.constants import KEY_SIZE
from transport.core.errors import LocalError
from transport.core.events import Reason
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer

__all__ = ["SPARE_AFTER_S", "place_of"]

SPARE_AFTER_S = 10.0
"""A peer that is not wanted and with whom nothing but probes passed for so long gives its place up
when the table of peers is full."""
_LOOKED_AT = 16  # peers looked at for one that needs a place
_RESERVED_SHARE = 8
"""One place in so many of the table of peers is for those this node connects to or keeps."""


def place_of(context: Context, key: bytes, now: float, *, ours: bool = True) -> Peer:
    """The peer of that key, made if need be; `ours`: this node wants it. Raises `LocalError` for
    what is no other node's key, and if the table of peers is full."""
    peer = context.by_key.get(key)
    if peer is None:
        if len(key) != KEY_SIZE or key == context.identity.key:
            raise LocalError("a peer is another node's key of 32 bytes")
        room = context.config.peers_max
        room -= 0 if ours else room // _RESERVED_SHARE
        if len(context.by_key) >= room and not _make_room(context, now):
            raise LocalError("the table of peers is full")
        peer = context.by_key[key] = Peer(key, context.config, context.random, now)
    return peer


def _make_room(context: Context, now: float) -> bool:
    """Close the next peer that can be spared, and forget it at once. False: those looked at are all
    of use; the next call looks at others."""
    for peer in list(islice(context.by_key.values(), _LOOKED_AT)):
        if _is_spare(context, peer, now):
            teardown.close(context, peer, Reason.IDLE, now)
            for presence in peer.former:
                teardown.discard(context, peer, presence)
            teardown.drop_if_unused(context, peer)
            return True
        # To the end of the row, for which the order is of use to nobody else.
        del context.by_key[peer.key]
        context.by_key[peer.key] = peer
    return False


def _is_spare(context: Context, peer: Peer, now: float) -> bool:
    presence = peer.current
    return (
        presence is not None
        and peer.attempt is None
        and peer.pending_accept is None
        and not peer.unconfirmed
        and not teardown.active(context, peer)
        and max(peer.active_at, presence.bulk_at, presence.made_at) + SPARE_AFTER_S <= now
    )
