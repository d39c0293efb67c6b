"""A peer that holds the keys of its plane and says what it likes: packets altered, then sealed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from tests.utp_native.helpers import Keys
from tests.utp_native.raw import DATA, SYN
from transport.core.crypto.aead_portable import Opener, Sealer
from transport.core.errors import TransportError

FLOOD = 120
PACKET_MAX = 1060
"""Bytes of a packet that fit into a sealed datagram, whatever the suite."""
NUMBERS = (0, 1, 2, 3, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF)


class Hostile:
    """Between a pump that speaks plainly and one that expects sealed datagrams of this peer.

    Packets of the first are altered and then sealed, so that they reach libutp behind the seal, the
    table of channels and its numbers. Channels are numbered by the connection ids they use.
    """

    def __init__(self, keys: Keys, choose: random.Random, alter: Callable[[bytes], bytes]) -> None:
        self.choose, self.alter = choose, alter
        self.numbers: dict[int, int] = {}
        self.next_number = 0 if keys.initiator else 1
        self.last_data = b""
        self.rekey(keys)

    def rekey(self, keys: Keys) -> None:
        """Seal and open under other keys from now on."""
        self.sealer = Sealer(
            keys.send_cid, keys.suite, keys.send_key, keys.send_header_key, number_size_min=4
        )
        self.opener = Opener(
            keys.receive_cid,
            keys.suite,
            keys.receive_key,
            keys.receive_header_key,
            replay_window=8192,
        )

    def sealed(self, packets: list[bytes], damage: float) -> list[bytes]:
        """What the peer makes of these packets."""
        out = []
        for packet in packets:
            number = self._number(packet)
            if packet[0] >> 4 == DATA and len(packet) > 100:
                self.last_data = number.to_bytes(4, "big") + packet
            if self.choose.random() < damage:
                out.append(self._seal(number, self.alter(packet)))
            if self.choose.random() < 0.95:
                out.append(self._seal(number, packet))
        if self.last_data and self.choose.random() < 0.1:
            out += self._flood()
        return out

    def opened(self, datagrams: list[bytes]) -> list[bytes]:
        """Packets for the pump that speaks plainly."""
        packets = []
        for datagram in datagrams:
            try:
                payload = self.opener.open_untrusted(datagram)
            except TransportError:
                continue  # sealed under keys that are not these any more
            number, packet = int.from_bytes(payload[:4], "big"), payload[4:]
            if packet[0] >> 4 == SYN:
                self._know(packet, number)
            packets.append(packet)
        return packets

    def _seal(self, number: int, packet: bytes) -> bytes:
        if self.choose.random() < 0.01:
            number = self.choose.choice(NUMBERS)
        return self.sealer.seal(number.to_bytes(4, "big") + packet[:PACKET_MAX])

    def _number(self, packet: bytes) -> int:
        (connection,) = struct.unpack_from(">H", packet, 2)
        if packet[0] >> 4 == SYN and connection not in self.numbers:
            self._know(packet, self.next_number)
            self.next_number += 2
        return self.numbers.get(connection, 0)

    def _know(self, packet: bytes, number: int) -> None:
        (connection,) = struct.unpack_from(">H", packet, 2)
        self.numbers[connection] = self.numbers[connection + 1 & 0xFFFF] = number

    def _flood(self) -> list[bytes]:
        """Data ahead of a gap, whatever the window is."""
        head, packet = self.last_data[:4], self.last_data[4:]
        (seq,) = struct.unpack_from(">H", packet, 16)
        first = seq + self.choose.choice((2, 50, 1000))
        return [
            self.sealer.seal(
                head + packet[:16] + struct.pack(">H", number & 0xFFFF) + packet[18:1050]
            )
            for number in range(first, first + FLOOD)
        ]
