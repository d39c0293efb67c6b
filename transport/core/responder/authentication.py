"""The expensive part of a P3: three Diffie-Hellman operations, and what they prove."""

from __future__ import annotations

from typing import NamedTuple

from transport.core.crypto.keys import Identity, key_of_static_untrusted, static_of_key_untrusted
from transport.core.crypto.noise import HandshakeState
from transport.core.errors import WireError
from transport.core.handshake.key_exchange import (
    USE_ACCEPT,
    USE_TICKET,
    anonymous_handle,
    answer_nn,
    begin_kx,
    prologue,
)
from transport.core.handshake.negotiation import HandshakeConfig, negotiate_untrusted
from transport.core.handshake.states import On
from transport.core.handshake.ticket import Invitation
from transport.core.handshake.transient import Burnt, Transient, seconds
from transport.core.handshake.variants import Variant
from transport.core.handshake.wire import (
    NN_SIZE,
    TICKET_HEADER_SIZE,
    Sealed,
    decode_sealed_untrusted,
)
from transport.core.responder.incoming import Admitted
from transport.core.types import Address, RandomBytes


class Waiting(NamedTuple):
    """A P3 that has passed every check but the expensive one."""

    data: bytes
    address: Address
    transient: Transient
    name: int | bytes
    """What it is remembered by: a sequence, an ephemeral, an invitation's id."""
    entry: Burnt
    variant: Variant
    choice: int
    context: bytes
    """H(P1), or what takes its place in the prologue."""
    echo: bytes
    offer: bytes
    """P2 rebuilt, or the signed record: what the prologue covers."""
    header_size: int
    kx_at: int
    end: int
    """Where the second Noise message ends."""
    psk: bytes | None
    holder: bytes | None
    """The initiator's name, where it is known beforehand."""
    received_at: float
    age_s: float | None
    """Since P2; None where there was none."""

    def __repr__(self) -> str:
        """Without what it holds: one field is a secret."""
        return f"Waiting({self.variant.name}, {len(self.data)} bytes)"


class Authenticator:
    """Turns P3s that have earned it into admitted ones."""

    __slots__ = ("_config", "_identity", "_random", "_refusal_hash", "_static")

    def __init__(
        self,
        identity: Identity,
        config: HandshakeConfig,
        random: RandomBytes,
        refusal_hash: bytes,
    ) -> None:
        self._identity = identity
        self._static = identity.static_pair()
        self._config = config
        self._random = random
        self._refusal_hash = refusal_hash

    def authenticate(self, waiting: Waiting) -> Admitted | None:
        """The admitted P3, or None for one that is not authentic or cannot be served."""
        try:
            return self._authenticate_untrusted(waiting)
        except WireError:
            waiting.entry.failures += 1
            waiting.entry.take(On.FORGED)
            return None

    def _authenticate_untrusted(self, waiting: Waiting) -> Admitted | None:
        data, transient, variant = waiting.data, waiting.transient, waiting.variant
        header = data[: waiting.header_size]
        bound = prologue(variant.mode, waiting.choice, waiting.context, waiting.offer, header)
        known = None if waiting.holder is None else static_of_key_untrusted(waiting.holder)
        kx = begin_kx(self._static, transient.pair, bound, variant, known, waiting.psk)
        split = waiting.end - NN_SIZE
        plaintext = kx.read_message_untrusted(data[waiting.kx_at : split])
        nn = answer_nn(USE_ACCEPT, kx.hash, kx.split()[0])
        if nn.read_message_untrusted(data[split : waiting.end]):
            raise WireError("payload where there is none")
        # Authentic from here on. Nothing that fails now may be tried again under this name.
        waiting.entry.take(On.AUTHENTIC)
        ephemeral = kx.remote_ephemeral
        assert ephemeral is not None
        if kx.remote_static == self._static.public or not transient.remember_ephemeral(ephemeral):
            return None
        try:
            peer = waiting.holder or self._name_untrusted(kx.remote_static, nn.hash)
            sealed, suite = self._sealed_untrusted(plaintext, waiting.choice)
        except WireError:
            return None
        age_s = waiting.age_s
        rtt_s = None if age_s is None else max(0.0, age_s - seconds(sealed.held_ticks))
        return Admitted(
            peer,
            sealed,
            nn,
            address=waiting.address,
            suite=suite,
            echo=waiting.echo,
            transient=transient,
            name=waiting.name,
            config=self._config,
            random=self._random,
            now=waiting.received_at,
            rtt_s=rtt_s,
            size=len(data),
        )

    def open_ticket_untrusted(
        self, data: bytes, ticket: Invitation, choice: int
    ) -> tuple[HandshakeState, Sealed, int]:
        """A P3 with our own ticket: its state, what it seals, the suite. No Diffie-Hellman.

        Raises `WireError` if it is not authentic, or there is nothing in common.
        """
        header = data[:TICKET_HEADER_SIZE]
        nn = answer_nn(USE_TICKET, ticket.context + header, ticket.psk)
        plaintext = nn.read_message_untrusted(data[TICKET_HEADER_SIZE:])
        sealed, suite = self._sealed_untrusted(plaintext, choice)
        return nn, sealed, suite

    def admit_ticket(
        self,
        holder: bytes,
        opened: tuple[HandshakeState, Sealed, int],
        transient: Transient,
        name: bytes,
        echo: bytes,
        address: Address,
        size: int,
        now: float,
    ) -> Admitted:
        """What `open_ticket_untrusted` opened, admitted."""
        nn, sealed, suite = opened
        return Admitted(
            holder,
            sealed,
            nn,
            address=address,
            suite=suite,
            echo=echo,
            transient=transient,
            name=name,
            config=self._config,
            random=self._random,
            now=now,
            rtt_s=None,
            size=size,
        )

    def _sealed_untrusted(self, plaintext: bytes, choice: int) -> tuple[Sealed, int]:
        sealed = decode_sealed_untrusted(plaintext, initiator=True)
        suite, _ = negotiate_untrusted(self._config.lists, sealed.lists, choice)
        if sealed.refusal_hash and sealed.refusal_hash != self._refusal_hash:
            # Somebody refused in our name, and said that we can do something else.
            raise WireError("a refusal we never sent")
        return sealed, suite

    @staticmethod
    def _name_untrusted(static: bytes | None, handshake_hash: bytes) -> bytes:
        """The peer's name; for one that gives none, a handle no key can have."""
        if static is not None:
            return key_of_static_untrusted(static)
        return anonymous_handle(handshake_hash)

    def __repr__(self) -> str:
        return f"Authenticator({self._identity!r})"
