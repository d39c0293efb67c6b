"""The two Noise runs of a handshake, and what binds them together.

`Noise_KX` with the *responder* as Noise's initiator and its transient as the `e` message, then
`Noise_NNpsk0` keyed by KX's first split key: X3DH in standard Noise. All the responder ever
encrypts is under its fresh `E3`, because `T` is used for minutes and Noise forbids encrypting
twice under one ephemeral. Which pattern the first run has is the variant's (`variants`).
"""

from __future__ import annotations

from hashlib import blake2b

from transport.core.constants import HANDSHAKE_1, HANDSHAKE_2, HASH_SIZE, KEY_SIZE, VERSION
from transport.core.crypto.keys import KeyPair
from transport.core.crypto.noise import HandshakeState
from transport.core.errors import WireError
from transport.core.handshake.variants import FIRST_CONTACT, KNOWN, Variant

_NNPSK0 = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2b"
_PROLOGUE_LABELS = {
    HANDSHAKE_1: b"quorate first contact 1",
    HANDSHAKE_2: b"quorate first contact 2",
}
_NN_LABEL = b"quorate second half"
_ANONYMOUS_LABEL = b"quorate anonymous"

MODE_CHALLENGED = FIRST_CONTACT.mode
"""P3 answers a P2."""
MODE_KNOWN = KNOWN.mode
"""P3 to a transient known beforehand (0-RTT)."""

USE_ACCEPT = b"accept"
USE_REKEY = b"rekey"
USE_TICKET = b"ticket"

NO_HASH = bytes(HASH_SIZE)


def prologue(mode: int, handshake: int, hello_hash: bytes, offer: bytes, header: bytes) -> bytes:
    """KX's prologue: 32 bytes over all that went in clear before.

    `hello_hash` is H(P1), or zeros; `offer` is P2, or the signed transient record; `header` is
    P3's clear header without the solution, which is computed from the rest. Raises `WireError` for
    a handshake id that does not exist.
    """
    label = _PROLOGUE_LABELS.get(handshake)
    if label is None:
        raise WireError("no such handshake")
    fixed = label + bytes((mode, VERSION, handshake))
    return blake2b(fixed + hello_hash + offer + header, digest_size=HASH_SIZE).digest()


def anonymous_handle(handshake_hash: bytes) -> bytes:
    """What an initiator without a name is called: the second run's hash after its message 1 makes
    it, and bit 255 is set, which no name has."""
    handle = blake2b(_ANONYMOUS_LABEL + handshake_hash, digest_size=KEY_SIZE).digest()
    return handle[:-1] + bytes([handle[-1] | 0x80])


def context_hash(context: bytes) -> bytes:
    """What takes the place of H(P1) where an invitation let the initiator in."""
    return blake2b(context, digest_size=HASH_SIZE).digest()


def second_prologue(use: bytes, previous_hash: bytes) -> bytes:
    """NNpsk0's prologue: what it is used for, and the hash of the handshake before it.

    For a ticket that hash is followed by P3's clear header.
    """
    return _NN_LABEL + b" " + use + b" " + previous_hash


def begin_kx(
    static: KeyPair,
    transient: KeyPair,
    prologue_hash: bytes,
    variant: Variant = FIRST_CONTACT,
    remote_static: bytes | None = None,
    psk: bytes | None = None,
) -> HandshakeState:
    """The responder's side of the first run, which has sent `T` and waits for P3.

    `remote_static` and `psk` where the variant knows them.
    """
    state = HandshakeState(
        variant.noise,
        initiator=True,
        prologue=prologue_hash,
        static=static,
        ephemeral=transient,
        remote_static=remote_static,
        psks=() if psk is None else (psk,),
    )
    state.write_message()
    return state


def answer_kx(
    static: KeyPair | None,
    ephemeral: KeyPair,
    remote_static: bytes,
    transient: bytes,
    prologue_hash: bytes,
    variant: Variant = FIRST_CONTACT,
    psk: bytes | None = None,
    shared: bytes | None = None,
) -> HandshakeState:
    """The initiator's side of the first run, which has got `T` and is about to write P3.

    `static` is None where the initiator stays anonymous. `shared`: the Diffie-Hellman of
    `ephemeral` with `remote_static`, where it was computed beforehand. Raises `WireError` if
    `transient` is degenerate.
    """
    state = HandshakeState(
        variant.noise,
        initiator=False,
        prologue=prologue_hash,
        static=static,
        ephemeral=ephemeral,
        remote_static=remote_static,
        psks=() if psk is None else (psk,),
        shared=shared,
    )
    message = transient
    if psk is not None:
        message = _tagged(static, remote_static, transient, prologue_hash, variant, psk)
    state.read_message_untrusted(message)
    return state


def _tagged(
    static: KeyPair | None,
    remote_static: bytes,
    transient: bytes,
    prologue_hash: bytes,
    variant: Variant,
    psk: bytes,
) -> bytes:
    """`T` with the tag of an empty payload, which patterns with a psk seal behind it. Its key comes
    from what both know before any secret, so each side makes the tag itself, and it does not
    travel."""
    unknown = bytes(KEY_SIZE)
    return HandshakeState(
        variant.noise,
        initiator=True,
        prologue=prologue_hash,
        static=KeyPair(unknown, remote_static),
        ephemeral=KeyPair(unknown, transient),
        remote_static=static.public if static and variant.knows_initiator else None,
        psks=(psk,),
    ).write_message()


def begin_nn(use: bytes, previous_hash: bytes, psk: bytes, ephemeral: KeyPair) -> HandshakeState:
    """The side of NNpsk0 that writes first."""
    return HandshakeState(
        _NNPSK0,
        initiator=True,
        prologue=second_prologue(use, previous_hash),
        ephemeral=ephemeral,
        psks=(psk,),
    )


def answer_nn(use: bytes, previous_hash: bytes, psk: bytes) -> HandshakeState:
    """The side of NNpsk0 that answers; it draws its ephemeral only when it does."""
    return HandshakeState(
        _NNPSK0,
        initiator=False,
        prologue=second_prologue(use, previous_hash),
        psks=(psk,),
    )
