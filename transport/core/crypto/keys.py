"""Identities and the two forms of their keys.

A peer's name is an Ed25519 public key whose sign bit is 0. The X25519 form of the same point is
its static key in the handshake. The sign bit makes the way back unique: one X25519 key has one
name. Both ways refuse whatever is not an element of the prime-order group, so that no secret has
two names. (RFC 7748, 4.1: `u = (1 + y) / (1 - y)`, `y = (u - 1) / (u + 1)`.)
"""

from __future__ import annotations

import hmac
from functools import lru_cache

import nacl.exceptions
from nacl import bindings
from nacl._sodium import ffi, lib

from transport.core.constants import KEY_SIZE, SIGNATURE_SIZE
from transport.core.errors import LocalError, WireError
from transport.core.types import RandomBytes

FIELD_PRIME = 2**255 - 19
# libsodium's own functions and one allocation: `nacl.bindings` checks and copies again.
_multiply = lib.crypto_scalarmult
_multiply_base = lib.crypto_scalarmult_base
_new = ffi.new
_buffer = ffi.buffer
_POINT = ffi.typeof("unsigned char[32]")
_CONVERSIONS_CACHED = 4096


class Identity:
    """An Ed25519 key pair whose public key has sign bit 0, and its X25519 form."""

    __slots__ = ("_secret", "_seed", "_static_secret", "key", "static")

    key: bytes
    """Ed25519 public key: the name."""
    static: bytes
    """X25519 public key: the same point."""

    def __init__(self, seed: bytes) -> None:
        """Raises `LocalError` if `seed` is not 32 bytes or its public key has sign bit 1."""
        if len(seed) != KEY_SIZE:
            raise LocalError("a seed has 32 bytes")
        key, secret = bindings.crypto_sign_seed_keypair(seed)
        if key[31] & 0x80:
            raise LocalError("the public key of this seed has sign bit 1")
        self._seed = seed
        self._secret = secret
        self._static_secret = bindings.crypto_sign_ed25519_sk_to_curve25519(secret)
        self.key = key
        self.static = _public_of(self._static_secret)

    @classmethod
    def generate(cls, random: RandomBytes) -> Identity:
        """Draw seeds until one has a public key with sign bit 0: two draws on average."""
        while True:
            seed = random(KEY_SIZE)
            if not bindings.crypto_sign_seed_keypair(seed)[0][31] & 0x80:
                return cls(seed)

    @property
    def seed(self) -> bytes:
        """The secret all of this derives from; only for keeping it on disk."""
        return self._seed

    def sign(self, label: bytes, content: bytes) -> bytes:
        """A signature of 64 bytes over the label and the content."""
        return bindings.crypto_sign(_labelled(label, content), self._secret)[:SIGNATURE_SIZE]

    def diffie_hellman_untrusted(self, public: bytes) -> bytes:
        """X25519 with the static key. Raises `WireError` if the result is all zero."""
        return diffie_hellman_untrusted(self._static_secret, public)

    def static_pair(self) -> KeyPair:
        """The X25519 key pair, as the handshake takes it."""
        return KeyPair(self._static_secret, self.static)

    def __repr__(self) -> str:
        return f"Identity({self.key.hex()[:16]})"


class KeyPair:
    """An X25519 key pair: static, transient or ephemeral."""

    __slots__ = ("public", "secret")

    def __init__(self, secret: bytes, public: bytes | None = None) -> None:
        """`public` is computed if not given; the caller vouches for one that is.

        Raises `LocalError` if the secret has not 32 bytes.
        """
        if len(secret) != KEY_SIZE:
            raise LocalError("a secret key has 32 bytes")
        self.secret = secret
        self.public = _public_of(secret) if public is None else public

    @classmethod
    def generate(cls, random: RandomBytes) -> KeyPair:
        return cls(random(KEY_SIZE))

    def __repr__(self) -> str:
        return f"KeyPair({self.public.hex()[:16]})"


def diffie_hellman_untrusted(secret: bytes, public: bytes) -> bytes:
    """X25519. Raises `WireError` if `public` is not 32 bytes or the result is all zero.

    All zero is what every point of low order gives, whatever the secret (RFC 7748, 6.1). Raises
    `LocalError` if the secret has not 32 bytes.
    """
    # The function would read behind the end of either.
    if len(public) != KEY_SIZE:
        raise WireError("a public key has 32 bytes")
    if len(secret) != KEY_SIZE:
        raise LocalError("a secret key has 32 bytes")
    point = _new(_POINT)
    if _multiply(point, secret, public):
        raise WireError("degenerate Diffie-Hellman")
    return bytes(_buffer(point))


def _public_of(secret: bytes) -> bytes:
    point = _new(_POINT)
    if _multiply_base(point, secret):
        raise LocalError("a secret key whose public key is degenerate")
    return bytes(_buffer(point))


def verify(key: bytes, label: bytes, content: bytes, signature: bytes) -> bool:
    """Whether `signature` is `key`'s over the label and the content."""
    if len(signature) != SIGNATURE_SIZE or len(key) != KEY_SIZE:
        return False
    try:
        bindings.crypto_sign_open(signature + _labelled(label, content), key)
    except nacl.exceptions.CryptoError:
        return False
    return True


def static_of_key_untrusted(key: bytes) -> bytes:
    """The X25519 form of a name.

    Raises `WireError` for sign bit 1, `y >= p`, a point not on the curve, outside the prime-order
    subgroup, or of low order.
    """
    if len(key) != KEY_SIZE or key[31] & 0x80:
        raise WireError("not a name")
    return _static_of_key(key)


def key_of_static_untrusted(static: bytes) -> bytes:
    """The name of an X25519 key: the point above it with sign bit 0.

    Raises `WireError` for bit 255 set, `u >= p`, `u = -1`, a point of low order, on the twist, or
    outside the prime-order subgroup.
    """
    if len(static) != KEY_SIZE or static[31] & 0x80:
        raise WireError("not a static key")
    return _key_of_static(static)


@lru_cache(_CONVERSIONS_CACHED)
def _static_of_key(key: bytes) -> bytes:
    if int.from_bytes(key, "little") >= FIELD_PRIME:
        raise WireError("not a name")
    try:
        # libsodium refuses low order and what lies outside the prime-order subgroup.
        return bindings.crypto_sign_ed25519_pk_to_curve25519(key)
    except nacl.exceptions.CryptoError:
        raise WireError("not a name") from None


@lru_cache(_CONVERSIONS_CACHED)
def _key_of_static(static: bytes) -> bytes:
    u = int.from_bytes(static, "little")
    if u >= FIELD_PRIME - 1:
        raise WireError("not a static key")
    y = (u - 1) * pow(u + 1, -1, FIELD_PRIME) % FIELD_PRIME
    key = y.to_bytes(KEY_SIZE, "little")
    if not bindings.crypto_core_ed25519_is_valid_point(key):
        raise WireError("not a static key")
    return key


def equal(one: bytes, other: bytes) -> bool:
    """Comparison in constant time."""
    return hmac.compare_digest(one, other)


def _labelled(label: bytes, content: bytes) -> bytes:
    if len(label) > 255:
        raise LocalError("a label has at most 255 bytes")
    return bytes([len(label)]) + label + content
