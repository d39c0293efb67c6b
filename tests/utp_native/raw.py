"""A peer made of bytes: seals µTP packets of its own making for a pump, with the Python sealer."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tests.utp_native.helpers import A, key_pair, seeded
from transport.core.crypto.aead_portable import Opener, Sealer
from utp_native import SUITE_XCHACHA20, ChannelEvent, Pump, PumpConfig

DATA, FIN, STATE, RESET, SYN = range(5)
_HEADER = struct.Struct(">BBHIIIHH")
HEADER_SIZE = _HEADER.size


@dataclass(frozen=True)
class Packet:
    number: int
    type: int
    extension: int
    connection: int
    timestamp: int
    reply_micro: int
    window: int
    seq: int
    ack: int
    payload: bytes


def parse(payload: bytes) -> Packet:
    first, extension, *rest = _HEADER.unpack_from(payload, 4)
    assert first & 15 == 1
    number = int.from_bytes(payload[:4], "big")
    connection, timestamp, reply_micro, window, seq, ack = rest
    body = payload[4 + HEADER_SIZE :]
    return Packet(
        number, first >> 4, extension, connection, timestamp, reply_micro, window, seq, ack, body
    )


class RawPeer:
    """The initiator of a plane, against a pump in memory that is the responder."""

    def __init__(self, suite: int = SUITE_XCHACHA20, config: PumpConfig | None = None) -> None:
        mine, theirs = key_pair(suite)
        self.pump = Pump(None, random=seeded("raw"), now=1.0, config=config)
        self.plane = self.pump.add_plane(theirs)
        self.sealer = Sealer(
            mine.send_cid, suite, mine.send_key, mine.send_header_key, number_size_min=4
        )
        self.opener = Opener(
            mine.receive_cid, suite, mine.receive_key, mine.receive_header_key, replay_window=8192
        )
        self.now = 1.0
        self.events: list[ChannelEvent] = []
        self.seq = self.ack = 0
        self.connection = 0

    def datagram(
        self,
        type_: int,
        *,
        number: int = 0,
        connection: int | None = None,
        seq: int,
        ack: int = 0,
        payload: bytes = b"",
        extension: int = 0,
        reply_micro: int = 1000,
        window: int = 1 << 20,
    ) -> bytes:
        header = _HEADER.pack(
            type_ << 4 | 1,
            extension,
            self.connection if connection is None else connection,
            int(self.now * 1e6) & 0xFFFFFFFF,
            reply_micro & 0xFFFFFFFF,
            window,
            seq & 0xFFFF,
            ack & 0xFFFF,
        )
        return self.sealer.seal(number.to_bytes(4, "big") + header + payload)

    def give(self, *datagrams: bytes) -> list[Packet]:
        """Hand datagrams over together; returns the packets that answer."""
        assert self.pump.inject([(data, A) for data in datagrams], self.now) == []
        self.events += self.pump.poll_events()
        return self.take()

    def take(self) -> list[Packet]:
        return [parse(self.opener.open_untrusted(t.data)) for t in self.pump.collect()]

    def wait(self, seconds: float) -> list[Packet]:
        """Let virtual time pass, with its timers."""
        end = self.now + seconds
        packets = []
        while (due := self.pump.next_timeout()) is not None and due <= end:
            self.now = max(due, self.now)
            self.pump.handle_timeout(self.now)
            self.events += self.pump.poll_events()
            packets += self.take()
        self.now = end
        return packets

    def connect(self, *, number: int = 0, connection: int = 100, seq: int = 1000) -> int:
        """Open a channel as a µTP initiator would; returns the pump's handle of it."""
        self.connection = (connection + 1) & 0xFFFF
        self.seq = seq
        answers = self.give(self.datagram(SYN, number=number, connection=connection, seq=seq))
        (syn_ack,) = [p for p in answers if p.type == STATE]
        assert syn_ack.ack == seq
        self.ack = (syn_ack.seq - 1) & 0xFFFF
        return self.events[-1].channel

    def data(self, payload: bytes, **more: int) -> bytes:
        """The next data packet in order."""
        self.seq += 1
        return self.datagram(DATA, seq=self.seq, ack=self.ack, payload=payload, **more)
