"""Round-trip estimate and retransmission timer after RFC 6298, in seconds."""

from __future__ import annotations

__all__ = ["RoundTrip"]

_ALPHA = 1 / 8  # RFC 6298 section 2.3
_BETA = 1 / 4


class RoundTrip:
    """Smoothed round trip of one path.

    Differs from RFC 6298 in two stated ways: the floor of the timer is configured (its one
    second is meant for paths nobody measures), and `delay_s`, the time the peer held its
    acknowledgement back, is subtracted as long as that leaves at least the smallest sample
    (RFC 9002 section 5.3), so that a peer cannot make the estimate smaller than the path.
    """

    __slots__ = (
        "_initial_s", "_max_s", "_min_s", "least_s", "measured", "smoothed_s", "variance_s",
    )  # fmt: skip

    def __init__(self, initial_s: float, min_s: float, max_s: float) -> None:
        self._initial_s = initial_s
        self._min_s = min_s
        self._max_s = max_s
        self.smoothed_s: float | None = None
        self.variance_s = 0.0
        self.least_s: float | None = None
        self.measured = False
        """There was a sample, not only a guess."""

    def guess(self, rtt_s: float) -> None:
        """Take what a handshake says, until there is a sample: an upper bound, as nobody can tell
        whether its datagrams were lost and sent again (RFC 6298 section 3, Karn's rule)."""
        if not self.measured:
            self.smoothed_s = rtt_s
            self.variance_s = rtt_s / 2

    def sample(self, rtt_s: float, delay_s: float = 0.0) -> None:
        """Take one measured round trip; a negative one (a clock's fault) is ignored."""
        if rtt_s < 0.0:
            return
        least = self.least_s
        if least is None or rtt_s < least:
            self.least_s = least = rtt_s
        if delay_s > 0.0 and rtt_s - delay_s >= least:
            rtt_s -= delay_s
        smoothed = self.smoothed_s
        if smoothed is None or not self.measured:
            self.measured = True
            self.smoothed_s = rtt_s
            self.variance_s = rtt_s / 2
        else:
            self.variance_s += _BETA * (abs(smoothed - rtt_s) - self.variance_s)
            self.smoothed_s = smoothed + _ALPHA * (rtt_s - smoothed)

    def timeout_s(self, backoff: int = 0) -> float:
        """How long to wait before sending again, after `backoff` timeouts in a row."""
        if self.smoothed_s is None:
            timeout = self._initial_s
        else:
            timeout = max(self.smoothed_s + 4 * self.variance_s, self._min_s)
            if not self.measured:
                timeout = min(timeout, self._initial_s)
        # 2**32 exceeds every maximum; bounding the exponent keeps the float finite.
        return float(min(timeout * (1 << min(backoff, 32)), self._max_s))

    def reset(self) -> None:
        """Forget the path: a move must not judge the new path by the old (RFC 9000 9.4)."""
        self.smoothed_s = None
        self.variance_s = 0.0
        self.least_s = None
        self.measured = False
