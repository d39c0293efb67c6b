"""Messages of a Noise run, one native call each: `utp_native/src/crypto/noise.cpp`.

A run of the handshake calls some eighty primitives, most of them hashes of a hundred bytes that
cost less than calling them from Python does. The state is in native memory, and is overwritten when
the run is dropped. Importing this raises `ImportError` where the extension is not built.
"""

from __future__ import annotations

from typing import Any

from transport.core.constants import KEY_SIZE
from transport.core.crypto.keys import KeyPair
from transport.core.crypto.patterns import HASH_SIZE, Message
from transport.core.errors import WireError
from utp_native.noise import ffi, functions, lib

_SIZE = ffi.sizeof("qp_noise")
_HASH_AT = ffi.offsetof("qp_noise", "hash")
_SECRET_AT = ffi.offsetof("qp_noise", "secret")
_PUBLIC_AT = ffi.offsetof("qp_noise", "public_key")
_REMOTE_AT = ffi.offsetof("qp_noise", "remote")
_STATIC_AT = KEY_SIZE  # of two keys the static one is the second
_new = ffi.new
_NULL = ffi.NULL
_begin = lib.qp_noise_begin
_STATE = ffi.typeof("qp_noise *")
_buffer = ffi.buffer
# Shared by all runs: the cores are single-threaded and nothing is read from it between calls.
_out = ffi.new("uint8_t[]", 65536)
_out_view = ffi.buffer(_out)
_split = ffi.new("uint8_t[]", 2 * KEY_SIZE)
_split_view = ffi.buffer(_split)
_DEGENERATE = -2


class NativeRun:
    """As `noise_portable.PortableRun`."""

    __slots__ = ("_bytes", "_state", "remote_ephemeral", "remote_static")

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
        self._state: Any = _new(_STATE)
        self._bytes = _buffer(self._state)
        self.remote_static = remote_static
        self.remote_ephemeral: bytes | None = None
        _begin(
            functions,
            self._state,
            first_hash,
            prologue,
            len(prologue),
            _NULL if static is None else static.secret,
            _NULL if static is None else static.public,
            _NULL if remote_static is None else remote_static,
            _NULL if ephemeral is None else ephemeral.secret,
            _NULL if ephemeral is None else ephemeral.public,
            _NULL if shared is None else shared,
            b"".join(psks),
            len(psks),
            known,
            len(known),
        )

    def __del__(self) -> None:
        lib.qp_noise_erase(self._state)

    def set_ephemeral(self, ephemeral: KeyPair) -> None:
        """As `PortableRun.set_ephemeral`."""
        self._set(_SECRET_AT, ephemeral.secret)
        self._set(_PUBLIC_AT, ephemeral.public)

    def write(self, message: Message, payload: bytes) -> bytes:
        """As `PortableRun.write`."""
        code = message.code
        size = lib.qp_noise_write(
            functions, self._state, code, len(code), payload, len(payload), _out
        )
        if size < 0:
            _refuse(size)
        written: bytes = _out_view[0:size]
        return written

    def read_untrusted(self, message: Message, data: bytes) -> bytes:
        """As `PortableRun.read_untrusted`."""
        code = message.code
        size = lib.qp_noise_read(functions, self._state, code, len(code), data, len(data), _out)
        if size < 0:
            _refuse(size)
        if message.brings_ephemeral:
            self.remote_ephemeral = self._get(_REMOTE_AT)
        if message.brings_static:
            self.remote_static = self._get(_REMOTE_AT + _STATIC_AT)
        payload: bytes = _out_view[0:size]
        return payload

    def split(self) -> tuple[bytes, bytes]:
        """As `PortableRun.split`."""
        lib.qp_noise_split(functions, self._state, _split)
        keys: tuple[bytes, bytes] = (_split_view[0:KEY_SIZE], _split_view[KEY_SIZE : 2 * KEY_SIZE])
        _split_view[:] = bytes(2 * KEY_SIZE)
        return keys

    def fork(self) -> NativeRun:
        """As `PortableRun.fork`."""
        copy = object.__new__(NativeRun)
        copy._state = _new(_STATE)
        copy._bytes = _buffer(copy._state)
        ffi.memmove(copy._state, self._state, _SIZE)
        copy.remote_static = self.remote_static
        copy.remote_ephemeral = self.remote_ephemeral
        return copy

    @property
    def hash(self) -> bytes:
        """The handshake's hash so far."""
        found: bytes = self._bytes[_HASH_AT : _HASH_AT + HASH_SIZE]
        return found

    def _set(self, at: int, value: bytes) -> None:
        self._bytes[at : at + len(value)] = value

    def _get(self, at: int) -> bytes:
        found: bytes = self._bytes[at : at + KEY_SIZE]
        return found


def derive(key: bytes, labels: tuple[bytes, ...]) -> list[bytes]:
    """As `noise_portable.derive`; at most eight labels, all of one length."""
    count = len(labels)
    lib.qp_derive(key, b"".join(labels), count, len(labels[0]), _out)
    derived: bytes = _out_view[0 : count * KEY_SIZE]
    return [derived[at : at + KEY_SIZE] for at in range(0, count * KEY_SIZE, KEY_SIZE)]


def _refuse(size: int) -> None:
    raise WireError("degenerate Diffie-Hellman" if size == _DEGENERATE else "not authentic")
