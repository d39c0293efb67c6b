"""Sealed datagrams by way of a common peer, while the direct link is quiet.

A relay passes on what it can neither read nor alter: the datagram is sealed for its receiver, and
the relay wraps it for each hop in a datagram of its own. It relays only between peers it keeps
itself, only as fast as `relay_bytes_per_s` for each sender, only directly, and nothing that was
relayed already, so there are no loops.

A side sends through a relay once a probe went unanswered, or when the peer does so: then the link
may be cut in one direction only. All that time the direct path is tried by probes that go nowhere
else; an answer to one, directly, ends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transport.core import frames
from transport.core.constants import KEY_SIZE, SEALED_SIZE_MAX
from transport.core.errors import LocalError
from transport.core.events import LinkCut, LinkHealed
from transport.core.peer.context import Table
from transport.core.presence.presence import Presence

if TYPE_CHECKING:
    from transport.core.peer.peer import Relation

__all__ = [
    "RELAYS_MAX",
    "Detour",
    "configure",
    "direct_answer",
    "handle_timeout",
    "passes_untrusted",
    "relayed_untrusted",
    "through",
    "unanswered",
]

RELAYS_MAX = 16
"""Relays a peer may have."""
_FRESH_S = 1.0
"""So long after the direct path answered, a peer that still relays is taken to be late."""


class Detour:
    """What one peer's relation has to do with relays. Made when it is needed first."""

    __slots__ = (
        "allowance",
        "allowed_at",
        "answered_at",
        "cut",
        "cut_at",
        "index",
        "lasting",
        "next_at",
        "via",
    )

    def __init__(self, allowance: float, now: float) -> None:
        self.via: tuple[bytes, ...] = ()
        """Peers that may relay, the best last known first in turn from `index` on."""
        self.index = 0
        self.cut = False
        """Datagrams go through a relay."""
        self.cut_at = 0.0
        self.lasting = False
        """`LinkCut` was told a second time."""
        self.next_at = 0.0
        """When the direct path is tried again."""
        self.answered_at = -_FRESH_S
        """When the direct path answered a probe last, since it was cut."""
        self.allowance = allowance
        """Bytes this peer may still have relayed by this node."""
        self.allowed_at = now


def _detour(table: Table, relation: Relation, now: float) -> Detour:
    if relation.detour is None:
        relation.detour = Detour(table.config.relay_burst_bytes, now)
    return relation.detour


def configure(table: Table, relation: Relation, via: Sequence[bytes], now: float) -> None:
    """Let `via` relay to and from the peer; nobody: the direct link alone counts.

    Raises `LocalError` for more than `RELAYS_MAX`, the peer itself, or what is no key.
    """
    if len(via) > RELAYS_MAX:
        raise LocalError(f"a peer has at most {RELAYS_MAX} relays")
    if any(len(key) != KEY_SIZE or key in (relation.peer, table.identity.key) for key in via):
        raise LocalError("a relay is a third peer's key")
    detour = _detour(table, relation, now)
    used = detour.via[detour.index] if detour.via else None
    detour.via = tuple(dict.fromkeys(via))
    detour.index = detour.via.index(used) if used in detour.via else 0
    if detour.cut and not detour.via:
        _heal(table, relation, detour)


# -- the two ends


def unanswered(table: Table, relation: Relation, now: float) -> None:
    """A probe went unanswered: use a relay, or the next one."""
    detour = relation.detour
    if detour is None or not detour.via:
        return
    if detour.cut:
        detour.index = (detour.index + 1) % len(detour.via)
        return
    _cut(table, relation, detour, now)
    relation.lane.sender.resume(now)


def handle_timeout(table: Table, relation: Relation, presence: Presence, now: float) -> None:
    """Try the direct path when it is time; tell once when the cut lasts."""
    detour = relation.detour
    if detour is None or not detour.cut or detour.next_at > now:
        return
    detour.next_at = now + table.config.punch_s
    presence.direct(presence.address, presence.direct_ping(now))
    if not detour.lasting and now - detour.cut_at >= table.config.relay_grace_s:
        detour.lasting = True
        table.events.append(LinkCut(relation.peer, presence.incarnation, True))


def direct_answer(table: Table, relation: Relation, now: float) -> None:
    """The direct path has answered a probe that went nowhere else: both ways are open."""
    detour = relation.detour
    if detour is not None and detour.cut:
        detour.answered_at = now
        _heal(table, relation, detour)


def through(table: Table, relation: Relation, datagram: bytes) -> bool:
    """Send a sealed datagram by way of a relay. False: none is there."""
    detour = relation.detour
    if detour is None:
        return False
    via = detour.via
    for step in range(len(via)):
        index = (detour.index + step) % len(via)
        relay = table.relations.get(via[index])
        if relay is not None and _reached(relay):
            detour.index = index
            _wrap(table, relay, frames.relay(relation.peer, datagram))
            return True
    return False


def relayed_untrusted(
    table: Table, relay: Relation, key: bytes, datagram: bytes, now: float
) -> None:
    """`relay` says that this came from `key`. Whatever it is, only the seal is believed."""
    relation = table.relations.get(key)
    presence = table.by_cid.get(datagram[: frames.CID_SIZE])
    if relation is None or presence is None or presence.relation is not relation:
        return
    detour = relation.detour
    if detour is None or relay.peer not in detour.via:
        return
    if not relation.receive_untrusted(presence, datagram, None, now):
        return
    if not relation.dirty:
        relation.dirty = True
        table.dirty.append(relation)
    if relation.current is not presence or now - detour.answered_at < _FRESH_S:
        return
    detour.index = detour.via.index(relay.peer)
    if not detour.cut:
        _cut(table, relation, detour, now)


def _cut(table: Table, relation: Relation, detour: Detour, now: float) -> None:
    assert relation.current is not None
    detour.cut = True
    detour.lasting = False
    detour.cut_at = detour.next_at = now
    relation.changed = True
    table.events.append(LinkCut(relation.peer, relation.current.incarnation, False))


def _heal(table: Table, relation: Relation, detour: Detour) -> None:
    detour.cut = False
    if relation.incarnation is not None and relation.reported:
        table.events.append(LinkHealed(relation.peer, relation.incarnation))


# -- the relay


def passes_untrusted(
    table: Table, source: Relation, key: bytes, datagram: bytes, now: float
) -> None:
    """`source` asks to pass this on to `key`: do it, or drop it without a word."""
    target = table.relations.get(key)
    if target is None or target is source or not (source.kept and target.kept):
        return
    if not _reached(target) or not 0 < len(datagram) <= SEALED_SIZE_MAX:
        return
    detour = _detour(table, source, now)
    config = table.config
    earned = (now - detour.allowed_at) * config.relay_bytes_per_s
    detour.allowance = min(detour.allowance + earned, config.relay_burst_bytes)
    detour.allowed_at = now
    if detour.allowance < len(datagram):
        return
    detour.allowance -= len(datagram)
    _wrap(table, target, frames.relayed(source.peer, datagram))


def _reached(relation: Relation) -> bool:
    """The peer is heard, and not by way of a relay."""
    presence = relation.current
    return (
        presence is not None
        and presence.confirmed
        and relation.kept
        and relation.liveness.silent_at is None
        and (relation.detour is None or not relation.detour.cut)
    )


def _wrap(table: Table, relation: Relation, frame: bytes) -> None:
    presence = relation.current
    assert presence is not None
    table.out.append(presence.seal(frame))
