"""An admitted P3 whose P4 waits for a reply to carry."""

from __future__ import annotations

from transport.core.lane.lane import Lane
from transport.core.responder.incoming import Admitted

__all__ = ["PendingAccept"]


class PendingAccept:
    """At most one a peer; `establish.accept` makes it and answers it."""

    __slots__ = ("admitted", "deadline", "held_first_data", "lane")

    def __init__(
        self,
        admitted: Admitted,
        lane: Lane,
        held_first_data: bytes,
        deadline: float,
    ) -> None:
        self.admitted = admitted
        self.lane = lane
        """What the presence is to carry: the peer's lane, or the one of a later life."""
        self.held_first_data = held_first_data
        """First data that may only count once the presence is confirmed."""
        self.deadline = deadline
