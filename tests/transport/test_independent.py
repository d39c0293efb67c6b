"""A second implementation, written from docs/protocol alone, meets the shipped responder.

Nothing of `transport.core` is used but the responder under test; `tests.support.pair.independent`
is the other side. If a page leaves something out, or says something else than the code does, this
fails.
"""

from __future__ import annotations

import os
import struct

import pytest

from tests.support.pair.independent import (
    Direction,
    Initiator,
    Name,
    data_key,
    entries,
    hashed,
    lane_open,
    lane_packet,
)
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity
from transport.core.events import EntriesReceived, MessageReceived, PresenceUp
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.peers import Peers
from transport.core.types import Message

HERE = ("192.0.2.1", 4001)


# --- the shipped side -----------------------------------------------------------------------------


class Shipped:
    """The responder under test, which answers what it is asked."""

    def __init__(self, config: HandshakeConfig) -> None:
        self.identity = Identity.generate(os.urandom)
        self.now = 5000.0
        settings = TransportConfig(handshake=config)
        self.peers = Peers(self.identity, settings, os.urandom, self.now, 22)
        self.happened: list[object] = []

    def give(
        self, datagram: bytes, later_s: float = 0.0, at: tuple[str, int] = HERE
    ) -> list[bytes]:
        """What it sends back to where this came from."""
        self.now += later_s
        if datagram:
            self.peers.receive_datagrams([(datagram, at)], self.now)
        due = self.peers.next_timeout()
        if due is not None and due <= self.now:
            self.peers.handle_timeout(self.now)
        for event in self.peers.poll_events():
            self.happened.append(event)
            if isinstance(event, EntriesReceived):
                for group, entry in event.entries:
                    self.peers.send(event.peer, group, b"re: " + entry, self.now)
            if isinstance(event, MessageReceived):
                answer = Message(7, b"re: " + event.message.body, in_reply_to=event.name)
                self.peers.send_message(event.peer, answer, self.now)
        sent = self.peers.poll_transmits()
        assert all(each.address == at for each in sent), "nothing goes anywhere else"
        return [each.data for each in sent]

    def of(self, kind: type) -> list[object]:
        return [event for event in self.happened if isinstance(event, kind)]


LANE = 0x1122334455667788


def first_contact(effort: int) -> tuple[Shipped, Initiator, int]:
    """A request with P3, its answer with P4; the lane id of the other side."""
    shipped = Shipped(HandshakeConfig(effort_min=effort))
    initiator = Initiator(Name(), shipped.identity.key)
    (p2,) = shipped.give(initiator.hello())
    (p4,) = shipped.give(initiator.initiate(p2, lane_open(LANE, 0) + lane_packet(0, 1, b"first")))
    found, others = entries(initiator.accepted(p4))
    assert found == [(1, b"re: first")]
    theirs, ours = struct.unpack(">QQ", others[0x06])
    assert ours == LANE
    return shipped, initiator, theirs


@pytest.mark.parametrize("effort", [0, 500])
def test_first_contact_with_a_request_and_its_answer(effort: int) -> None:
    shipped, initiator, _ = first_contact(effort)
    (up,) = shipped.of(PresenceUp)
    assert isinstance(up, PresenceUp)
    assert (up.peer, up.incarnation) == (initiator.me.key, 11)


def test_then_sealed_datagrams_both_ways() -> None:
    shipped, initiator, _ = first_contact(0)
    assert initiator.out.next == 0
    for number in range(1, 200):
        asked = b"number %d" % number
        # Acknowledges all that has come; the answer rides with the acknowledgement of this.
        packet = lane_packet(number, 1, asked, upto=number)
        sent = shipped.give(initiator.out.seal(packet), 0.001)
        found = [each for data in sent for each in entries(initiator.inward.open(data))[0]]
        assert found == [(1, b"re: " + asked)]
    got = [entry for event in shipped.of(EntriesReceived) for _, entry in event.entries]  # type: ignore[attr-defined]
    assert got == [b"first", *(b"number %d" % number for number in range(1, 200))]


