"""For each rule on keys that says what it prevents: the attack, first with the rule taken away.

The switch is always here in the test: a check is patched out, and the attack succeeds; then the
same attack meets the rule. Those on what strangers can cost and others can learn are in
`test_attacks_cost`; others are next to what they are about: the sum (`test_handshake_sum`),
clues (`test_closed`), vouchers (`test_invitation`), introducers (`test_simultaneous`), stolen keys
(`test_stolen_keys`), floods (`test_flood`).
"""

from __future__ import annotations

import pytest

from tests.support.pair.handshake import HOME, NOW, Pair, seeded
from transport.core.crypto.keys import FIELD_PRIME, KeyPair, diffie_hellman_untrusted
from transport.core.crypto.noise import CipherState
from transport.core.errors import WireError
from transport.core.handshake.key_exchange import MODE_CHALLENGED, answer_kx, begin_kx, prologue
from transport.core.handshake.transient import Transient, hint_of
from transport.core.handshake.wire import (
    HEADER_SIZE,
    KX_AT,
    NN_SIZE,
    TRANSIENT_PART,
    TransientPart,
    decode_challenge_untrusted,
    decode_initiate_untrusted,
    encode_challenge,
)
from transport.core.initiator import candidates
from transport.core.responder import authentication
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply

Patch = pytest.MonkeyPatch


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def test_an_unsigned_transient_would_open_first_data_to_a_later_thief(monkeypatch: Patch) -> None:
    """Rule: T's record is signed. Prevents: a forged T, kept until the static key is stolen."""
    forged_t = KeyPair(seeded(66)(32))

    def attack() -> bytes | None:
        pair = Pair()
        victim = pair.initiator()
        genuine = decode_challenge_untrusted(pair.challenge(victim.hello(NOW)))
        part = TransientPart(*TRANSIENT_PART.unpack(genuine.transient_part))
        part = part._replace(
            transient=forged_t.public, hint=hint_of(pair.there.key, forged_t.public)
        )
        forged = encode_challenge(genuine._replace(transient_part=TRANSIENT_PART.pack(*part)))
        if not victim.receive_challenge_untrusted(forged, NOW):
            return None
        p3 = victim.initiate(b"for S alone", NOW)
        # Later: the thief has S's secret, and had the forged T's all along.
        bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], forged, p3[:HEADER_SIZE])
        kx = begin_kx(pair.there.static_pair(), forged_t, bound)
        return kx.read_message_untrusted(p3[KX_AT:-NN_SIZE])

    with monkeypatch.context() as without:
        without.setattr(candidates, "verify_transient_untrusted", lambda *_: b"")
        opened = attack()
        assert opened is not None
        assert opened.endswith(b"for S alone")
    assert attack() is None


def test_one_ephemeral_for_two_p3s_would_give_the_second_away() -> None:
    """Rule: E serves one byte string. Prevents: two plaintexts under one key stream."""

    def ciphertexts(ephemerals: list[KeyPair]) -> tuple[bytes, bytes]:
        pair = Pair()
        secret: list[bytes] = []
        texts = (b"known to the attacker!", b"and this one not quite")
        for ephemeral, text in zip(ephemerals, texts, strict=True):
            # Another prologue each time, as after a deferral: it enters the hash, not the key.
            kx = answer_kx(
                pair.here.static_pair(),
                ephemeral,
                pair.there.static,
                pair.responder._transients.current.pair.public,
                prologue(MODE_CHALLENGED, 2, seeded(len(secret))(32), b"", b""),
            )
            secret.append(kx.write_message(text)[80:-16])
        return secret[0], secret[1]

    e = KeyPair(seeded(1)(32))
    one, two = ciphertexts([e, e])
    assert xor(xor(one, two), b"known to the attacker!") == b"and this one not quite"
    one, two = ciphertexts([e, KeyPair(seeded(2)(32))])
    assert xor(xor(one, two), b"known to the attacker!") != b"and this one not quite"
    # And this is what the initiator does, whatever changes between two P3s.
    pair = Pair()
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator, b"known to the attacker!")
    pair.responder._admission.controller.effort = 10
    answer = pair.give(p3)
    assert isinstance(answer, Reply)
    assert initiator.receive_challenge_untrusted(answer.data, NOW)
    again = initiator.initiate(b"and this one not quite", NOW)
    assert p3[KX_AT : KX_AT + 32] != again[KX_AT : KX_AT + 32]
    data = slice(-NN_SIZE - 16 - 22, -NN_SIZE - 16)
    assert xor(xor(p3[data], again[data]), b"known to the attacker!") != b"and this one not quite"


