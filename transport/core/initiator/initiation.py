"""How an initiator makes its P3s: what each variant seals, and under what it is bound."""

from __future__ import annotations

from transport.core.constants import FIRST_DATA_SIZE_MAX, NONCE_SIZE
from transport.core.crypto.keys import Identity, KeyPair, diffie_hellman_untrusted
from transport.core.crypto.noise import HandshakeState
from transport.core.errors import LocalError
from transport.core.handshake.circle import CircleSecret, period_of, ticks_of
from transport.core.handshake.key_exchange import (
    NO_HASH,
    USE_ACCEPT,
    USE_TICKET,
    answer_kx,
    begin_nn,
    context_hash,
    prologue,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.ticket import Invitation
from transport.core.handshake.transient import KnownTransient, ticks
from transport.core.handshake.variants import KNOWN, TICKET, Variant
from transport.core.handshake.wire import (
    Sealed,
    encode_hello,
    encode_invited_header,
    encode_known_header,
    encode_sealed,
    encode_ticket_header,
)
from transport.core.types import RandomBytes

_TICKS_MASK = 2**32 - 1


class InitiationWriter:
    """Makes P3s of one attempt; every one under ephemerals of its own, which serve it alone."""

    __slots__ = (
        "_cids",
        "_config",
        "_holder",
        "_incarnation",
        "_peer",
        "_peer_static",
        "_prepared",
        "_random",
        "_static",
        "refusal_hash",
    )

    def __init__(
        self,
        identity: Identity,
        peer: bytes,
        peer_static: bytes,
        config: HandshakeConfig,
        random: RandomBytes,
        *,
        cids: tuple[bytes, bytes],
        incarnation: int,
        anonymous: bool,
    ) -> None:
        self._static = None if anonymous else identity.static_pair()
        self._holder = identity.key
        self._peer = peer
        self._peer_static = peer_static
        self._config = config
        self._random = random
        self._cids = cids
        self._incarnation = incarnation
        self._prepared: tuple[KeyPair, KeyPair, bytes] | None = None
        """`E`, `E2` and the Diffie-Hellman of `E` with the peer's static key, for the next P3."""
        self.refusal_hash = b""
        """Of the refusal that was followed."""

    def prepare(self) -> None:
        """Make what the next P3 needs and no P2 has a part in: its ephemerals, and a Diffie-Hellman
        operation. To be called while there is nothing else to do."""
        if self._prepared is None:
            first, second = KeyPair.generate(self._random), KeyPair.generate(self._random)
            shared = diffie_hellman_untrusted(first.secret, self._peer_static)
            self._prepared = first, second, shared

    def hello(self, offer: tuple[int, ...], circle: CircleSecret | None, now: float) -> bytes:
        """P1, with a clue for a circle."""
        if circle is None:
            # A random origin: clear times that ran on would link this hello to others.
            origin = int.from_bytes(self._random(4), "big")
            time = origin + ticks(now) & _TICKS_MASK
            return encode_hello(self._random(NONCE_SIZE), time, offer)
        nonce = self._random(NONCE_SIZE)
        unix_s = now + self._config.unix_offset_s
        unix_ticks = ticks_of(unix_s)
        return encode_hello(
            nonce,
            circle.hide_time(nonce, unix_ticks),
            offer,
            circle.tag(period_of(unix_s)),
            circle.clue(nonce, unix_ticks),
        )

    def known(
        self, known: KnownTransient, first_data: bytes, now: float
    ) -> tuple[bytes, HandshakeState]:
        """P3 to a known transient, and the state that opens its P4."""
        self._check_known(known, now)
        header = encode_known_header(known.handshake, known.part.tid, known.clock(now))
        bound = prologue(KNOWN.mode, known.handshake, NO_HASH, known.signed, header)
        body, state = self.seal(KNOWN, known.part.transient, bound, None, first_data, 0, now)
        return header + body, state

    def invited(
        self, invitation: Invitation, known: KnownTransient, first_data: bytes, now: float
    ) -> tuple[bytes, HandshakeState]:
        """P3 with a third party's ticket, or to a meeting."""
        variant = invitation.variant
        if variant is TICKET:
            raise LocalError("the peer's own ticket needs no transient: initiate_ticket")
        self._check_known(known, now)
        self._check_invitation(invitation, now)
        header = encode_invited_header(
            variant.prefix, known.handshake, known.part.tid, known.clock(now), invitation.id
        )
        context = context_hash(invitation.context)
        bound = prologue(variant.mode, known.handshake, context, known.signed, header)
        psk = invitation.psk if variant.has_psk else None
        body, state = self.seal(variant, known.part.transient, bound, psk, first_data, 0, now)
        return header + invitation.mac(header + body) + body, state

    def ticket(
        self, ticket: Invitation, first_data: bytes, now: float
    ) -> tuple[bytes, HandshakeState]:
        """P3 with a ticket the peer itself has issued."""
        if ticket.variant is not TICKET:
            raise LocalError("not the peer's own ticket")
        self._check_invitation(ticket, now)
        header = encode_ticket_header(TICKET.prefix, max(self._config.handshakes), ticket.id)
        ephemeral = KeyPair.generate(self._random)
        state = begin_nn(USE_TICKET, ticket.context + header, ticket.psk, ephemeral)
        return header + state.write_message(self._sealed(first_data, 0, now)), state

    def seal(
        self,
        variant: Variant,
        transient: bytes,
        bound: bytes,
        psk: bytes | None,
        first_data: bytes,
        held: int,
        now: float,
    ) -> tuple[bytes, HandshakeState]:
        """Both Noise messages of P3, under an `E` and an `E2` for this one byte string (HR8)."""
        self.prepare()
        assert self._prepared is not None
        (ephemeral, second, shared), self._prepared = self._prepared, None
        kx = answer_kx(
            self._static, ephemeral, self._peer_static, transient, bound, variant, psk, shared
        )
        first = kx.write_message(self._sealed(first_data, held, now))
        nn = begin_nn(USE_ACCEPT, kx.hash, kx.split()[0], second)
        return first + nn.write_message(), nn

    def _sealed(self, first_data: bytes, held: int, now: float) -> bytes:
        if len(first_data) > FIRST_DATA_SIZE_MAX:
            raise LocalError("first data too long")
        sealed = Sealed(
            *self._cids,
            self._incarnation,
            round((now + self._config.clock_origin_s) * 1e6),
            held,
            self.refusal_hash,
            self._config.lists,
            first_data,
        )
        return encode_sealed(sealed, initiator=True)

    def _check_known(self, known: KnownTransient, now: float) -> None:
        if known.peer != self._peer or not known.is_usable(now):
            raise LocalError("not a transient of this peer, or too old")
        if known.handshake != max(self._config.handshakes):
            raise LocalError("the transient was learned with another handshake")

    def _check_invitation(self, invitation: Invitation, now: float) -> None:
        if invitation.holder != self._holder or invitation.expires_at <= now:
            raise LocalError("an invitation for somebody else, or too old")

    def __repr__(self) -> str:
        return f"InitiationWriter(to {self._peer.hex()[:16]})"
