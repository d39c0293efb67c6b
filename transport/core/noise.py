"""The Noise Protocol Framework, revision 34, for the suite `25519_ChaChaPoly_BLAKE2b`.

Patterns are data (`patterns`), psk modifiers are read from the name, and every ephemeral is
given by the caller: the responder of our handshake uses one for minutes (see `transient`), and
what is given can be checked against the published vectors. Section numbers are the framework's.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final, TypeVar

from nacl._sodium import ffi, lib

from transport.core.constants import KEY_SIZE, TAG_SIZE
from transport.core.errors import LocalError, WireError
from transport.core.keys import KeyPair, diffie_hellman_untrusted
from transport.core.patterns import DH, HASH_SIZE, E, S, Step, pattern, plan

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

_T = TypeVar("_T")


def hkdf(chaining_key: bytes, material: bytes, outputs: int) -> tuple[bytes, ...]:
    """HKDF of section 4.3 over HMAC-BLAKE2b: two or three outputs of 64 bytes.

    `chaining_key` has 64 bytes.

    HMAC is spelled out with its two pads because `hmac.digest` costs twice as much here.
    """
    inner_pad, outer_pad = _pads(chaining_key, material)
    first = blake2b(outer_pad + blake2b(inner_pad + b"\1").digest()).digest()
    second = blake2b(outer_pad + blake2b(inner_pad + first + b"\2").digest()).digest()
    if outputs == 2:
        return first, second
    third = blake2b(outer_pad + blake2b(inner_pad + second + b"\3").digest()).digest()
    return first, second, third


def _first_of_hkdf(chaining_key: bytes, material: bytes) -> bytes:
    """The first output alone: the next chaining key."""
    inner_pad, outer_pad = _pads(chaining_key, material)
    return blake2b(outer_pad + blake2b(inner_pad + b"\1").digest()).digest()


def _pads(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Both pads of HMAC under HMAC(chaining_key, material)."""
    inner = blake2b(chaining_key.translate(_INNER) + _INNER_TAIL + material).digest()
    key = blake2b(chaining_key.translate(_OUTER) + _OUTER_TAIL + inner).digest()
    return key.translate(_INNER) + _INNER_TAIL, key.translate(_OUTER) + _OUTER_TAIL


def _seal(key: bytes, number: int, associated: bytes, plaintext: bytes) -> bytes:
    size = len(plaintext)
    sealed = bytearray(size + TAG_SIZE)
    nonce = _NONCES[number] if number < 8 else _NONCE.pack(number)
    _encrypt(
        _from_buffer(sealed),
        _NULL,
        plaintext,
        size,
        associated,
        len(associated),
        _NULL,
        nonce,
        key,
    )
    return bytes(sealed)


def _open_untrusted(key: bytes, number: int, associated: bytes, ciphertext: bytes) -> bytes:
    size = len(ciphertext) - TAG_SIZE
    if size < 0:
        raise WireError("ciphertext cut off")
    # One byte more than none: there is no pointer to an empty buffer.
    opened = bytearray(size or 1)
    nonce = _NONCES[number] if number < 8 else _NONCE.pack(number)
    if _decrypt(
        _from_buffer(opened),
        _NULL,
        _NULL,
        ciphertext,
        size + TAG_SIZE,
        associated,
        len(associated),
        nonce,
        key,
    ):
        raise WireError("not authentic")
    return bytes(opened) if size else b""


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
        return _seal(self._key, self._next(), associated, plaintext)

    def decrypt_untrusted(self, associated: bytes, ciphertext: bytes) -> bytes:
        """Raises `WireError` if the ciphertext is not authentic; the nonce is then not used."""
        if self._key is None:
            return ciphertext
        nonce = self.nonce
        try:
            return _open_untrusted(self._key, self._next(), associated, ciphertext)
        except WireError:
            self.nonce = nonce
            raise

    def fork(self) -> CipherState:
        copy = CipherState(self._key)
        copy.nonce = self.nonce
        return copy

    def _next(self) -> int:
        number = self.nonce
        if number > _NONCE_MAX:
            raise LocalError("nonces used up")
        self.nonce = number + 1
        return number

    @property
    def has_key(self) -> bool:
        return self._key is not None


