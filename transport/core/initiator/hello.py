"""P1 of one attempt, and what its answers are known by."""

from __future__ import annotations

from hashlib import blake2b

from transport.core.constants import ECHO_SIZE, HASH_SIZE


class Hello:
    """The P1 that is out, if one is; the same bytes until a refusal asks for another offer."""

    __slots__ = ("_at", "_times", "data", "hash", "rtt_s")

    def __init__(self) -> None:
        self.data = b""
        self.hash = b""
        """H(P1), or of the P3 that was sent in its place; b"" before the first datagram."""
        self.rtt_s: float | None = None
        """A round trip, if there was only one copy that P2 could answer."""
        self._at: float | None = None
        self._times = 0

    @property
    def echo(self) -> bytes:
        """What P2s and P4s bear: the beginning of the hash."""
        return self.hash[:ECHO_SIZE]

    def made(self, data: bytes, now: float) -> None:
        """This is P1 from now on."""
        self.data = data
        self.hash = _hash(data)
        self._at = now
        self._times = 0

    def skipped(self, initiate: bytes) -> None:
        """This P3 was sent without a P1: a P2 that defers it takes its hash for H(P1), and so does
        the P3 that follows."""
        self.hash = _hash(initiate)

    def sent(self) -> bytes:
        """A copy leaves."""
        self._times += 1
        return self.data

    def answered(self, now: float) -> None:
        """A P2 that bears the peer's signature came."""
        if self._times == 1 and self._at is not None and self.rtt_s is None:
            self.rtt_s = max(0.0, now - self._at)

    def refused(self) -> None:
        """Another one is wanted."""
        self.data = self.hash = b""


def _hash(datagram: bytes) -> bytes:
    return blake2b(datagram, digest_size=HASH_SIZE).digest()
