"""Tickets through whole tables of peers: what is none, and how many are held."""

from __future__ import annotations

import pytest

from tests.support.pair.stack import OPEN, Stack
from transport.core.config import TransportConfig
from transport.core.events import PresenceDown, Reason


@pytest.mark.parametrize(
    "frame",
    [
        b"\x0c",
        b"\x0c" + bytes(52),
        b"\x0c\x02" + bytes(52),
        b"\x0c\x01" + bytes(48) + b"\xff\xff\xff\xff",
    ],
    ids=["nothing", "cut", "a voucher", "for ever"],
)
def test_what_is_no_ticket_ends_the_presence(frame: bytes) -> None:
    stack = Stack()
    here, there = stack.add("here"), stack.add("there")
    stack.ask(here, there)
    stack.run(1.0)
    presence = there.node._context.by_key[stack.key(here)].current
    datagram = presence.sealer.seal(frame)
    here.node.receive_datagrams([(datagram, there.address)], stack.world.now)
    here.call(lambda node, now: None)
    (down,) = [event for _, event in here.events if isinstance(event, PresenceDown)]
    assert down.reason == Reason.PROTOCOL
    assert here.node._context.tickets == {}


def test_tickets_held_are_bounded() -> None:
    stack = Stack(TransportConfig(known_max=2))
    here, other = stack.add("here"), stack.add("other", OPEN)
    givers = [stack.add(f"giver{number}", OPEN) for number in range(4)]
    (record,) = stack.records(other)
    issuer = stack.key(other)
    take, now = here.node.introductions, stack.world.now
    for giver in givers:
        voucher = other.node.introductions.vouch(stack.key(here), now)
        (record,) = stack.records(giver)
        take.hold_untrusted(stack.key(giver), voucher, issuer, record, now)
    assert list(here.node._context.tickets) == [stack.key(giver) for giver in givers[2:]]
