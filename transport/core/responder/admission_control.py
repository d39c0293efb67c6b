"""What a responder may spend, and who comes first: allowances, the queue, effort and load."""

from __future__ import annotations

from transport.core.constants import (
    EFFORT_MAX,
    KNOWN_BURST_S,
    REPEAT_CHALLENGES_BURST,
    REPEAT_CHALLENGES_PER_S,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.responder.address_load import AddressLoad
from transport.core.responder.authentication import Waiting
from transport.core.responder.effort import EffortController, TokenBucket, WaitingRoom
from transport.core.types import Address


class AdmissionControl:
    """Between the cheap checks of a P3 and its Diffie-Hellman."""

    __slots__ = (
        "_allowance",
        "_known_allowance",
        "_repeats",
        "address_load",
        "controller",
        "waiting",
    )

    def __init__(self, config: HandshakeConfig, now: float) -> None:
        known_burst = max(1, int(config.known_per_s_max * KNOWN_BURST_S))
        self._allowance = TokenBucket(config.handshakes_per_s_max, config.handshakes_burst, now)
        self._known_allowance = TokenBucket(config.known_per_s_max, known_burst, now)
        self._repeats = TokenBucket(REPEAT_CHALLENGES_PER_S, REPEAT_CHALLENGES_BURST, now)
        self.waiting: WaitingRoom[Waiting] = WaitingRoom(config.waiting_max)
        self.controller = EffortController(config.effort_min, now)
        self.address_load = AddressLoad()

    def effort_for(self, address: Address) -> int:
        """The effort asked of an address: doubled for each level of its range's load."""
        effort = self.controller.effort
        return min(EFFORT_MAX, effort << self.address_load.level(address)) if effort else 0

    def may_repeat(self, now: float) -> bool:
        """Whether a P3 may be answered with a P2: those are not worth it when they come fast."""
        return self._repeats.take(now)

    def has_time(self, now: float) -> bool:
        """Whether a P3 that proves no address may be taken: all such share an allowance (HR30)."""
        return not self.waiting and self._known_allowance.take(now)

    def enter(self, waiting: Waiting, effort: int, now: float) -> bool:
        """Whether this P3 goes at once; else it waits for `next`, unless it is trimmed away."""
        self.controller.saw(effort)
        if waiting.variant.challenged:
            # Not 0-RTT: no cookie shows that it comes from there.
            self.address_load.count(waiting.address)
        if not self.waiting and self._allowance.take(now):
            self.controller.handled()
            return True
        trimmed = self.waiting.push(effort, waiting, self.address_load.level(waiting.address))
        if trimmed:
            self.controller.strained()
            for dropped in trimmed:
                dropped.transient.unburn(dropped.name)
        return False

    def next(self, now: float) -> Waiting | None:
        """The next of those that wait, when it is its turn."""
        if not self.waiting or not self._allowance.take(now):
            return None
        self.controller.handled()
        return self.waiting.pop()

    def follow_load(self, now: float) -> None:
        """Let effort and address load follow what the last interval saw, once it is over."""
        if self.controller.update(now, self.waiting.peak, self.waiting.size_max):
            self.waiting.peak = len(self.waiting)
            self.address_load.halve()

    def next_timeout(self) -> float | None:
        """When `next` or `follow_load` has something to do."""
        due = self._allowance.next_at if self.waiting else None
        if not self.controller.is_idle:
            end = self.controller.interval_end
            due = end if due is None else min(due, end)
        return due

    def __repr__(self) -> str:
        return f"AdmissionControl(effort={self.controller.effort}, waiting={len(self.waiting)})"
