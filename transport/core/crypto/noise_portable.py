"""Messages of a Noise run, a primitive at a time: where the extension is not built.

The same as `noise_native`, to which the tests hold it. Section numbers are those of the Noise
Protocol Framework, revision 34.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from nacl._sodium import ffi, lib

from transport.core.constants import KEY_SIZE, TAG_SIZE
from transport.core.crypto.keys import KeyPair, diffie_hellman_untrusted
from transport.core.crypto.patterns import DH, HASH_SIZE, E, Message, S, Step
from transport.core.errors import WireError

_BLOCK_SIZE = 128

# libsodium's own functions: `nacl.bindings` checks and copies again, which costs 4 µs a call.
_encrypt = lib.crypto_aead_chacha20poly1305_ietf_encrypt
_decrypt = lib.crypto_aead_chacha20poly1305_ietf_decrypt
_from_buffer = ffi.from_buffer
_NULL = ffi.NULL

_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
# Chaining keys and digests fill half a block; the other half is zeros under the pads.
_INNER_TAIL = b"\x36" * (_BLOCK_SIZE - HASH_SIZE)
_OUTER_TAIL = b"\x5c" * (_BLOCK_SIZE - HASH_SIZE)
_NONCE = struct.Struct("<4xQ")
_NONCES = tuple(_NONCE.pack(number) for number in range(8))

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


def derive(key: bytes, labels: tuple[bytes, ...]) -> list[bytes]:
    """BLAKE2b-32 of each label, keyed with `key` of 32 bytes."""
    return [blake2b(label, digest_size=KEY_SIZE, key=key).digest() for label in labels]


def _first_of_hkdf(chaining_key: bytes, material: bytes) -> bytes:
    """The first output alone: the next chaining key."""
    inner_pad, outer_pad = _pads(chaining_key, material)
    return blake2b(outer_pad + blake2b(inner_pad + b"\1").digest()).digest()


def _pads(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Both pads of HMAC under HMAC(chaining_key, material)."""
    inner = blake2b(chaining_key.translate(_INNER) + _INNER_TAIL + material).digest()
    key = blake2b(chaining_key.translate(_OUTER) + _OUTER_TAIL + inner).digest()
    return key.translate(_INNER) + _INNER_TAIL, key.translate(_OUTER) + _OUTER_TAIL


def seal(key: bytes, number: int, associated: bytes, plaintext: bytes) -> bytes:
    """ChaCha20-Poly1305 under the nonce of section 12: four zeros, `number` little-endian."""
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


def open_untrusted(key: bytes, number: int, associated: bytes, ciphertext: bytes) -> bytes:
    """The plaintext. Raises `WireError` if it is cut off or not authentic."""
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