def test_a_probe_is_answered_and_nothing_opens_twice() -> None:
    shipped, initiator, _ = first_contact(0)
    ping = initiator.out.seal(struct.pack(">BI", 0x01, 77))
    (pong,) = shipped.give(ping)
    _, others = entries(initiator.inward.open(pong))
    assert others[0x02] == struct.pack(">I", 77)
    assert shipped.give(ping) == []


def test_a_message_and_its_name() -> None:
    shipped, initiator, theirs = first_contact(0)
    body = b"what is this called"
    message = struct.pack(">BIIHBH", 0x10, 0, 0, 5, 0, len(body)) + body
    (answer,) = shipped.give(initiator.out.seal(message))
    _, others = entries(initiator.inward.open(answer))
    frame = others[0x10]
    number, acknowledged, kind, forms, _ = struct.unpack_from(">IIHBH", frame)
    assert (number, acknowledged, kind) == (0, 1, 7)
    # in_reply_to is the second reference: form 2, the distance from `acknowledged`.
    assert forms == 2 << 2
    assert frame[13] == 1
    (received,) = shipped.of(MessageReceived)
    assert isinstance(received, MessageReceived)
    named = b"quorate message" + initiator.me.key + shipped.identity.key
    named += struct.pack(">QQIH", LANE, theirs, 0, 5) + bytes(3) + body
    assert received.name == hashed(named)


def test_what_is_changed_by_one_bit_is_silence() -> None:
    shipped = Shipped(HandshakeConfig())
    initiator = Initiator(Name(), shipped.identity.key)
    (p2,) = shipped.give(initiator.hello())
    p3 = initiator.initiate(p2, lane_open(LANE, 0))
    for at in range(9, len(p3), 7):
        assert shipped.give(p3[:at] + bytes([p3[at] ^ 1]) + p3[at + 1 :]) == []
        assert shipped.of(PresenceUp) == []
        shipped = Shipped(HandshakeConfig())
        initiator = Initiator(Name(), shipped.identity.key)
        (p2,) = shipped.give(initiator.hello())
        p3 = initiator.initiate(p2, lane_open(LANE, 0))
    (p4,) = shipped.give(p3)
    initiator.accepted(p4)


@pytest.mark.parametrize("number", [0, 1])
def test_a_move_to_another_address_under_spare_ids(number: int) -> None:
    shipped, initiator, _ = first_contact(0)
    elsewhere = ("203.0.113.77", 9)
    movable = bytes([0x0D]) + struct.pack(">BI", 0x01, 1)
    assert len(shipped.give(initiator.out.seal(movable))) == 1
    split = [
        hashed(b"quorate spare key" + bytes([number, direction]), key=initiator.rekey)
        for direction in (1, 2)
    ]
    at = 16 * number
    ids = [
        hashed(b"quorate spare ids" + bytes([direction]), key=initiator.rekey)[at : at + 8]
        for direction in (1, 2)
    ]
    out = Direction(ids[0], data_key(split[0], 1, 1), data_key(split[0], 1, 2))
    inward = Direction(ids[1], data_key(split[1], 2, 1), data_key(split[1], 2, 2))
    sent = shipped.give(out.seal(struct.pack(">BI", 0x01, 2)), 0.1, elsewhere)
    others: dict[int, bytes] = {}
    for datagram in sent:
        others |= entries(inward.open(datagram))[1]
    assert others[0x02] == struct.pack(">I", 2)
    # With the echo of its challenge the address is settled, and the lane goes on there.
    sent = shipped.give(out.seal(b"\x04" + others[0x03]), 0.1, elsewhere)
    packet = lane_packet(1, 1, b"from here", upto=1)
    sent += shipped.give(out.seal(packet), 0.1, elsewhere)
    payloads = [inward.open(datagram) for datagram in sent]
    found = [each for payload in payloads if payload[0] != 0x09 for each in entries(payload)[0]]
    # What was not acknowledged comes again.
    assert found == [(1, b"re: first"), (1, b"re: from here")]
