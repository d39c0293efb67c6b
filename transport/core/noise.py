"""The Noise Protocol Framework, revision 34, for the suite `25519_ChaChaPoly_BLAKE2b`.

Patterns are data (`_PATTERNS`), psk modifiers are read from the name, and every ephemeral is
given by the caller: the responder of our handshake uses one for minutes (see `transient`), and
what is given can be checked against the published vectors. Section numbers are the framework's.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple, TypeVar

from nacl._sodium import ffi, lib

from transport.core.constants import KEY_SIZE, TAG_SIZE
from transport.core.errors import LocalError, WireError
from transport.core.keys import KeyPair, diffie_hellman_untrusted

SUITE_NAME: Final = "25519_ChaChaPoly_BLAKE2b"
HASH_SIZE: Final = 64
MESSAGE_SIZE_MAX: Final = 65535
_BLOCK_SIZE = 128

# libsodium's own functions: `nacl.bindings` checks and copies again, which costs 4 µs a call.
_encrypt = lib.crypto_aead_chacha20poly1305_ietf_encrypt
_decrypt = lib.crypto_aead_chacha20poly1305_ietf_decrypt
_from_buffer = ffi.from_buffer
_NULL = ffi.NULL

_NONCE_MAX = 2**64 - 2

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
# Chaining keys and digests fill half a block; the other half is zeros under the pads.
_INNER_TAIL = b"\x36" * (_BLOCK_SIZE - HASH_SIZE)
_OUTER_TAIL = b"\x5c" * (_BLOCK_SIZE - HASH_SIZE)
_NONCE = struct.Struct("<4xQ")
_NONCES = tuple(_NONCE.pack(number) for number in range(8))

# Section 7 and 18. Before the colon is the name; what comes before "..." is known beforehand.
_PATTERNS = {
    name.strip(): text.strip()
    for name, text in (
        line.split(":", 1)
        for line in """
        N:    <- s ... -> e, es
        K:    -> s | <- s ... -> e, es, ss
        X:    <- s ... -> e, es, s, ss
        NN:   -> e | <- e, ee
        KN:   -> s ... -> e | <- e, ee, se
        NK:   <- s ... -> e, es | <- e, ee
        KK:   -> s | <- s ... -> e, es, ss | <- e, ee, se
        NX:   -> e | <- e, ee, s, es
        KX:   -> s ... -> e | <- e, ee, se, s, es
        XN:   -> e | <- e, ee | -> s, se
        IN:   -> e, s | <- e, ee, se
        XK:   <- s ... -> e, es | <- e, ee | -> s, se
        IK:   <- s ... -> e, es, s, ss | <- e, ee, se
        XX:   -> e | <- e, ee, s, es | -> s, se
        IX:   -> e, s | <- e, ee, se, s, es
        NK1:  <- s ... -> e | <- e, ee, es
        NX1:  -> e | <- e, ee, s | -> es
        X1N:  -> e | <- e, ee | -> s | <- se
        X1K:  <- s ... -> e, es | <- e, ee | -> s | <- se
        XK1:  <- s ... -> e | <- e, ee, es | -> s, se
        X1K1: <- s ... -> e | <- e, ee, es | -> s | <- se
        X1X:  -> e | <- e, ee, s, es | -> s | <- se
        XX1:  -> e | <- e, ee, s | -> es, s, se
        X1X1: -> e | <- e, ee, s | -> es, s | <- se
        K1N:  -> s ... -> e | <- e, ee | -> se
        K1K:  -> s | <- s ... -> e, es | <- e, ee | -> se
        KK1:  -> s | <- s ... -> e | <- e, ee, se, es
        K1K1: -> s | <- s ... -> e | <- e, ee, es | -> se
        K1X:  -> s ... -> e | <- e, ee, s, es | -> se
        KX1:  -> s ... -> e | <- e, ee, se, s | -> es
        K1X1: -> s ... -> e | <- e, ee, s | -> se, es
        I1N:  -> e, s | <- e, ee | -> se
        I1K:  <- s ... -> e, es, s | <- e, ee | -> se
        IK1:  <- s ... -> e, s | <- e, ee, se, es
        I1K1: <- s ... -> e, s | <- e, ee, es | -> se
        I1X:  -> e, s | <- e, ee, s, es | -> se
        IX1:  -> e, s | <- e, ee, se, s | -> es
        I1X1: -> e, s | <- e, ee, s | -> se, es
        """.strip().splitlines()
    )
}
_T = TypeVar("_T")
_NAME = re.compile(r"Noise_([A-Z]1?(?:[A-Z]1?)?)((?:psk\d(?:\+psk\d)*)?)_" + SUITE_NAME)


class Pattern(NamedTuple):
    """A handshake pattern, ready to run."""

    first_hash: bytes
    """h and ck after InitializeSymmetric."""
    initiator_known: bool
    responder_known: bool
    """Whose static key is known beforehand."""
    messages: tuple[tuple[str, ...], ...]
    """Tokens, message by message; the initiator writes the first."""
    psks: int
    """How many pre-shared keys the tokens consume."""


@lru_cache(64)
def pattern(name: str) -> Pattern:
    """The pattern of a full protocol name. Raises `LocalError` for a name this cannot run."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _PATTERNS:
        raise LocalError(f"no Noise protocol {name!r}")
    before, dots, after = _PATTERNS[match[1]].rpartition("...")
    messages = [[token.strip() for token in text[2:].split(",")] for text in _lines(after)]
    modifiers = [int(digit) for digit in re.findall(r"psk(\d)", match[2])]
    for place in modifiers:
        if place > len(messages):
            raise LocalError(f"{name!r} has no message {place}")
        # Section 9.4: psk0 comes before the first message, pskN at the end of the Nth.
        if place == 0:
            messages[0].insert(0, "psk")
        else:
            messages[place - 1].append("psk")
    encoded = name.encode()
    return Pattern(
        encoded.ljust(HASH_SIZE, b"\0") if len(encoded) <= HASH_SIZE else blake2b(encoded).digest(),
        any(line.startswith("->") for line in _lines(before)) if dots else False,
        any(line.startswith("<-") for line in _lines(before)) if dots else False,
        tuple(tuple(message) for message in messages),
        len(modifiers),
    )


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("|") if line.strip()]


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """HKDF of section 4.3 over HMAC-BLAKE2b: two or three outputs of 64 bytes.

    `chaining_key` has 64 bytes.

    HMAC is spelled out with its two pads because `hmac.digest` costs twice as much here.
    """
    inner = blake2b(chaining_key.translate(_INNER) + _INNER_TAIL + material).digest()
    key = blake2b(chaining_key.translate(_OUTER) + _OUTER_TAIL + inner).digest()
    inner_pad = key.translate(_INNER) + _INNER_TAIL
    outer_pad = key.translate(_OUTER) + _OUTER_TAIL
    first = blake2b(outer_pad + blake2b(inner_pad + b"\1").digest()).digest()
    second = blake2b(outer_pad + blake2b(inner_pad + first + b"\2").digest()).digest()
    if outputs == 2:
        return first, second
    third = blake2b(outer_pad + blake2b(inner_pad + second + b"\3").digest()).digest()
    return first, second, third


