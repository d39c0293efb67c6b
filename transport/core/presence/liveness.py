"""Whether a peer is heard: when to probe it, when to call it silent.

Anything that opens counts as heard, so a peer that answers what it is sent is never probed.
Kept peers are probed slowly; while something is awaited from them, or after one missed probe,
quickly. All times are seconds of the caller's clock.
"""

from __future__ import annotations

from enum import Enum, auto

from transport.core.config import TransportConfig
from transport.core.lane.rtt import RoundTrip

__all__ = ["Liveness", "Verdict"]

_PROBES_MIN = 5
"""Probes that must go unanswered before a peer counts as silent. A path that loses a tenth of its
datagrams loses three probes or their answers in a row once in 150 times, five once in 4,000."""
_ROUND_TRIPS = 2  # timers of the path that must pass as well before a peer counts as silent


class Verdict(Enum):
    """What is to be done now."""

    NOTHING = auto()
    PROBE = auto()
    SILENT = auto()
    """It has just become silent: tell, and probe."""
    GONE = auto()
    """Silent for `silence_max_s`."""


class Liveness:
    """One peer's; deadlines are asked for, never stored outside."""

    __slots__ = (
        "_config",
        "_interval_s",
        "_probe_at",
        "_rtt",
        "heard_at",
        "probed_since",
        "quick",
        "silent_at",
        "watched_at",
    )

    def __init__(self, config: TransportConfig, rtt: RoundTrip, now: float) -> None:
        self._config = config
        self._rtt = rtt
        self.heard_at = now
        """When a datagram of this peer opened last."""
        self.quick = False
        """Something is awaited from it; set by `watch`."""
        self.watched_at = now
        """Since when."""
        self.silent_at: float | None = None
        self.probed_since: float | None = None
        """When the first probe left that nothing has answered."""
        self._probe_at = 0.0
        self._interval_s = 0.0

    def watch(self, quick: bool, now: float) -> None:
        """Something is awaited from now on, or no longer.

        What was awaited before says nothing about what is awaited now: the quick pace counts from
        here, or every question after a pause would be followed by a probe at once.
        """
        self.quick = quick
        self.watched_at = now

    def heard(self, now: float) -> bool:
        """A datagram opened. Returns True if that ends a silence."""
        self.heard_at = now
        if self.probed_since is None:
            return False
        self.probed_since = None
        if self.silent_at is None:
            return False
        self.silent_at = None
        return True

    def next_timeout(self, active: bool) -> float | None:
        """When `handle_timeout` has something to say; `active`: the peer is wanted at all."""
        if not active and self.probed_since is None:
            return None
        if self.probed_since is None:
            slow = self.heard_at + self._config.slow_probe_s
            if not self.quick:
                return slow
            return min(slow, max(self.heard_at, self.watched_at) + self._quick_s())
        if self.silent_at is None:
            return min(self._probe_at, self._silent_due())
        return min(self._probe_at, self.silent_at + self._config.silence_max_s)

    def handle_timeout(self, active: bool, now: float) -> Verdict:
        """What the time says; a `PROBE` counts as sent."""
        due = self.next_timeout(active)
        if due is None or due > now:
            return Verdict.NOTHING
        if self.probed_since is None:
            self.probed_since = now
            self._interval_s = self._quick_s()
            self._probe_at = now + self._interval_s
            return Verdict.PROBE
        verdict = Verdict.NOTHING
        if self.silent_at is None:
            if now - due > self._config.quick_probe_s:
                # This side was stopped or starved itself: what it did not hear meanwhile says
                # nothing about the peer, which gets that much longer.
                self.probed_since += now - due
            if self._silent_due() <= now:
                self.silent_at = now
                verdict = Verdict.SILENT
        elif self.silent_at + self._config.silence_max_s <= now:
            return Verdict.GONE
        if self._probe_at <= now:
            if self.silent_at is not None:
                self._interval_s = min(self._interval_s * 2, self._config.slow_probe_s)
            self._probe_at = now + self._interval_s
            if verdict is Verdict.NOTHING:
                verdict = Verdict.PROBE
        return verdict

    def _quick_s(self) -> float:
        """Never faster than the path answers, or every probe would be followed by another."""
        rtt = self._rtt
        if rtt.smoothed_s is None:
            return max(self._config.quick_probe_s, min(rtt.timeout_s(), self._config.slow_probe_s))
        least = rtt.smoothed_s + 4 * rtt.variance_s
        return min(max(self._config.quick_probe_s, least), self._config.slow_probe_s)

    def _silent_due(self) -> float:
        since = self.probed_since
        assert since is not None
        least = max(_ROUND_TRIPS * self._rtt.timeout_s(), _PROBES_MIN * self._interval_s)
        return since + max(self._config.suspicion_s, least)
