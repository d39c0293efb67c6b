"""Simultaneous open: two peers behind address translators, each told of the other.

An introducer hands both the other's signed transient record and a token of 16 bytes. The side with
the larger static key takes the responder's part and probes at once; the other begins half a round
trip later, so that its own translator is open when the first probe arrives. What it answers to a
probe is P3 (`KK1`), and both sides are up one round trip after it came.

Threat: an introducer that wants to send traffic at a third party, or to sit between. Property: a
node sends at most `PROBES_MAX` probes of 20 bytes to each of at most `PROBE_ADDRESSES_MAX`
addresses, and P3 only to where a probe under the token came from, to eight addresses at most and
six times each; who answers must have the keys of the signed records. The introducer can forge that
probe, because it knows the token: the bound is what is left of the property against it.
"""

from __future__ import annotations

from hashlib import blake2b

from transport.core.constants import (
    KIND_PROBE,
    MAGIC,
    MEETING_TOKEN_SIZE,
    PROBE_ADDRESSES_MAX,
    PROBES_MAX,
)
from transport.core.crypto.keys import Identity, equal, static_of_key_untrusted
from transport.core.errors import LocalError
from transport.core.handshake.negotiation import Established, HandshakeConfig
from transport.core.handshake.states import PROBING_INITIATOR, PROBING_RESPONDER, Course, On, State
from transport.core.handshake.ticket import Invitation, meeting
from transport.core.handshake.transient import RECORD_SIZE, decode_record_untrusted
from transport.core.initiator.initiator import Initiator
from transport.core.responder.responder import Responder
from transport.core.types import Address, RandomBytes, Transmit

_PROBE_LABEL = b"quorate probe"
PROBE_PREFIX = MAGIC + bytes([KIND_PROBE])
_TAG_SIZE = 16
PROBE_SIZE = len(PROBE_PREFIX) + _TAG_SIZE
_RTT_MIN_S = 0.01
_RTT_MAX_S = 2.0
_SIGNED_SIZE = RECORD_SIZE + 64
MEETING_LIFE_S = 4.0 * _RTT_MAX_S * PROBES_MAX
"""How long the responder's part expects P3."""


def is_responder(own_static: bytes, peer_static: bytes) -> bool:
    """Who takes the responder's part: the larger static key, compared byte by byte."""
    return own_static > peer_static


def probe_of(token: bytes, sender: bytes) -> bytes:
    """The probe a side sends; of the other side's it is no copy, so an echo proves nothing."""
    tag = blake2b(_PROBE_LABEL + sender, digest_size=_TAG_SIZE, key=token).digest()
    return PROBE_PREFIX + tag


