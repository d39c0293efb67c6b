"""The pump: one object that reads and writes a UDP socket for everybody, bulk data natively.

Calls release the GIL while they work. They may come from several threads, one after the other
inside; `receive`, `inject`, `collect` and `read` are for one thread at a time.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from utp_native.native import ffi, lib, native_keys, sodium
from utp_native.types import (
    Address,
    ChannelEvent,
    EventKind,
    NativeError,
    PathEvent,
    PlaneKeys,
    PumpConfig,
    Reason,
    Transmit,
    address_of,
    fail,
    raw_of,
)

__all__ = ["Pump"]

_INDEX: Final = struct.Struct("=IH18s")
assert _INDEX.size == ffi.sizeof("qp_datagram")
_EVENT: Final = struct.Struct("=qqii")
assert _EVENT.size == ffi.sizeof("qp_event")
_EVENTS_PER_POLL: Final = 1024
_PATHS_PER_POLL: Final = 64
_ADDRESSES_MAX: Final = 65536
_SCRATCH_SIZE: Final = 1 << 18
_SEED_SIZE: Final = 32
_KINDS: Final = tuple(EventKind)
_REASONS: Final = tuple(Reason)
_new_uncleared = ffi.new_allocator(should_clear_after_alloc=False)
_BYTES: Final = ffi.typeof("uint8_t[]")

class Pump:
    """Reads and writes one socket, or datagrams from memory.

    `fd` is a UDP socket, which stays the caller's: the pump makes it non-blocking, sets its buffers
    and neither closes nor duplicates it. Close the pump first. Without one, datagrams come through
    `inject` and leave through `collect`, and the pump is a function of what it is given and of the
    random bytes: the simulator's way.

    `now` is in seconds on the caller's monotonic clock. Actions without it happen at the time the
    pump was told last (with a socket: moved on by what has passed since), so a simulator calls
    `handle_timeout(now)` before it acts at a later time.

    Raises `OSError` if `fd` is not a UDP socket.
    """

    __slots__ = (
        "_batch", "_due", "_events", "_from_raw", "_paths", "_pump", "_scratch", "_stirred",
        "_to_raw", "config", "eventful",
    )  # fmt: skip

    def __init__(
        self,
        fd: int | None,
        *,
        random: Callable[[int], bytes],
        now: float = 0.0,
        config: PumpConfig | None = None,
    ) -> None:
        self._pump: Any = None
        self.config = config or PumpConfig()
        if fd is not None and fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        native = ffi.new("qp_config *")
        for name in PumpConfig.__dataclass_fields__:
            setattr(native, name, int(getattr(self.config, name)))
        if native.output_max == 0:
            native.output_max = 65536 if fd is None else 2048
        seed = random(_SEED_SIZE)
        if len(seed) != _SEED_SIZE:
            raise ValueError("random gave another number of bytes than asked for")
        error = ffi.new("int64_t *")
        pump = lib.qp_new(sodium, native, -1 if fd is None else fd, seed, now, error)
        if pump == ffi.NULL:
            raise OSError(-error[0], os.strerror(-error[0]))
        self._pump = ffi.gc(pump, lib.qp_free)
        self._batch = ffi.new("qp_batch *")
        self._paths = ffi.new("qp_path[]", _PATHS_PER_POLL)
        self._scratch: Any = None
        self._events = ffi.new("qp_event[]", _EVENTS_PER_POLL)
        self._to_raw: dict[Address, bytes] = {}
        self._from_raw: dict[bytes, Address] = {}
        self._due: float | None = None
        self._stirred = True  # something may have changed `_due` since it was asked for
        self.eventful = False
        """Whether `receive` or `inject` left something for `poll_events` or `poll_paths`."""

    def close(self) -> None:
        """Free everything natively held. Every later call raises `NativeError`."""
        pump, self._pump = self._pump, None
        self._stirred = True
        if pump is not None:
            ffi.release(pump)

    def _native(self) -> Any:
        if self._pump is None:
            raise NativeError("the pump is closed")
        return self._pump

    # --- datagrams ------------------------------------------------------------------------------

    def receive(
        self, now: float, datagrams_max: int = 64, bulk_max: int = 512
    ) -> list[tuple[bytes, Address]]:
        """Read what the socket has and do what it asks for; returns what is not bulk.

        Reads until the socket is empty, or `datagrams_max` of these came, or `bulk_max` datagrams
        of bulk; each message of the kernel's receive offload can exceed that by 63, and 16 are
        read at a time. Raises `OSError` if the socket is broken.
        """
        pump = self._pump or self._native()
        result = lib.qp_receive(pump, now, datagrams_max, bulk_max, self._batch)
        if result < 0:
            if result == -errno.ENOTSOCK:
                fail(result)
            raise OSError(-result, os.strerror(-result))
        batch = self._batch
        if result != batch.count:  # bulk came, which is all that changes what is due
            self._stirred = True
            self.eventful = bool(batch.events)
        return self._taken()

    def inject(
        self, batch: Sequence[tuple[bytes, Address]], now: float
    ) -> list[tuple[bytes, Address]]:
        """Take datagrams as if they had been received; returns what is not bulk."""
        data, index = self._packed(batch)
        self._checked(lib.qp_inject(self._native(), now, data, index, len(batch), self._batch))
        self.eventful = bool(self._batch.events)
        return self._taken()

    def send(self, transmits: Sequence[tuple[bytes, Address]]) -> int:
        """Send control datagrams; returns how many went before the socket was full.

        One that the network refuses counts as sent: datagrams may be lost. Raises `OSError` if the
        socket is broken, `ValueError` for an address that is not numeric.
        """
        if not transmits:
            return 0
        data, index = self._packed(transmits)
        result: int = lib.qp_send(self._native(), data, index, len(transmits))
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def collect(self) -> list[Transmit]:
        """Without a socket: everything sent since the last call, bulk and control, in order."""
        result = lib.qp_collect(self._native(), self._batch)
        if result < 0:
            fail(result)
        return [Transmit(data, address) for data, address in self._taken()]

    def handle_timeout(self, now: float) -> None:
        """Do what is due. Raises `OSError` if the socket is broken."""
        result = lib.qp_handle_timeout(self._native(), now)
        self._stirred = True
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called, or None. It changes with every call."""
        if self._stirred:
            pump = self._native()
            self._stirred = False  # first: another thread may stir meanwhile
            at: float = lib.qp_next_timeout(pump)
            self._due = None if at < 0 else at
        return self._due

    # --- planes ---------------------------------------------------------------------------------

    def add_plane(self, plane: PlaneKeys) -> int:
        """Start the bulk plane of a presence; returns its handle.

        Raises `TooMany`, and `NativeError` for a suite that does not exist or an id in use.
        """
        keys = native_keys(plane)
        raw = self._raw(plane.address)
        return self._checked(lib.qp_add_plane(self._native(), keys, raw, bool(plane.initiator)))

    def add_bare_plane(self, address: Address) -> int:
        """Talk plain BEP 29 with whoever is at `address`, nothing sealed; returns its handle.

        For other implementations of µTP: see `utp_native.bare`. Raises `TooMany`, and `NativeError`
        if there is one for the address.
        """
        return self._checked(lib.qp_add_bare_plane(self._native(), self._raw(address)))

    def move_plane(self, plane: int, address: Address) -> None:
        """Send to `address` from now on, and forget what was measured on the old path."""
        self._checked(lib.qp_move_plane(self._native(), plane, self._raw(address)))

    def rekey_plane(
        self, plane: int, keys: PlaneKeys, *, send_now: bool = True, retire_s: float = 10.0
    ) -> None:
        """Install the keys of a new epoch, of the same suite. Raises NativeError for any of the
        plane's last 64 epochs: its counters would begin at 0 again.

        Both epochs open until the old one is erased after `retire_s`, or by the next rekey.
        `send_now=False` (the handshake's responder) goes on sending under the old keys until a
        bulk datagram of the new epoch opens; `switch_plane` switches earlier.
        """
        native = native_keys(keys)
        self._checked(lib.qp_rekey_plane(self._native(), plane, native, send_now, retire_s))

    def switch_plane(self, plane: int) -> None:
        """Send under the newest keys: a datagram of the new epoch opened elsewhere."""
        self._checked(lib.qp_switch_plane(self._native(), plane))

    def remove_plane(self, plane: int) -> None:
        """Erase its keys and free its channels, which fail with `PLANE_REMOVED`; tells nobody."""
        self._checked(lib.qp_remove_plane(self._native(), plane))

    # --- channels -------------------------------------------------------------------------------

    def open_channel(self, plane: int) -> int:
        """Open a channel; CONNECTED or FAILED follows, and it can be written to before."""
        return self._checked(lib.qp_open_channel(self._native(), plane))

    def write(self, channel: int, data: bytes | bytearray | memoryview) -> int:
        """How many bytes were taken; fewer than given: wait for WRITABLE.

        Raises `ChannelClosed` after `finish` or a failure, `UnknownHandle` after `close_channel`.
        """
        view = ffi.from_buffer(data)
        return self._checked(lib.qp_write(self._native(), channel, view, len(view)))

    def read(self, channel: int, size: int) -> bytes:
        """At most `size` bytes in order; `b""` if there is nothing now (see EOF and FAILED)."""
        pump = self._native()
        there = self._checked(lib.qp_readable(pump, channel))
        if there < size:
            size = there
        if size == 0:
            # Asked for nothing natively, so the next bytes raise READABLE.
            self._checked(lib.qp_read(pump, channel, ffi.NULL, 0))
            return b""
        if size > _SCRATCH_SIZE:
            buffer = _new_uncleared(_BYTES, size)
        else:
            # Memory that is in the processor's cache, instead of new one for each read.
            if self._scratch is None:
                self._scratch = _new_uncleared(_BYTES, _SCRATCH_SIZE)
            buffer = self._scratch
        count = self._checked(lib.qp_read(pump, channel, buffer, size))
        data: bytes = ffi.buffer(buffer, count)[:]
        return data

    def read_into(self, channel: int, buffer: bytearray | memoryview) -> int:
        """As `read`, into a writable buffer; returns how many bytes."""
        view = ffi.from_buffer(buffer, require_writable=True)
        return self._checked(lib.qp_read(self._native(), channel, view, len(view)))

    def finish(self, channel: int) -> None:
        """Nothing more will be written; reading goes on. The peer sees EOF after the last byte."""
        self._checked(lib.qp_finish(self._native(), channel))

    def close_channel(self, channel: int, *, abort: bool = False) -> None:
        """Give the handle up. What was written is still delivered, for up to a minute.

        `abort` drops it and tells the peer. What was received and not read is lost.
        """
        self._checked(lib.qp_close_channel(self._native(), channel, abort))

    def poll_events(self) -> list[ChannelEvent]:
        """What happened since the last call, at most one of a kind for each channel."""
        pump = self._native()
        events: list[ChannelEvent] = []
        while True:
            count = lib.qp_poll_events(pump, self._events, _EVENTS_PER_POLL)
            if count < 0:
                fail(count)
            raw = ffi.buffer(self._events, count * _EVENT.size)
            for channel, plane, kind, reason in _EVENT.iter_unpack(raw):
                events.append(ChannelEvent(channel, plane, _KINDS[kind], _REASONS[reason]))
            if count < _EVENTS_PER_POLL - len(_KINDS):
                return events

    def poll_paths(self) -> list[PathEvent]:
        """Planes whose newest bulk datagram opened from another address than they send to.

        Once for each address in a row; `move_plane`, when the address has been validated, ends it.
        A presence that only moves bulk data learns of its peer's new address this way.
        """
        paths = self._paths
        events: list[PathEvent] = []
        while count := self._checked(lib.qp_poll_paths(self._native(), paths, _PATHS_PER_POLL)):
            for entry in paths[0:count]:
                address = self._address(ffi.buffer(entry.address)[:])
                events.append(PathEvent(entry.plane, address, entry.size))
        return events

    # --- figures --------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Totals since the start, by name: see `qp_counters` in src/abi.h."""
        return self._figures("qp_counters", lib.qp_counters_get)

    def plane_figures(self, plane: int) -> dict[str, int]:
        """Of one plane: what rekeying and liveness go by. `heard_at` is in seconds."""
        return self._figures("qp_plane_figures", lib.qp_plane_figures_get, plane)

    def channel_figures(self, channel: int) -> dict[str, int]:
        """Of one channel: window, round trip, buffers."""
        return self._figures("qp_channel_figures", lib.qp_channel_figures_get, channel)

    def _figures(self, kind: str, get: Callable[..., int], *handle: int) -> dict[str, int]:
        out = ffi.new(kind + " *")
        self._checked(get(self._native(), *handle, out))
        return {name: getattr(out, name) for name, _ in ffi.typeof(kind).fields}

    # --- the border -----------------------------------------------------------------------------

    def _checked(self, result: int) -> int:
        self._stirred = True
        if result < 0:
            fail(result)
        return result

    def _taken(self) -> list[tuple[bytes, Address]]:
        batch = self._batch
        count = batch.count
        if not count:
            return []
        data = ffi.buffer(batch.data, batch.data_size)[:]
        index = ffi.buffer(batch.index, count * _INDEX.size)
        known = self._from_raw
        if count == 1:
            _, _, raw = _INDEX.unpack(index)
            return [(data, known.get(raw) or self._address(raw))]
        taken = []
        for offset, size, raw in _INDEX.iter_unpack(index):
            address = known.get(raw) or self._address(raw)
            taken.append((data[offset : offset + size], address))
        return taken

    def _packed(self, batch: Iterable[tuple[bytes, Address]]) -> tuple[bytes, Any]:
        pack = _INDEX.pack
        known = self._to_raw
        pieces: list[bytes] = []
        index: list[bytes] = []
        offset = 0
        for data, address in batch:
            size = len(data)
            if size > 65535:
                raise ValueError("a datagram is at most 65535 bytes")
            pieces.append(data)
            index.append(pack(offset, size, known.get(address) or self._raw(address)))
            offset += size
        return b"".join(pieces), ffi.from_buffer("qp_datagram[]", b"".join(index))

    def _address(self, raw: bytes) -> Address:
        known = self._from_raw
        if len(known) >= _ADDRESSES_MAX:
            known.clear()  # anybody can send from anywhere
        address = known[raw] = address_of(raw)
        return address

    def _raw(self, address: Address) -> bytes:
        known = self._to_raw
        raw = known.get(address)
        if raw is not None:
            return raw
        if len(known) >= _ADDRESSES_MAX:
            known.clear()
        raw = known[address] = raw_of(address)
        return raw