class PortableRun:
    """The symmetric state of one run (5.2), with its keys; `noise.HandshakeState` drives it."""

    __slots__ = (
        "_chaining_key",
        "_ephemeral",
        "_key",
        "_nonce",
        "_psk_mode",
        "_psks",
        "_shared",
        "_static",
        "hash",
        "remote_ephemeral",
        "remote_static",
    )

    def __init__(
        self,
        first_hash: bytes,
        prologue: bytes,
        psks: tuple[bytes, ...],
        static: KeyPair | None,
        remote_static: bytes | None,
        ephemeral: KeyPair | None,
        shared: bytes | None,
        known: bytes,
    ) -> None:
        """`shared`: the Diffie-Hellman of our ephemeral with their static key, computed beforehand;
        the first message that needs it takes it. `known`: whose static keys both sides know, a
        byte each: 0 ours, 1 theirs."""
        self._psk_mode = bool(psks)
        self._psks = list(psks)
        self._static = static
        self._ephemeral = ephemeral
        self.remote_static = remote_static
        self.remote_ephemeral: bytes | None = None
        self._shared = shared
        self._key: bytes | None = None
        self._nonce = 0
        self._chaining_key = first_hash
        self.hash = blake2b(first_hash + prologue).digest()
        for whose in known:
            public = remote_static if whose else static.public if static else None
            assert public is not None
            self.hash = blake2b(self.hash + public).digest()

    def set_ephemeral(self, ephemeral: KeyPair) -> None:
        """Ours; before a message needs it."""
        self._ephemeral = ephemeral

    def mix_hash(self, data: bytes) -> None:
        """What both sides know beforehand."""
        self.hash = blake2b(self.hash + data).digest()

    def write(self, message: Message, payload: bytes) -> bytes:
        """The message with its payload. Raises `WireError` for a degenerate key of the other side;
        all that the steps need of our own keys is there.
        """
        parts = []
        for step in message.steps:
            kind = step.kind
            if kind == DH:
                self._mix_shared(step)
            elif kind == E:
                assert self._ephemeral is not None
                public = self._ephemeral.public
                parts.append(public)
                self._mix_ephemeral(public, step.keyed)
            elif kind == S:
                assert self._static is not None
                parts.append(self._encrypt_and_hash(self._static.public))
            else:
                self._mix_psk(step.keyed)
        parts.append(self._encrypt_and_hash(payload))
        return b"".join(parts)

    def read_untrusted(self, message: Message, data: bytes) -> bytes:
        """The payload. Raises `WireError` unless all of it is authentic: the state is spoilt then,
        and must be dropped."""
        at = 0
        for step in message.steps:
            kind = step.kind
            if kind == DH:
                self._mix_shared(step)
            elif kind == E:
                self.remote_ephemeral = _cut(data, at, KEY_SIZE)
                at += KEY_SIZE
                self._mix_ephemeral(self.remote_ephemeral, step.keyed)
            elif kind == S:
                size = KEY_SIZE if self._key is None else KEY_SIZE + TAG_SIZE
                self.remote_static = self._decrypt_and_hash(_cut(data, at, size))
                at += size
            else:
                self._mix_psk(step.keyed)
        return self._decrypt_and_hash(data[at:])

    def split(self) -> tuple[bytes, bytes]:
        """Keys of the initiator's and the responder's direction, 32 bytes each."""
        first, second = hkdf(self._chaining_key, b"", 2)
        return first[:KEY_SIZE], second[:KEY_SIZE]

    def fork(self) -> PortableRun:
        """An independent copy."""
        copy = object.__new__(PortableRun)
        for name in PortableRun.__slots__:
            setattr(copy, name, getattr(self, name))
        copy._psks = list(self._psks)
        return copy

    def _mix_ephemeral(self, public: bytes, keyed: bool) -> None:
        self.mix_hash(public)
        if self._psk_mode:
            self._mix_key(public, keyed)

    def _mix_psk(self, keyed: bool) -> None:
        outputs = hkdf(self._chaining_key, self._psks.pop(0), 3 if keyed else 2)
        self._chaining_key = outputs[0]
        self.mix_hash(outputs[1])
        if keyed:
            self._key = outputs[2][:KEY_SIZE]
            self._nonce = 0

    def _mix_shared(self, step: Step) -> None:
        if self._shared is not None and step.theirs_static and not step.ours_static:
            shared, self._shared = self._shared, None
            self._mix_key(shared, step.keyed)
            return
        pair = self._static if step.ours_static else self._ephemeral
        public = self.remote_static if step.theirs_static else self.remote_ephemeral
        assert pair is not None
        assert public is not None
        self._mix_key(diffie_hellman_untrusted(pair.secret, public), step.keyed)

    def _mix_key(self, material: bytes, keyed: bool) -> None:
        if not keyed:
            self._chaining_key = _first_of_hkdf(self._chaining_key, material)
            return
        self._chaining_key, key = hkdf(self._chaining_key, material, 2)
        self._key = key[:KEY_SIZE]
        self._nonce = 0

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = plaintext
        if self._key is not None:
            ciphertext = seal(self._key, self._nonce, self.hash, plaintext)
            self._nonce += 1
        self.mix_hash(ciphertext)
        return ciphertext

    def _decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        plaintext = ciphertext
        if self._key is not None:
            plaintext = open_untrusted(self._key, self._nonce, self.hash, ciphertext)
            self._nonce += 1
        self.mix_hash(ciphertext)
        return plaintext


def _cut(message: bytes, at: int, size: int) -> bytes:
    piece = message[at : at + size]
    if len(piece) != size:
        raise WireError("message cut off")
    return piece
