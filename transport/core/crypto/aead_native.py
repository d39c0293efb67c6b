"""Sealed datagrams, one native call each: `utp_native/src/crypto/sealed.cpp`.

The same as `aead_portable`, to which the tests hold it. Numbers, the replay window and the keys are
in one native structure for each direction.
"""

from __future__ import annotations

from typing import Any

from transport.core.constants import CID_SIZE, KEY_SIZE
from transport.core.crypto.aead_portable import SEALED_PAYLOAD_SIZE_MAX, is_relay
from transport.core.errors import LocalError, WireError
from utp_native.sealing import ffi, lib, sodium

__all__ = ["Opener", "Sealer"]

_seal = lib.qp_seal
_open = lib.qp_open_untrusted
_unpack = ffi.unpack
_DIRECTION = ffi.typeof("qp_direction *")
_REFUSALS = {
    -1: "these keys are erased",
    -2: "all numbers of these keys are used",
    -3: "the payload does not fit in a datagram",
}


class _Direction:
    __slots__ = ("_native", "cid")

    def __init__(self, opens: bool, cid: bytes, suite: int, key: bytes, header_key: bytes) -> None:
        if len(cid) != CID_SIZE or len(key) != KEY_SIZE or len(header_key) != KEY_SIZE:
            raise LocalError("a direction needs an 8-byte id and two 32-byte keys")
        self.cid = cid
        self._native: Any = ffi.new(_DIRECTION)
        if lib.qp_direction_init(sodium, self._native, opens, suite, cid, key, header_key):
            raise LocalError(f"there is no suite {suite}")

    def erase(self) -> None:
        """Overwrite the keys; after this nothing opens, and to seal raises `LocalError`."""
        lib.qp_direction_erase(self._native)


class Sealer(_Direction):
    """Seals what goes to the peer's connection id `cid`."""

    __slots__ = ()

    def __init__(
        self, cid: bytes, suite: int, key: bytes, header_key: bytes, *, number_size_min: int = 1
    ) -> None:
        """Raises `LocalError` for sizes or a suite that do not exist."""
        super().__init__(False, cid, suite, key, header_key)
        self._native.counter_size_min = number_size_min

    @property
    def next_packet_number(self) -> int:
        """The packet number of the next datagram: as many were sealed."""
        number: int = self._native.next
        return number

    @property
    def state(self) -> tuple[int, int]:
        """What to `resume` from under the same keys: the next number, the last acknowledged."""
        return self._native.next, self._native.acknowledged

    def resume(self, following: int, acknowledged: int) -> None:
        """Go on where another sealer of these keys has stopped; both must never seal."""
        self._native.next = following
        self._native.acknowledged = acknowledged

    def acknowledge(self, number: int) -> None:
        """The peer has opened the datagram `number`; numbers get shorter."""
        native = self._native
        if native.acknowledged < number < native.next:
            native.acknowledged = number

    def seal(self, payload: bytes) -> bytes:
        """The datagram that carries `payload`, at most `SEALED_PAYLOAD_SIZE_MAX` bytes; a relay's
        frame may have `RELAY_PAYLOAD_SIZE_MAX`. Raises `LocalError` for a longer one.
        """
        size = len(payload)
        if size > SEALED_PAYLOAD_SIZE_MAX and not is_relay(payload):
            raise LocalError("the payload does not fit in a datagram")
        native = self._native
        sealed = _seal(native, payload, size)
        if sealed < 0:
            raise LocalError(_REFUSALS[sealed])
        datagram: bytes = _unpack(native.out, sealed)
        return datagram


class Opener(_Direction):
    """Opens what arrives under our connection id `cid`, each datagram once."""

    __slots__ = ()

    def __init__(self, cid: bytes, suite: int, key: bytes, header_key: bytes) -> None:
        """Raises `LocalError` for sizes or a suite that do not exist."""
        super().__init__(True, cid, suite, key, header_key)

    @property
    def newest(self) -> bool:
        """The datagram opened last has the largest packet number so far."""
        return bool(self._native.newest)

    @property
    def state(self) -> tuple[int, int]:
        """What to `resume` from under the same keys: what is refused."""
        return self._native.largest, self._native.window

    def resume(self, largest: int, bits: int) -> None:
        """Refuse what another opener of these keys refused."""
        self._native.largest = largest
        self._native.window = bits

    def open_untrusted(self, datagram: bytes) -> bytes:
        """The payload. Raises `WireError` for anything forged, altered, cut, or seen before."""
        native = self._native
        size = _open(native, datagram, len(datagram))
        if size < 0:
            raise WireError("the datagram does not open")
        payload: bytes = _unpack(native.out, size)
        return payload
