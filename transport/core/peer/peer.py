"""What there is between this node and one peer, as data: presences, the lane, liveness, attempts.

What happens to a peer is in functions that are given it. Their files know each other in one
direction only, from `context` at the bottom to `transport.core.peers` at the top:
`docs/architecture.md` has them in that order.
"""

from __future__ import annotations

from math import inf

from transport.core.config import TransportConfig
from transport.core.events import PeerStatus
from transport.core.initiator.attempt import Attempt
from transport.core.lane.lane import Lane
from transport.core.lane.rtt import RoundTrip
from transport.core.lane.tombstones import Evidence
from transport.core.peer.detour import Detour
from transport.core.peer.pending_accept import PendingAccept
from transport.core.presence.liveness import Liveness
from transport.core.presence.presence import Presence
from transport.core.types import RandomBytes

__all__ = ["Peer"]


class Peer:
    """One peer's. Created by `connect`, `keep` or an admitted P3; dropped when nothing is left."""

    __slots__ = (
        "active_at",
        "attempt",
        "changed",
        "current",
        "detour",
        "dirty",
        "dropped",
        "evidence",
        "former",
        "incarnation",
        "kept",
        "key",
        "lane",
        "liveness",
        "pending_accept",
        "reported",
        "restarted",
        "rtt",
        "switched_at",
        "unconfirmed",
        "wake_at",
        "wakeups",
    )

    key: bytes
    rtt: RoundTrip
    liveness: Liveness
    lane: Lane
    incarnation: int | None
    """Of the peer, to whose life the lane belongs; None: it has never been met."""
    current: Presence | None
    """Where new datagrams go."""
    former: tuple[Presence, ...]
    """Replaced or closed ones, which still open datagrams for a while."""
    unconfirmed: tuple[Presence, ...]
    """Made from the peer's P3s; the first datagram that opens makes one current."""
    attempt: Attempt | None
    pending_accept: PendingAccept | None
    kept: bool
    reported: bool
    """`PresenceUp` was told and `PresenceDown` was not."""
    restarted: bool
    """The lane began anew since the last `PresenceUp`."""
    evidence: Evidence
    """What speaks for the peer while it is not confirmed."""
    active_at: float
    """When an entry passed last, either way."""
    switched_at: float
    """When `current` changed last."""
    detour: Detour | None
    dirty: bool
    """It is in the context's list of those to look at."""
    changed: bool
    """Something other than the lane: look at everything."""
    dropped: bool
    wake_at: float
    wakeups: tuple[float, ...]

    def __init__(
        self, key: bytes, config: TransportConfig, random: RandomBytes, now: float
    ) -> None:
        """`key`: the peer's, or the alias by which it goes on this side."""
        self.key = key
        self.rtt = RoundTrip(config.rto_initial_s, config.rto_min_s, config.rto_max_s)
        self.liveness = Liveness(config, self.rtt, now)
        self.lane = self.new_lane(config, random)
        self.incarnation = None
        self.current = None
        self.former = ()
        self.unconfirmed = ()
        self.attempt = None
        self.pending_accept = None
        self.kept = False
        self.reported = False
        self.restarted = False
        self.evidence = Evidence.NONE
        self.active_at = now
        self.switched_at = now
        self.detour = None
        self.dirty = False
        self.changed = False
        self.dropped = False
        self.wake_at = inf
        self.wakeups = ()

    def new_lane(self, config: TransportConfig, random: RandomBytes) -> Lane:
        """A lane in whose life nothing has happened yet."""
        return Lane(config, self.rtt, int.from_bytes(random(8), "big") or 1)

    def status(self) -> PeerStatus:
        """A snapshot."""
        current = self.current
        sender = None if self.lane.resting else self.lane.sender
        return PeerStatus(
            up=self.reported,
            incarnation=self.incarnation,
            address=current.address if current is not None else None,
            rtt_s=self.rtt.smoothed_s,
            clock_offset_s=current.clock_offset_s if current is not None else None,
            relayed=self.detour is not None and self.detour.cut,
            silent=self.liveness.silent_at is not None,
            heard_at=self.liveness.heard_at,
            backlog_bytes=sender.backlog_bytes if sender is not None else 0,
            backlog_entries=sender.backlog_entries if sender is not None else 0,
        )
