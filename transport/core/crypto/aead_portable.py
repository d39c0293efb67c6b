"""Sealed datagrams, a primitive at a time: where the extension is not built.

The tests hold `aead_native` to it. Direct calls on PyNaCl's own libsodium take a quarter of the
time of `nacl.bindings`, which checks types and copies twice.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from nacl._sodium import ffi, lib

from transport.core.constants import (
    CID_SIZE,
    DATAGRAM_SIZE_MAX,
    KEY_SIZE,
    PACKET_NUMBER_MAX,
    PACKET_NUMBER_SIZE_MAX,
    REPLAY_WINDOW_MESSAGES,
    SEALED_SIZE_MAX,
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
)
from transport.core.crypto import packet_number
from transport.core.errors import LocalError, WireError
from transport.core.frames import RELAY, RELAYED

__all__ = ["RELAY_PAYLOAD_SIZE_MAX", "SEALED_PAYLOAD_SIZE_MAX", "Opener", "Sealer", "is_relay"]

_MASK_SAMPLE_SIZE = 16  # the datagram's last bytes, whatever the suite's tag is
_MASK_SIZE = 16
_TAG_SIZE_MAX = 32

SEALED_PAYLOAD_SIZE_MAX = SEALED_SIZE_MAX - CID_SIZE - PACKET_NUMBER_SIZE_MAX - _TAG_SIZE_MAX
"""Bytes of frames that fit whatever the packet number's length and the suite are."""

RELAY_PAYLOAD_SIZE_MAX = 1 + KEY_SIZE + SEALED_SIZE_MAX
"""The one payload that may be longer: a relay's frame, with a sealed datagram in it."""

_RELAY_NUMBER_SIZE_MAX = 7
"""A wrapped datagram is in flight with fewer than 2^43 others: keys are renewed long before."""
assert (
    CID_SIZE + _RELAY_NUMBER_SIZE_MAX + RELAY_PAYLOAD_SIZE_MAX + _TAG_SIZE_MAX <= DATAGRAM_SIZE_MAX
)

if lib.sodium_init() < 0:  # picks the fastest implementations; harmless when done before
    raise RuntimeError("libsodium cannot be initialised")

_NULL = ffi.NULL
_BYTE = tuple(bytes([value]) for value in range(256))
_HEAD_SIZE_MIN = CID_SIZE + 1
# For each call: another node may live in another thread, and cffi lets go of the interpreter.
_buffer = ffi.new_allocator(should_clear_after_alloc=False)
_BYTES = ffi.typeof("unsigned char[]")


def is_relay(payload: bytes) -> bool:
    """Whether it is a relay's frame, and not longer than one may be."""
    return len(payload) <= RELAY_PAYLOAD_SIZE_MAX and payload[0] in (RELAY, RELAYED)


class _Suite:
    """Functions and sizes of one AEAD of libsodium."""

    __slots__ = ("nonce_size", "open", "seal", "tag_size")

    def __init__(self, prefix: str) -> None:
        self.seal: Callable[..., int] = getattr(lib, prefix + "_encrypt")
        self.open: Callable[..., int] = getattr(lib, prefix + "_decrypt")
        self.nonce_size: int = getattr(lib, prefix + "_npubbytes")()
        self.tag_size: int = getattr(lib, prefix + "_abytes")()


_SUITES = {
    SUITE_XCHACHA20: _Suite("crypto_aead_xchacha20poly1305_ietf"),
    SUITE_AEGIS256: _Suite("crypto_aead_aegis256"),
}
assert max(suite.tag_size for suite in _SUITES.values()) == _TAG_SIZE_MAX


def _seal_erased(*arguments: object) -> int:
    # Under a key of zeros everybody could read it.
    raise LocalError("these keys are erased")


def _open_erased(*arguments: object) -> int:
    return -1


class _Direction:
    __slots__ = ("_key", "_mac", "_nonce_size", "_tag_size", "cid")

    def __init__(self, cid: bytes, suite: int, key: bytes, header_key: bytes) -> None:
        if len(cid) != CID_SIZE or len(key) != KEY_SIZE or len(header_key) != KEY_SIZE:
            raise LocalError("a direction needs an 8-byte id and two 32-byte keys")
        if suite not in _SUITES:
            raise LocalError(f"there is no suite {suite}")
        self.cid = cid
        self._key: Any = ffi.new("unsigned char[]", key)
        self._mac = blake2b(digest_size=_MASK_SIZE, key=header_key)
        self._nonce_size = _SUITES[suite].nonce_size
        self._tag_size = _SUITES[suite].tag_size

    def erase(self) -> None:
        """Overwrite the keys; after this nothing opens, and to seal raises `LocalError`."""
        ffi.memmove(self._key, bytes(KEY_SIZE), KEY_SIZE)
        self._mac = blake2b(digest_size=_MASK_SIZE)


