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

from transport.core import frames
from transport.core.constants import KEY_SIZE, SEALED_SIZE_MAX
from transport.core.errors import LocalError
from transport.core.events import LinkCut, LinkHealed
from transport.core.peer.context import Context
from transport.core.peer.detour import FRESH_S, Detour
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence

__all__ = [
    "RELAYS_MAX",
    "configure",
    "direct_answer",
    "handle_timeout",
    "opened",
    "origin_untrusted",
    "passes_untrusted",
    "through",
    "unanswered",
]

RELAYS_MAX = 16
"""Relays a peer may have."""


def _detour(context: Context, peer: Peer, now: float) -> Detour:
    if peer.detour is None:
        peer.detour = Detour(context.config.relay_burst_bytes, now)
    return peer.detour


def configure(context: Context, peer: Peer, via: Sequence[bytes], now: float) -> None:
    """Let `via` relay to and from the peer; nobody: the direct link alone counts.

    Raises `LocalError` for more than `RELAYS_MAX`, the peer itself, or what is no key.
    """
    if len(via) > RELAYS_MAX:
        raise LocalError(f"a peer has at most {RELAYS_MAX} relays")
    if any(len(key) != KEY_SIZE or key in (peer.key, context.identity.key) for key in via):
        raise LocalError("a relay is a third peer's key")
    detour = _detour(context, peer, now)
    used = detour.via[detour.index] if detour.via else None
    detour.via = tuple(dict.fromkeys(via))
    detour.index = detour.via.index(used) if used in detour.via else 0
    if detour.cut and not detour.via:
        _heal(context, peer, detour)


# -- the two ends


def unanswered(context: Context, peer: Peer, now: float) -> None:
    """A probe went unanswered: use a relay, or the next one."""
    detour = peer.detour
    if detour is None or not detour.via:
        return
    if detour.cut:
        detour.index = (detour.index + 1) % len(detour.via)
        return
    _cut(context, peer, detour, now)
    peer.lane.sender.resume(now)


def handle_timeout(context: Context, peer: Peer, presence: Presence, now: float) -> None:
    """Try the direct path when it is time."""
    detour = peer.detour
    if detour is None or not detour.cut or detour.next_at > now:
        return
    detour.next_at = now + context.config.punch_s
    presence.direct(presence.address, presence.direct_ping(now))


def direct_answer(context: Context, peer: Peer, now: float) -> None:
    """The direct path has answered a probe that went nowhere else: both ways are open."""
    detour = peer.detour
    if detour is not None and detour.cut:
        detour.answered_at = now
        _heal(context, peer, detour)


def through(context: Context, peer: Peer, datagram: bytes) -> bool:
    """Send a sealed datagram by way of a relay. False: none is there."""
    detour = peer.detour
    if detour is None:
        return False
    via = detour.via
    for step in range(len(via)):
        index = (detour.index + step) % len(via)
        relay = context.by_key.get(via[index])
        if relay is not None and _reached(relay):
            detour.index = index
            _wrap(context, relay, frames.relay(peer.key, datagram))
            return True
    return False


def origin_untrusted(
    context: Context, via: Peer, key: bytes, datagram: bytes
) -> tuple[Peer, Presence] | None:
    """`via` says that this came from `key`: under which presence to receive it, or None for what is
    dropped. Whatever it is, only the seal is believed."""
    peer = context.by_key.get(key)
    presence = context.by_cid.get(datagram[: frames.CID_SIZE])
    if peer is None or presence is None or presence.key != key:
        return None
    detour = peer.detour
    if detour is None or via.key not in detour.via:
        return None
    return peer, presence


def opened(context: Context, via: Peer, peer: Peer, presence: Presence, now: float) -> None:
    """A datagram that `via` has brought opened under this presence of the peer's."""
    if not peer.dirty:
        peer.dirty = True
        context.dirty.append(peer)
    detour = peer.detour
    assert detour is not None
    if peer.current is not presence or now - detour.answered_at < FRESH_S:
        return
    detour.index = detour.via.index(via.key)
    if not detour.cut:
        _cut(context, peer, detour, now)


def _cut(context: Context, peer: Peer, detour: Detour, now: float) -> None:
    assert peer.current is not None
    detour.cut = True
    detour.next_at = now
    peer.changed = True
    context.events.append(LinkCut(peer.key, peer.current.incarnation))


def _heal(context: Context, peer: Peer, detour: Detour) -> None:
    detour.cut = False
    if peer.incarnation is not None and peer.reported:
        context.events.append(LinkHealed(peer.key, peer.incarnation))


# -- the relay


def passes_untrusted(
    context: Context, source: Peer, key: bytes, datagram: bytes, now: float
) -> None:
    """`source` asks to pass this on to `key`: do it, or drop it without a word."""
    target = context.by_key.get(key)
    if target is None or target is source or not (source.kept and target.kept):
        return
    if not _reached(target) or not 0 < len(datagram) <= SEALED_SIZE_MAX:
        return
    detour = _detour(context, source, now)
    config = context.config
    earned = (now - detour.allowed_at) * config.relay_bytes_per_s
    detour.allowance = min(detour.allowance + earned, config.relay_burst_bytes)
    detour.allowed_at = now
    if detour.allowance < len(datagram):
        return
    detour.allowance -= len(datagram)
    _wrap(context, target, frames.relayed(source.key, datagram))


def _reached(peer: Peer) -> bool:
    """The peer is heard, and not by way of a relay."""
    presence = peer.current
    return (
        presence is not None
        and presence.confirmed
        and peer.kept
        and peer.liveness.silent_at is None
        and (peer.detour is None or not peer.detour.cut)
    )


def _wrap(context: Context, peer: Peer, frame: bytes) -> None:
    presence = peer.current
    assert presence is not None
    context.out.append(presence.seal(frame))
