"""Why the handshake is not the unweighted sum: the attack on the sum, and the same attack here.

The sum `(t + s)(E + C) = (e + c)(T + S)` looks like four Diffie-Hellman operations for the price
of one. A stranger who knows only the name `S` publishes `T = yG - S`. Then `T + S = yG`, so the
secret is `y(E + C)`, and the stranger is taken for the responder without any of its keys.
"""

from __future__ import annotations

from hashlib import blake2b

import pytest
from nacl import bindings

from tests.support.pair.handshake import NOW, Pair, seeded
from transport.core.crypto.keys import Identity, KeyPair
from transport.core.errors import WireError
from transport.core.handshake.key_exchange import (
    MODE_CHALLENGED,
    USE_ACCEPT,
    answer_nn,
    begin_kx,
    prologue,
)
from transport.core.handshake.transient import verify_transient_untrusted
from transport.core.handshake.wire import (
    ACCEPT_PREFIX,
    HEADER_SIZE,
    KX_AT,
    NN_SIZE,
    TRANSIENT_PART,
    Sealed,
    TransientPart,
    decode_challenge_untrusted,
    encode_challenge,
    encode_sealed,
)
from transport.core.initiator import candidates

add = bindings.crypto_core_ed25519_add
subtract = bindings.crypto_core_ed25519_sub
base = bindings.crypto_scalarmult_ed25519_base_noclamp
multiply = bindings.crypto_scalarmult_ed25519_noclamp


def scalar(random: bytes) -> bytes:
    """What X25519 would use of these bytes, reduced so that the curve's own functions take it."""
    clamped = bytearray(random)
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    return bindings.crypto_core_ed25519_scalar_reduce(bytes(clamped) + bytes(32))


def sum_secret(ours: tuple[bytes, bytes], theirs: tuple[bytes, bytes]) -> bytes:
    """The broken handshake: (sum of our scalars) times (sum of their points), hashed."""
    total = bindings.crypto_core_ed25519_scalar_add(*ours)
    return blake2b(multiply(total, add(*theirs)), digest_size=32).digest()


def montgomery(point: bytes) -> bytes:
    return bindings.crypto_sign_ed25519_pk_to_curve25519(point)


class Stranger:
    """Knows the name of the responder it wants to be, and a `y` of its own."""

    def __init__(self, name: bytes) -> None:
        self.y = seeded(99)(32)
        self.transient = subtract(base(scalar(self.y)), name)


def test_the_sum_works_between_honest_sides() -> None:
    draw = seeded(7)
    s, t, c, e = (scalar(draw(32)) for _ in range(4))
    assert sum_secret((t, s), (base(e), base(c))) == sum_secret((e, c), (base(t), base(s)))


def test_a_stranger_impersonates_the_responder_against_the_sum() -> None:
    draw = seeded(7)
    responder = Identity.generate(draw)
    stranger = Stranger(responder.key)
    c, e = scalar(draw(32)), scalar(draw(32))
    initiators = sum_secret((e, c), (stranger.transient, responder.key))
    # y(E + C): what everybody saw, and nothing of the responder's.
    total = multiply(scalar(stranger.y), add(base(e), base(c)))
    assert blake2b(total, digest_size=32).digest() == initiators


def strangers_challenge(pair: Pair, stranger: Stranger, genuine: bytes) -> bytes:
    """The responder's challenge with the stranger's `T` put in, and its hint made to fit."""
    challenge = decode_challenge_untrusted(genuine)
    part = TransientPart(*TRANSIENT_PART.unpack(challenge.transient_part))
    public = montgomery(stranger.transient)
    hint = blake2b(b"quorate hint" + public, digest_size=8, key=pair.there.key).digest()
    part = part._replace(transient=public, hint=hint)
    return encode_challenge(challenge._replace(transient_part=TRANSIENT_PART.pack(*part)))


def test_the_same_p2_fails_here_because_nobody_signed_it() -> None:
    pair = Pair()
    stranger = Stranger(pair.there.key)
    initiator = pair.initiator()
    genuine = pair.challenge(initiator.hello(NOW))
    forged = strangers_challenge(pair, stranger, genuine)
    part = TransientPart(*TRANSIENT_PART.unpack(decode_challenge_untrusted(forged)[3]))
    with pytest.raises(WireError, match="nobody signed"):
        verify_transient_untrusted(pair.there.key, part, decode_challenge_untrusted(forged).time)
    assert not initiator.receive_challenge_untrusted(forged, NOW)
    assert not initiator.ready
    assert initiator.receive_challenge_untrusted(genuine, NOW)