class Sealer(_Direction):
    """Seals what goes to the peer's connection id `cid`."""

    __slots__ = ("_numbers", "_seal")

    def __init__(
        self, cid: bytes, suite: int, key: bytes, header_key: bytes, *, number_size_min: int = 1
    ) -> None:
        """Raises `LocalError` for sizes or a suite that do not exist."""
        super().__init__(cid, suite, key, header_key)
        self._seal = _SUITES[suite].seal
        self._numbers = packet_number.SendNumbers(number_size_min)

    @property
    def next_packet_number(self) -> int:
        """The packet number of the next datagram: as many were sealed."""
        return self._numbers.next

    @property
    def state(self) -> tuple[int, int]:
        """What to `resume` from under the same keys: the next number, the last acknowledged."""
        return self._numbers.next, self._numbers.acknowledged

    def resume(self, following: int, acknowledged: int) -> None:
        """Go on where another sealer of these keys has stopped; both must never seal."""
        self._numbers.next = following
        self._numbers.acknowledged = acknowledged

    def acknowledge(self, number: int) -> None:
        """The peer has opened the datagram `number`; numbers get shorter."""
        self._numbers.acknowledge(number)

    def erase(self) -> None:
        super().erase()
        self._seal = _seal_erased

    def seal(self, payload: bytes) -> bytes:
        """The datagram that carries `payload`, at most `SEALED_PAYLOAD_SIZE_MAX` bytes; a relay's
        frame may have `RELAY_PAYLOAD_SIZE_MAX`. Raises `LocalError` for a longer one.
        """
        size = len(payload)
        if size > SEALED_PAYLOAD_SIZE_MAX and not is_relay(payload):
            raise LocalError("the payload does not fit in a datagram")
        number, head = self._numbers.take()
        cid = self.cid
        length = len(head)
        out = _buffer(_BYTES, size + self._tag_size)
        self._seal(
            out,
            _NULL,
            payload,
            size,
            cid + head,
            CID_SIZE + length,
            _NULL,
            number.to_bytes(self._nonce_size, "big"),
            self._key,
        )
        sealed: bytes = ffi.buffer(out)[:]
        mac = self._mac.copy()
        mac.update(sealed[-_MASK_SAMPLE_SIZE:])
        mask = mac.digest()
        if length == 1:
            return cid + _BYTE[head[0] ^ mask[0]] + sealed
        masked = int.from_bytes(head, "big") ^ int.from_bytes(mask[:length], "big")
        return cid + masked.to_bytes(length, "big") + sealed


class Opener(_Direction):
    """Opens what arrives under our connection id `cid`, each datagram once."""

    __slots__ = ("_open", "_replay", "_size_min", "newest")

    def __init__(
        self,
        cid: bytes,
        suite: int,
        key: bytes,
        header_key: bytes,
        *,
        replay_window: int = REPLAY_WINDOW_MESSAGES,
    ) -> None:
        """Raises `LocalError` for sizes or a suite that do not exist."""
        super().__init__(cid, suite, key, header_key)
        self._open = _SUITES[suite].open
        self._replay = packet_number.ReplayWindow(replay_window)
        self._size_min = _HEAD_SIZE_MIN + self._tag_size
        self.newest = False
        """The datagram opened last has the largest packet number so far."""

    @property
    def state(self) -> tuple[int, int]:
        """What to `resume` from under the same keys: what is refused."""
        return self._replay.state

    def resume(self, largest: int, bits: int) -> None:
        """Refuse what another opener of these keys refused."""
        self._replay.resume(largest, bits)

    def erase(self) -> None:
        super().erase()
        self._open = _open_erased

    def open_untrusted(self, datagram: bytes) -> bytes:
        """The payload. Raises `WireError` for anything forged, altered, cut, or seen before."""
        size = len(datagram)
        if not self._size_min <= size <= DATAGRAM_SIZE_MAX:
            raise WireError("not the size of a sealed datagram")
        mac = self._mac.copy()
        mac.update(datagram[-_MASK_SAMPLE_SIZE:])
        mask = mac.digest()
        # Byte by byte: only an unmasked byte tells whether another one follows.
        byte = datagram[CID_SIZE] ^ mask[0]
        head_size = _HEAD_SIZE_MIN
        if byte < 0x80:
            ad = datagram[:CID_SIZE] + _BYTE[byte]
            value = byte
            bits = 7
        else:
            value = byte & 0x7F
            head = bytearray(datagram[:CID_SIZE])
            head.append(byte)
            while byte & 0x80:
                if head_size == CID_SIZE + PACKET_NUMBER_SIZE_MAX:
                    raise WireError("the packet number is too long")
                byte = datagram[head_size] ^ mask[head_size - CID_SIZE]
                head.append(byte)
                value = value << 7 | byte & 0x7F
                head_size += 1
            ad = bytes(head)
            bits = 7 * (head_size - CID_SIZE)
        sealed_size = size - head_size
        payload_size = sealed_size - self._tag_size
        if payload_size < 0:
            raise WireError("the datagram is cut short")
        replay = self._replay
        largest = replay.largest
        number = largest + 1
        in_order = bits == 7 and value == number & 0x7F
        if not in_order:
            number = packet_number.nearest(value, bits, number)
            if number <= largest and not replay.is_fresh(number):
                raise WireError("the datagram was seen before, or is too old to know")
        if number > PACKET_NUMBER_MAX:
            raise WireError("there is no such number")
        out = _buffer(_BYTES, payload_size or 1)
        if self._open(
            out,
            _NULL,
            _NULL,
            datagram[head_size:],
            sealed_size,
            ad,
            head_size,
            number.to_bytes(self._nonce_size, "big"),
            self._key,
        ):
            raise WireError("the datagram is not authentic")
        if in_order:
            self.newest = True
            replay.largest = number
            replay.bits = (replay.bits << 1 | 1) & replay.mask
        else:
            self.newest = number > largest
            replay.mark(number)
        payload: bytes = ffi.buffer(out, payload_size)[:]
        return payload