def test_a_responder_that_encrypted_under_kx_would_give_its_replies_away() -> None:
    """Rule: all the responder sends is under its fresh E3. Prevents: T's reuse reaching its keys.

    A replayed P3 that finds the responder forgetful (restarted from a snapshot, say) is answered
    with another reply under the same keys.
    """
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    replies = b"the first reply, known", b"the second reply, not "
    sealed, honest = [], []
    for reply in replies:
        pair.responder._transients.current.burnt.clear()
        pair.responder._transients.current.ephemerals.clear()
        admitted = pair.admit(p3)
        honest.append(pair.accept(admitted, reply).datagram[-38:-16])
        # Without the second run: KX's split key of the responder's direction.
        offer = pair.responder._challenger.rebuild(
            pair.responder._transients.current, HOME, decode_initiate_untrusted(p3), None
        )
        bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], offer, p3[:HEADER_SIZE])
        kx = begin_kx(pair.there.static_pair(), pair.responder._transients.current.pair, bound)
        kx.read_message_untrusted(p3[KX_AT:-NN_SIZE])
        sealed.append(CipherState(kx.split()[0]).encrypt(b"", reply)[:-16])
    assert xor(xor(*sealed), replies[0]) == replies[1]
    assert xor(xor(*honest), replies[0]) != replies[1]


def test_a_thief_of_the_responders_key_is_nobody_else_to_it() -> None:
    """Key-compromise impersonation: S's secret does not let anybody pose as C to S."""
    pair = Pair()
    for secret in (pair.there.static_pair().secret, seeded(3)(32)):
        thief = pair.initiator()
        thief._writer._static = KeyPair(secret, pair.here.static)
        assert pair.give(pair.to_p3(thief)) is None
    assert pair.admit(pair.to_p3(pair.initiator())).peer == pair.here.key


def test_a_thief_of_the_initiators_key_is_nobody_else_to_it(monkeypatch: Patch) -> None:
    """The other way: C's secret does not let anybody pose as S to C, signature or no signature."""
    pair = Pair()
    monkeypatch.setattr(candidates, "verify_transient_untrusted", lambda *_: b"")
    victim = pair.initiator()
    genuine = decode_challenge_untrusted(pair.challenge(victim.hello(NOW)))
    own_t = KeyPair(seeded(66)(32))
    part = TransientPart(*TRANSIENT_PART.unpack(genuine.transient_part))._replace(
        transient=own_t.public
    )
    forged = encode_challenge(genuine._replace(transient_part=TRANSIENT_PART.pack(*part)))
    assert victim.receive_challenge_untrusted(forged, NOW)
    p3 = victim.initiate(b"secret", NOW)
    bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], forged, p3[:HEADER_SIZE])
    for secret in (pair.here.static_pair().secret, seeded(4)(32)):
        kx = begin_kx(KeyPair(secret, pair.there.static), own_t, bound)
        with pytest.raises(WireError):
            kx.read_message_untrusted(p3[KX_AT:-NN_SIZE])


def test_nobody_shares_a_key_with_somebody_it_does_not_know_of() -> None:
    """Unknown key share: a P3 for one responder, passed on to another, is nothing there."""
    one, two = Pair(seed=1), Pair(seed=2)
    p3 = one.to_p3(one.initiator())
    two.responder._transients._accepted = dict(one.responder._transients._accepted)
    two.responder._transients.current = one.responder._transients.current
    assert two.give(p3) is None
    one.responder._transients.current.burnt.clear()
    assert isinstance(one.give(p3), Admitted)


def test_bit_255_would_give_one_secret_two_names(monkeypatch: Patch) -> None:
    """Rule: bit 255 is refused. Prevents: coming back under another name with the same secret."""
    pair = Pair()
    secret, public = pair.here.static_pair().secret, pair.here.static
    second = public[:31] + bytes([public[31] | 0x80])
    other = KeyPair(seeded(5)(32))
    # X25519 ignores the bit, so both do the same Diffie-Hellman.
    assert diffie_hellman_untrusted(other.secret, second) == diffie_hellman_untrusted(
        other.secret, public
    )

    def name_of_the_second() -> bytes | None:
        twin = pair.initiator()
        twin._writer._static = KeyPair(secret, second)
        answer = pair.give(pair.to_p3(twin))
        return answer.peer if isinstance(answer, Admitted) else None

    def careless(static: bytes) -> bytes:
        u = int.from_bytes(static, "little") % FIELD_PRIME
        return ((u - 1) * pow(u + 1, -1, FIELD_PRIME) % FIELD_PRIME).to_bytes(32, "little")

    with monkeypatch.context() as without:
        without.setattr(authentication, "key_of_static_untrusted", careless)
        name = name_of_the_second()
        assert name is not None
        assert name != pair.here.key
    assert name_of_the_second() is None


def test_a_repeated_ephemeral_would_be_served_twice(monkeypatch: Patch) -> None:
    """Rule: E is remembered as long as T lives. Prevents: two P3s under one key stream.

    The initiator's randomness repeats itself (a virtual machine that was copied).
    """

    def served() -> int:
        pair = Pair()
        count = 0
        for _ in range(2):
            copy = pair.initiator()
            p2 = pair.challenge(copy.hello(NOW))
            assert copy.receive_challenge_untrusted(p2, NOW)
            copy._writer._random = seeded(4)
            count += isinstance(pair.give(copy.initiate(b"", NOW)), Admitted)
        return count

    with monkeypatch.context() as without:
        without.setattr(Transient, "remember_ephemeral", lambda *_: True)
        assert served() == 2
    assert served() == 1