def test_the_same_t_fails_here_even_without_the_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Take the signature away, and the three separate operations still hold: the secret needs
    # s itself in `se` and t itself in `ee` and `es`, and the stranger knows only t + s.
    monkeypatch.setattr(candidates, "verify_transient_untrusted", lambda *_: b"")
    pair = Pair()
    stranger = Stranger(pair.there.key)
    initiator = pair.initiator()
    offer = strangers_challenge(pair, stranger, pair.challenge(initiator.hello(NOW)))
    assert initiator.receive_challenge_untrusted(offer, NOW)
    p3 = initiator.initiate(b"secret words", NOW)
    bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], offer, p3[:HEADER_SIZE])
    transient = montgomery(stranger.transient)
    y_public = montgomery(base(scalar(stranger.y)))
    guesses = [stranger.y, bytes(32), seeded(3)(32)]
    tried = 0
    for s in guesses:
        for t in guesses:
            kx = begin_kx(KeyPair(s, pair.there.static), KeyPair(t, transient), bound)
            with pytest.raises(WireError):
                kx.read_message_untrusted(p3[KX_AT:-NN_SIZE])
            tried += 1
    assert tried == 9
    # What it can compute is the sum's secret; as the key of a P4 it opens nothing.
    ephemeral = p3[KX_AT : KX_AT + 32]
    for psk in (
        bindings.crypto_scalarmult(stranger.y, ephemeral),
        bindings.crypto_scalarmult(stranger.y, pair.here.static),
        y_public,
        bytes(32),
    ):
        nn = answer_nn(USE_ACCEPT, kx.hash, psk)
        with pytest.raises(WireError):
            nn.read_message_untrusted(p3[-NN_SIZE:])
        # Even one that ignores that it cannot read E2's tag cannot write a P4 that opens.
        nn.set_ephemeral(KeyPair(seeded(5)(32)))
        sealed = Sealed(b"M" * 8, b"B" * 8, 1, 0, 0, b"", pair.config.lists, b"")
        p4 = (
            ACCEPT_PREFIX
            + initiator.echo
            + nn.write_message(encode_sealed(sealed, initiator=False))
        )
        assert initiator.receive_accept_untrusted(p4, NOW) is None


def test_with_the_responders_own_keys_that_very_path_opens() -> None:
    # The control: the same code with the real s and t reads P3, so the failures above are real.
    pair = Pair()
    initiator = pair.initiator()
    offer = pair.challenge(initiator.hello(NOW))
    assert initiator.receive_challenge_untrusted(offer, NOW)
    p3 = initiator.initiate(b"secret words", NOW)
    bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], offer, p3[:HEADER_SIZE])
    transient = pair.responder._transients.current.pair
    kx = begin_kx(pair.there.static_pair(), transient, bound)
    assert kx.read_message_untrusted(p3[KX_AT:-NN_SIZE]).endswith(b"secret words")
    nn = answer_nn(USE_ACCEPT, kx.hash, kx.split()[0])
    assert nn.read_message_untrusted(p3[-NN_SIZE:]) == b""
    nn.set_ephemeral(KeyPair(seeded(5)(32)))
    sealed = Sealed(b"M" * 8, b"B" * 8, 1, 0, 0, b"", pair.config.lists, b"the reply")
    p4 = ACCEPT_PREFIX + initiator.echo + nn.write_message(encode_sealed(sealed, initiator=False))
    here = initiator.receive_accept_untrusted(p4, NOW)
    assert here is not None
    assert here.reply == b"the reply"


def test_a_responder_with_s_and_without_t_cannot_read_p3() -> None:
    # A thief of the identity, later: T was in memory only, so what was recorded stays closed.
    pair = Pair()
    initiator = pair.initiator()
    offer = pair.challenge(initiator.hello(NOW))
    initiator.receive_challenge_untrusted(offer, NOW)
    p3 = initiator.initiate(b"secret words", NOW)
    bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], offer, p3[:HEADER_SIZE])
    public = pair.responder._transients.current.pair.public
    for guess in (pair.there.static_pair().secret, seeded(4)(32)):
        kx = begin_kx(pair.there.static_pair(), KeyPair(guess, public), bound)
        with pytest.raises(WireError):
            kx.read_message_untrusted(p3[KX_AT:-NN_SIZE])