class SimultaneousOpen:
    """One side of one meeting: the four verbs, until a P3 is sent or expected no longer."""

    __slots__ = (
        "_addresses",
        "_answered",
        "_course",
        "_initiate",
        "_initiator",
        "_known",
        "_meeting",
        "_next_at",
        "_out",
        "_probe",
        "_probe_of_peer",
        "_rounds",
        "_rtt_s",
        "first_data",
        "peer",
    )

    def __init__(
        self,
        identity: Identity,
        responder: Responder,
        peer: bytes,
        config: HandshakeConfig,
        random: RandomBytes,
        *,
        token: bytes,
        own_record: bytes,
        peer_record: bytes,
        addresses: list[Address],
        rtt_s: float,
        message_cid: bytes,
        bulk_cid: bytes,
        incarnation: int,
        first_data: bytes,
        now: float,
    ) -> None:
        """Both records were published through the introducer, and `rtt_s` is its guess. Raises
        `LocalError` for a token, addresses or ids that cannot be, `WireError` for a bad record."""
        if not addresses or len(token) != MEETING_TOKEN_SIZE:
            raise LocalError("a meeting needs addresses and a token of 16 bytes")
        self._known = decode_record_untrusted(peer, peer_record, max(config.handshakes), now)
        responding = is_responder(identity.static, static_of_key_untrusted(peer))
        # Both sides bind the meeting to the initiator's record and then the responder's.
        mine, theirs = own_record[:_SIGNED_SIZE], peer_record[:_SIGNED_SIZE]
        context, holder = (theirs + mine, peer) if responding else (mine + theirs, identity.key)
        self._meeting: Invitation = meeting(token, holder, context, now + MEETING_LIFE_S)
        if responding:
            responder.invite(self._meeting, now)
        self._initiator = None if responding else Initiator(
            identity, peer, config, random,
            message_cid=message_cid, bulk_cid=bulk_cid, incarnation=incarnation,
        )  # fmt: skip
        self.peer, self.first_data = peer, first_data
        self._probe, self._probe_of_peer = probe_of(token, identity.key), probe_of(token, peer)
        self._addresses = addresses[:PROBE_ADDRESSES_MAX]
        self._begin(responding, rtt_s, now)

    def _begin(self, responding: bool, rtt_s: float, now: float) -> None:
        self._course = Course(PROBING_RESPONDER if responding else PROBING_INITIATOR)
        self._answered: list[Address] = []
        self._rtt_s = min(max(rtt_s, _RTT_MIN_S), _RTT_MAX_S)
        self._next_at: float | None = now if responding else now + self._rtt_s / 2
        self._rounds = 0
        self._initiate = b""
        self._out: list[Transmit] = []

    @property
    def state(self) -> State:
        """Where this side stands (`states.PROBING_INITIATOR`, `states.PROBING_RESPONDER`)."""
        return self._course.state

    @property
    def initiator(self) -> Initiator | None:
        """What makes P3 and takes P4; None in the responder's part."""
        return self._initiator

    @property
    def expected(self) -> bytes:
        """The probe that the other side sends."""
        return self._probe_of_peer

    @property
    def answered(self) -> tuple[Address, ...]:
        """Where a probe of the other side came from."""
        return tuple(self._answered)

    @property
    def usable(self) -> bool:
        """A probe of the other side would be answered with P3, for the first time."""
        return self._initiator is not None and not self._initiate

    @property
    def echo(self) -> bytes:
        """What P4 bears; b"" for the responder's part and before P3."""
        return self._initiator.echo if self._initiator is not None else b""

    def receive_untrusted(self, data: bytes, address: Address, now: float) -> Established | None:
        """Take a probe or a P4. Raises nothing. A P3 goes to the `Responder`, as any P3."""
        if len(data) == PROBE_SIZE and equal(data, self._probe_of_peer):
            self._probed(address, now)
        elif self._initiator is not None and self._initiate:
            established = self._initiator.receive_accept_untrusted(data, now)
            if established is not None:
                self._next_at = None
            return established
        return None

    def admitted(self) -> None:
        """The responder has admitted the peer's P3: there is nothing to probe any more."""
        if self._course.allows(On.AUTHENTIC):
            self._course.take(On.AUTHENTIC)
            self._next_at = None

    def handle_timeout(self, now: float) -> None:
        """Probe, or retransmit P3, when it is time."""
        if self._next_at is None or now < self._next_at:
            return
        if self._rounds >= PROBES_MAX:
            self._next_at = None
            if self._course.allows(On.EXHAUSTED):
                self._course.take(On.EXHAUSTED)
            return
        self._rounds += 1
        self._next_at += self._rtt_s
        if self._initiate:
            self._out.extend(Transmit(self._initiate, address) for address in self._answered)
            return
        self._course.take(On.TIMER)
        self._out.extend(Transmit(self._probe, address) for address in self._addresses)

    def poll_transmits(self) -> list[Transmit]:
        """What is to be sent now."""
        out, self._out = self._out, []
        return out

    def next_timeout(self) -> float | None:
        """When `handle_timeout` is wanted; None: never again."""
        return self._next_at

    def _probed(self, address: Address, now: float) -> None:
        if address in self._answered or len(self._answered) >= PROBE_ADDRESSES_MAX:
            return
        if not self._course.allows(On.PROBE):
            return
        if self._initiator is None:
            self._course.take(On.PROBE)
            self._answered.append(address)
            self._out.append(Transmit(self._probe, address))
            return
        if not self._initiate:
            if not self._known.is_usable(now):
                return
            self._initiate = self._initiator.initiate_invited(
                self._meeting, self._known, self.first_data, now
            )
            self._rounds = 0
            self._next_at = now + self._rtt_s * 2
        self._course.take(On.PROBE)
        self._answered.append(address)
        # To every address a probe comes from, the same bytes: one of them may be a recording.
        self._out.append(Transmit(self._initiate, address))

    def __repr__(self) -> str:
        return f"SimultaneousOpen(with {self.peer.hex()[:16]}, {self.state})"


__all__ = [
    "MEETING_LIFE_S",
    "PROBE_PREFIX",
    "PROBE_SIZE",
    "SimultaneousOpen",
    "is_responder",
    "probe_of",
]
