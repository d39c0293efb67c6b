"""The variants of a handshake: what tells them apart on the wire and in Noise.

Each runs another Noise pattern, or the same one under another mode in the prologue, so a datagram
of one never authenticates as one of another.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from transport.core.constants import (
    KIND_INITIATE,
    KIND_INITIATE_ANONYMOUS,
    KIND_INITIATE_CIRCLE,
    KIND_INITIATE_KNOWN,
    KIND_INITIATE_MET,
    KIND_INITIATE_TICKET,
    KIND_INITIATE_VOUCHED,
    MAGIC,
)


class Variant(NamedTuple):
    """One variant."""

    name: str
    """As the documentation calls it."""
    kind: int
    """Kind byte of its P3."""
    mode: int
    """What the prologue calls it."""
    pattern: str
    """Noise pattern of the first run, the responder being Noise's initiator."""
    challenged: bool = False
    """P3 answers a P2: it bears a cookie and a solution."""
    sends_static: bool = False
    """P3 holds the initiator's encrypted static key."""
    knows_initiator: bool = False
    """The responder knows the initiator's static key beforehand."""
    has_psk: bool = False
    """The first Noise run mixes in a shared secret."""

    @property
    def prefix(self) -> bytes:
        """How its P3 begins."""
        return MAGIC + bytes([self.kind])

    @property
    def noise(self) -> str:
        """Full protocol name of the first run."""
        return f"Noise_{self.pattern}_25519_ChaChaPoly_BLAKE2b"


FIRST_CONTACT: Final = Variant(
    "first contact", KIND_INITIATE, 1, "KX", challenged=True, sends_static=True
)
KNOWN: Final = Variant("known transient", KIND_INITIATE_KNOWN, 2, "KX", sends_static=True)
CIRCLE: Final = Variant(
    "limited circulation",
    KIND_INITIATE_CIRCLE,
    3,
    "KXpsk2",
    challenged=True,
    sends_static=True,
    has_psk=True,
)
ANONYMOUS: Final = Variant("anonymous initiator", KIND_INITIATE_ANONYMOUS, 4, "KN", challenged=True)
MET: Final = Variant("simultaneous open", KIND_INITIATE_MET, 5, "KK1", knows_initiator=True)
VOUCHED: Final = Variant(
    "third party's ticket",
    KIND_INITIATE_VOUCHED,
    6,
    "KK1psk2",
    knows_initiator=True,
    has_psk=True,
)
TICKET: Final = Variant(
    "own ticket", KIND_INITIATE_TICKET, 7, "NNpsk0", knows_initiator=True, has_psk=True
)

VARIANTS: Final = (FIRST_CONTACT, KNOWN, CIRCLE, ANONYMOUS, MET, VOUCHED, TICKET)
BY_PREFIX: Final = {variant.prefix: variant for variant in VARIANTS}

assert len(BY_PREFIX) == len(VARIANTS) == len({variant.mode for variant in VARIANTS})