class CipherState:
    """A key and the number of times it was used (5.1). Without a key it passes data through."""

    __slots__ = ("_key", "nonce")

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key
        self.nonce = 0

    def encrypt(self, associated: bytes, plaintext: bytes) -> bytes:
        """Raises `LocalError` when the nonces are used up."""
        if self._key is None:
            return plaintext
        sealed = bytearray(len(plaintext) + TAG_SIZE)
        _encrypt(
            _from_buffer(sealed),
            _NULL,
            plaintext,
            len(plaintext),
            associated,
            len(associated),
            _NULL,
            self._next(),
            self._key,
        )
        return bytes(sealed)

    def decrypt_untrusted(self, associated: bytes, ciphertext: bytes) -> bytes:
        """Raises `WireError` if the ciphertext is not authentic; the nonce is then not used."""
        if self._key is None:
            return ciphertext
        if len(ciphertext) < TAG_SIZE:
            raise WireError("ciphertext cut off")
        nonce = self.nonce
        size = len(ciphertext) - TAG_SIZE
        # One byte more than none: there is no pointer to an empty buffer.
        opened = bytearray(size or 1)
        if _decrypt(
            _from_buffer(opened),
            _NULL,
            _NULL,
            ciphertext,
            len(ciphertext),
            associated,
            len(associated),
            self._next(),
            self._key,
        ):
            self.nonce = nonce
            raise WireError("not authentic")
        return bytes(opened) if size else b""

    def fork(self) -> CipherState:
        copy = CipherState(self._key)
        copy.nonce = self.nonce
        return copy

    def _next(self) -> bytes:
        number = self.nonce
        if number > _NONCE_MAX:
            raise LocalError("nonces used up")
        self.nonce = number + 1
        return _NONCES[number] if number < 8 else _NONCE.pack(number)

    @property
    def has_key(self) -> bool:
        return self._key is not None


