"""Identities, the two forms of a key, and what is not a key: docs/protocol/handshake.md, 1."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from tests.support.pair.handshake import seeded
from transport.core.crypto.keys import (
    FIELD_PRIME,
    Identity,
    KeyPair,
    diffie_hellman_untrusted,
    key_of_static_untrusted,
    static_of_key_untrusted,
    verify,
)
from transport.core.errors import LocalError, WireError

# Of order 1, 2, 4 and 8 on either curve (RFC 7748's security considerations list their u).
LOW_ORDER_U = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    FIELD_PRIME - 1,
]
SEEDS = st.integers(0, 2**32)


def little(number: int) -> bytes:
    return number.to_bytes(32, "little")


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_one_name_one_static_key(seed: int) -> None:
    identity = Identity.generate(seeded(seed))
    assert identity.key[31] & 0x80 == 0
    assert static_of_key_untrusted(identity.key) == identity.static
    assert key_of_static_untrusted(identity.static) == identity.key
    again = Identity(identity.seed)
    assert (again.key, again.static) == (identity.key, identity.static)


def test_a_seed_whose_key_has_the_sign_bit_is_refused() -> None:
    seeds = (hashlib.blake2b(bytes([n]), digest_size=32).digest() for n in range(64))
    refused = 0
    for seed in seeds:
        if bindings.crypto_sign_seed_keypair(seed)[0][31] & 0x80:
            refused += 1
            with pytest.raises(LocalError):
                Identity(seed)
        else:
            Identity(seed)
    assert 10 < refused < 54
    with pytest.raises(LocalError):
        Identity(b"short")


def test_generate_draws_until_the_sign_bit_is_zero() -> None:
    drawn = []
    source = seeded(5)

    def random(size: int) -> bytes:
        drawn.append(source(size))
        return drawn[-1]

    for _ in range(8):
        drawn.clear()
        assert Identity.generate(random).seed == drawn[-1]
        assert all(bindings.crypto_sign_seed_keypair(seed)[0][31] & 0x80 for seed in drawn[:-1])


@pytest.mark.parametrize("u", LOW_ORDER_U)
def test_low_order_static_keys(u: int) -> None:
    with pytest.raises(WireError):
        key_of_static_untrusted(little(u))
    with pytest.raises(WireError):
        diffie_hellman_untrusted(bytes(range(32)), little(u))


def test_other_static_keys_that_are_none() -> None:
    identity = Identity.generate(seeded(1))
    u = int.from_bytes(identity.static, "little")
    for bad in (
        little(u | 1 << 255),
        little(FIELD_PRIME),
        little(FIELD_PRIME + 9),
        little(2**255 - 1),
        b"",
        identity.static + b"\0",
        little(2),  # on the twist
    ):
        with pytest.raises(WireError):
            key_of_static_untrusted(bad)


def test_names_that_are_none() -> None:
    identity = Identity.generate(seeded(1))
    y = int.from_bytes(identity.key, "little")
    for bad in (
        little(y | 1 << 255),
        little(1),
        little(FIELD_PRIME - 1),
        little(0),
        little(FIELD_PRIME + 1),
        little(2),  # not on the curve
        b"",
        identity.key + b"\0",
    ):
        with pytest.raises(WireError):
            static_of_key_untrusted(bad)


def test_a_key_with_a_torsion_component_is_no_second_name() -> None:
    # -P, then + the point of order 2, (0, -1): the same secret would answer to both.
    identity = Identity.generate(seeded(1))
    y = int.from_bytes(identity.key, "little")
    other = little(FIELD_PRIME - y)
    u = (1 + FIELD_PRIME - y) * pow(1 + y, -1, FIELD_PRIME) % FIELD_PRIME
    partner = KeyPair(bytes(range(32)))
    assert diffie_hellman_untrusted(partner.secret, little(u)) == diffie_hellman_untrusted(
        partner.secret, identity.static
    )
    with pytest.raises(WireError):
        key_of_static_untrusted(little(u))
    with pytest.raises(WireError):
        static_of_key_untrusted(other)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=40) | st.binary(min_size=32, max_size=32))
def test_any_bytes_convert_or_raise_one_error(data: bytes) -> None:
    for convert, back in (
        (key_of_static_untrusted, static_of_key_untrusted),
        (static_of_key_untrusted, key_of_static_untrusted),
    ):
        try:
            converted = convert(data)
        except WireError:
            continue
        assert back(converted) == data


def test_diffie_hellman_rfc_7748_section_6_1() -> None:
    alice = KeyPair(
        bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    )
    bob = KeyPair(bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    assert alice.public == bytes.fromhex(
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    assert bob.public == bytes.fromhex(
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    )
    assert diffie_hellman_untrusted(alice.secret, bob.public) == shared
    assert diffie_hellman_untrusted(bob.secret, alice.public) == shared


def test_diffie_hellman_checks_lengths() -> None:
    # The binding does not: it would read behind the end of a short key.
    identity = Identity.generate(seeded(2))
    for bad in (b"", bytes(31), bytes(range(33))):
        with pytest.raises(WireError):
            identity.diffie_hellman_untrusted(bad)
        with pytest.raises(LocalError):
            KeyPair(bad)


def test_signatures_cover_label_and_content() -> None:
    identity = Identity.generate(seeded(3))
    signature = identity.sign(b"label", b"content")
    assert len(signature) == 64
    assert verify(identity.key, b"label", b"content", signature)
    assert not verify(identity.key, b"labelc", b"ontent", signature)
    assert not verify(identity.key, b"label", b"content!", signature)
    assert not verify(identity.key, b"label", b"content", signature[:-1])
    assert not verify(identity.key[:-1], b"label", b"content", signature)
    assert not verify(Identity.generate(seeded(4)).key, b"label", b"content", signature)
    for bit in range(0, 512, 37):
        broken = bytearray(signature)
        broken[bit // 8] ^= 1 << bit % 8
        assert not verify(identity.key, b"label", b"content", bytes(broken))
    with pytest.raises(LocalError):
        identity.sign(bytes(256), b"")


def test_no_secret_in_a_repr() -> None:
    identity = Identity.generate(seeded(3))
    pair = identity.static_pair()
    for shown in (repr(identity), repr(pair), str(identity), f"{pair}"):
        assert identity.seed.hex() not in shown
        assert pair.secret.hex() not in shown
        assert len(shown) < 40
