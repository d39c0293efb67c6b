"""What one peer has to do with relays, as data; `relay` says what happens."""

from __future__ import annotations

__all__ = ["FRESH_S", "Detour"]

FRESH_S = 1.0
"""So long after the direct path answered, a peer that still relays is taken to be late."""


class Detour:
    """One peer's. Made when it is needed first."""

    __slots__ = (
        "allowance",
        "allowed_at",
        "answered_at",
        "cut",
        "index",
        "next_at",
        "via",
    )

    def __init__(self, allowance: float, now: float) -> None:
        self.via: tuple[bytes, ...] = ()
        """Peers that may relay, the best last known first in turn from `index` on."""
        self.index = 0
        self.cut = False
        """Datagrams go through a relay."""
        self.next_at = 0.0
        """When the direct path is tried again."""
        self.answered_at = -FRESH_S
        """When the direct path answered a probe last, since it was cut."""
        self.allowance = allowance
        """Bytes this peer may still have relayed by this node."""
        self.allowed_at = now