class HandshakeState:
    """One side of one run of a pattern (5.2 and 5.3).

    After an error of `read_message_untrusted` the state is spoilt and must be dropped.
    """

    __slots__ = (
        "_chaining_key",
        "_cipher",
        "_ephemeral",
        "_initiator",
        "_messages",
        "_psk_mode",
        "_psks",
        "_remote_ephemeral",
        "_static",
        "_step",
        "hash",
        "remote_static",
    )

    def __init__(
        self,
        name: str,
        *,
        initiator: bool,
        prologue: bytes = b"",
        static: KeyPair | None = None,
        ephemeral: KeyPair | None = None,
        remote_static: bytes | None = None,
        psks: tuple[bytes, ...] = (),
    ) -> None:
        """Raises `LocalError` if a key the pattern needs beforehand is missing."""
        run = pattern(name)
        if len(psks) != run.psks or any(len(psk) != KEY_SIZE for psk in psks):
            raise LocalError("pre-shared keys do not fit the pattern")
        self._initiator = initiator
        self._messages = run.messages
        self._step = 0
        self._psk_mode = run.psks > 0
        self._psks = list(psks)
        self._static = static
        self._ephemeral = ephemeral
        self.remote_static = remote_static
        self._remote_ephemeral: bytes | None = None
        self._cipher = CipherState()
        self._chaining_key = run.first_hash
        self.hash = blake2b(run.first_hash + prologue).digest()
        ours = static.public if static is not None else None
        if run.initiator_known:
            self._mix_hash(_required(ours if initiator else remote_static, "static key"))
        if run.responder_known:
            self._mix_hash(_required(remote_static if initiator else ours, "static key"))

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next message, carrying `payload`.

        Raises `LocalError` out of turn or over `MESSAGE_SIZE_MAX`, and `WireError` if a key of the
        other side is degenerate.
        """
        parts = []
        for token in self._tokens(writing=True):
            if token == "e":
                public = _required(self._ephemeral, "ephemeral key").public
                parts.append(public)
                self._mix_ephemeral(public)
            elif token == "s":
                static = _required(self._static, "static key").public
                parts.append(self._encrypt_and_hash(static))
            else:
                self._mix_token(token)
        parts.append(self._encrypt_and_hash(payload))
        message = b"".join(parts)
        if len(message) > MESSAGE_SIZE_MAX:
            raise LocalError("message too long")
        return message

    def read_message_untrusted(self, message: bytes) -> bytes:
        """The payload of the next message. Raises `WireError` unless all of it is authentic."""
        if len(message) > MESSAGE_SIZE_MAX:
            raise WireError("message too long")
        at = 0
        for token in self._tokens(writing=False):
            if token == "e":
                self._remote_ephemeral = _cut(message, at, KEY_SIZE)
                at += KEY_SIZE
                self._mix_ephemeral(self._remote_ephemeral)
            elif token == "s":
                size = KEY_SIZE + TAG_SIZE if self._cipher.has_key else KEY_SIZE
                self.remote_static = self._decrypt_and_hash(_cut(message, at, size))
                at += size
            else:
                self._mix_token(token)
        return self._decrypt_and_hash(message[at:])

    def split(self) -> tuple[bytes, bytes]:
        """Keys of the initiator's and the responder's direction, 32 bytes each (5.2).

        Raises `LocalError` before the last message.
        """
        if self._step != len(self._messages):
            raise LocalError("the handshake is not finished")
        first, second = hkdf(self._chaining_key, b"", 2)
        return first[:KEY_SIZE], second[:KEY_SIZE]

    def set_ephemeral(self, ephemeral: KeyPair) -> None:
        """Give the ephemeral late. Raises `LocalError` if there is one."""
        if self._ephemeral is not None:
            raise LocalError("there is an ephemeral key")
        self._ephemeral = ephemeral

    def fork(self) -> HandshakeState:
        """An independent copy: try a message on it, and a forged one spoils only the copy."""
        copy = object.__new__(HandshakeState)
        for name in HandshakeState.__slots__:
            setattr(copy, name, getattr(self, name))
        copy._psks = list(self._psks)
        copy._cipher = self._cipher.fork()
        return copy

    @property
    def remote_ephemeral(self) -> bytes | None:
        return self._remote_ephemeral

    def _tokens(self, *, writing: bool) -> tuple[str, ...]:
        step = self._step
        if step == len(self._messages) or (step % 2 == 0) is not (writing is self._initiator):
            raise LocalError("out of turn")
        self._step = step + 1
        return self._messages[step]

    def _mix_ephemeral(self, public: bytes) -> None:
        self._mix_hash(public)
        if self._psk_mode:
            self._mix_key(public)

    def _mix_token(self, token: str) -> None:
        if token == "psk":
            self._chaining_key, mixed, key = hkdf(self._chaining_key, self._psks.pop(0), 3)
            self._mix_hash(mixed)
            self._cipher = CipherState(key[:KEY_SIZE])
            return
        # The first letter is the initiator's key, the second the responder's.
        ours, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        pair = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        secret = _required(pair, "own key").secret
        self._mix_key(diffie_hellman_untrusted(secret, _required(public, "key of the other side")))

    def _mix_key(self, material: bytes) -> None:
        self._chaining_key, key = hkdf(self._chaining_key, material, 2)
        self._cipher = CipherState(key[:KEY_SIZE])

    def _mix_hash(self, data: bytes) -> None:
        self.hash = blake2b(self.hash + data).digest()

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(self.hash, plaintext)
        self._mix_hash(ciphertext)
        return ciphertext

    def _decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = self._cipher.decrypt_untrusted(self.hash, ciphertext)
        self._mix_hash(ciphertext)
        return plaintext


def _cut(message: bytes, at: int, size: int) -> bytes:
    piece = message[at : at + size]
    if len(piece) != size:
        raise WireError("message cut off")
    return piece


def _required(value: _T | None, what: str) -> _T:
    if value is None:
        raise LocalError(f"the pattern needs a {what}")
    return value