class HandshakeState:
    """One side of one run of a pattern (5.2 and 5.3).

    After an error of `read_message_untrusted` the state is spoilt and must be dropped.
    """

    __slots__ = (
        "_chaining_key",
        "_ephemeral",
        "_initiator",
        "_key",
        "_nonce",
        "_plan",
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
        self._plan = plan(name, initiator)
        self._step = 0
        self._psk_mode = run.psks > 0
        self._psks = list(psks)
        self._static = static
        self._ephemeral = ephemeral
        self.remote_static = remote_static
        self._remote_ephemeral: bytes | None = None
        self._key: bytes | None = None
        self._nonce = 0
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
        for step in self._turn(writing=True):
            kind = step.kind
            if kind == DH:
                self._mix_shared(step)
            elif kind == E:
                public = _required(self._ephemeral, "ephemeral key").public
                parts.append(public)
                self._mix_ephemeral(public, step.keyed)
            elif kind == S:
                static = _required(self._static, "static key").public
                parts.append(self._encrypt_and_hash(static))
            else:
                self._mix_psk(step.keyed)
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
        for step in self._turn(writing=False):
            kind = step.kind
            if kind == DH:
                self._mix_shared(step)
            elif kind == E:
                self._remote_ephemeral = _cut(message, at, KEY_SIZE)
                at += KEY_SIZE
                self._mix_ephemeral(self._remote_ephemeral, step.keyed)
            elif kind == S:
                size = KEY_SIZE if self._key is None else KEY_SIZE + TAG_SIZE
                self.remote_static = self._decrypt_and_hash(_cut(message, at, size))
                at += size
            else:
                self._mix_psk(step.keyed)
        return self._decrypt_and_hash(message[at:])

    def split(self) -> tuple[bytes, bytes]:
        """Keys of the initiator's and the responder's direction, 32 bytes each (5.2).

        Raises `LocalError` before the last message.
        """
        if self._step != len(self._plan):
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
        return copy

    @property
    def remote_ephemeral(self) -> bytes | None:
        return self._remote_ephemeral

    def _turn(self, *, writing: bool) -> tuple[Step, ...]:
        step = self._step
        if step == len(self._plan) or (step % 2 == 0) is not (writing is self._initiator):
            raise LocalError("out of turn")
        self._step = step + 1
        return self._plan[step]

    def _mix_ephemeral(self, public: bytes, keyed: bool) -> None:
        self._mix_hash(public)
        if self._psk_mode:
            self._mix_key(public, keyed)

    def _mix_psk(self, keyed: bool) -> None:
        outputs = hkdf(self._chaining_key, self._psks.pop(0), 3 if keyed else 2)
        self._chaining_key = outputs[0]
        self._mix_hash(outputs[1])
        if keyed:
            self._key = outputs[2][:KEY_SIZE]
            self._nonce = 0

    def _mix_shared(self, step: Step) -> None:
        pair = self._static if step.ours_static else self._ephemeral
        public = self.remote_static if step.theirs_static else self._remote_ephemeral
        secret = _required(pair, "own key").secret
        shared = diffie_hellman_untrusted(secret, _required(public, "key of the other side"))
        self._mix_key(shared, step.keyed)

    def _mix_key(self, material: bytes, keyed: bool) -> None:
        if not keyed:
            self._chaining_key = _first_of_hkdf(self._chaining_key, material)
            return
        self._chaining_key, key = hkdf(self._chaining_key, material, 2)
        self._key = key[:KEY_SIZE]
        self._nonce = 0

    def _mix_hash(self, data: bytes) -> None:
        self.hash = blake2b(self.hash + data).digest()

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = plaintext
        if self._key is not None:
            ciphertext = _seal(self._key, self._nonce, self.hash, plaintext)
            self._nonce += 1
        self._mix_hash(ciphertext)
        return ciphertext

    def _decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = ciphertext
        if self._key is not None:
            plaintext = _open_untrusted(self._key, self._nonce, self.hash, ciphertext)
            self._nonce += 1
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
