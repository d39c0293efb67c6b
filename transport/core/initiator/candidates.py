"""P2s that a P3 may answer: which were looked at, and which wait."""

from __future__ import annotations

from typing import NamedTuple

from transport.core.constants import CHALLENGE_CHECKS_MAX, CHALLENGES_MAX
from transport.core.crypto.keys import equal
from transport.core.errors import WireError
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.transient import hint_of, verify_transient_untrusted
from transport.core.handshake.wire import (
    TRANSIENT_PART,
    Challenge,
    TransientPart,
    without_hint,
)


class Candidate(NamedTuple):
    """A challenge that bears the peer's signature."""

    challenge: Challenge
    part: TransientPart
    datagram: bytes
    received_at: float


def _by_effort(candidate: Candidate) -> int:
    return candidate.challenge.effort


class Candidates:
    """Challenges to one attempt that no P3 has answered, the least effort first.

    Anybody on the path can send P2s, and each costs the check of a signature: so few are checked,
    and fewer are believed.
    """

    __slots__ = ("_checks", "_considered", "_peer", "_waiting")

    def __init__(self, peer: bytes) -> None:
        self._peer = peer
        self._waiting: list[Candidate] = []
        self._considered: set[bytes] = set()
        self._checks = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def any_considered(self) -> bool:
        """One has come that bore the peer's signature."""
        return bool(self._considered)

    def may_consider(self, data: bytes) -> bool:
        """Whether this one is new, and within the bounds."""
        return (
            data not in self._considered
            and len(self._considered) < CHALLENGES_MAX
            and self._checks < CHALLENGE_CHECKS_MAX
        )

    def consider_untrusted(
        self,
        data: bytes,
        challenge: Challenge,
        circle: CircleSecret | None,
        hello_hash: bytes,
        now: float,
    ) -> None:
        """Add it. Raises `WireError` if it shows no secret of the circle, or no signature."""
        part = TransientPart(*TRANSIENT_PART.unpack(challenge.transient_part))
        if circle is not None:
            if not equal(circle.counter_clue(hello_hash, without_hint(data)), part.hint):
                raise WireError("no member's")
            part = part._replace(hint=hint_of(self._peer, part.transient))
        self._checks += 1
        verify_transient_untrusted(self._peer, part, challenge.time)
        self._considered.add(data)
        self._waiting.append(Candidate(challenge, part, data, now))
        self._waiting.sort(key=_by_effort)

    def take(self) -> Candidate:
        """The one of least effort, which waits no longer."""
        return self._waiting.pop(0)

    def clear(self) -> None:
        """None is wanted any more."""
        self._waiting.clear()
