"""Every variant through the whole table of peers, and how long each takes: exactly.

100 ms one way, no processing time. `test_round_trips.py` has the same of the bare machines.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from scenarios.world.world import Host
from tests.support.pair.handshake import flip
from tests.support.pair.stack import (
    CIRCLE,
    OPEN,
    REQUEST,
    RTT_S,
    SERVES_ANYBODY,
    Stack,
    sniffed,
)
from transport.core.config import TransportConfig
from transport.core.constants import (
    KIND_INITIATE,
    KIND_INITIATE_ANONYMOUS,
    KIND_INITIATE_CIRCLE,
    KIND_INITIATE_KNOWN,
    KIND_INITIATE_TICKET,
    KIND_INITIATE_VOUCHED,
    MAGIC,
)
from transport.core.errors import LocalError, UnknownPeer, WireError
from transport.core.events import ConnectFailed, MessageReceived, PresenceUp
from transport.core.peers import Peers
from transport.core.types import Message

Ask = Callable[[Stack, Host, Host], None]


def stranger(stack: Stack, here: Host, there: Host) -> None:
    stack.ask(here, there)


def nameless(stack: Stack, here: Host, there: Host) -> None:
    def begin(node: Peers, now: float) -> None:
        alias = node.connect_anonymously(stack.key(there), [there.address], now)
        node.send(alias, 1, REQUEST, now)

    here.call(begin)


def from_directory(stack: Stack, here: Host, there: Host) -> None:
    (record,) = stack.records(there)
    here.call(lambda n, now: n.introductions.learn_untrusted(stack.key(there), record, now))
    stack.ask(here, there)


def learned(stack: Stack, here: Host, there: Host) -> None:
    stack.ask(here, there)
    stack.run(1.0)
    stack.leave(here, there)
    stack.ask(here, there)


def own_ticket(stack: Stack, here: Host, there: Host) -> None:
    stack.ask(here, there)
    stack.run(1.0)
    there.call(lambda n, now: n.introductions.give_ticket(stack.key(here), now))
    stack.run(1.0)
    stack.leave(here, there)
    stack.ask(here, there)


def third_partys_ticket(stack: Stack, here: Host, there: Host) -> None:
    third = stack.add("third", OPEN)
    (record,) = stack.records(there)
    voucher = third.call(lambda n, now: n.introductions.vouch(stack.key(here), now))
    issuer = stack.key(third)
    there.call(
        lambda n, now: n.introductions.expect_untrusted(stack.key(here), voucher, issuer, now)
    )
    here.call(
        lambda n, now: n.introductions.hold_untrusted(
            stack.key(there), voucher, issuer, record, now
        )
    )
    stack.ask(here, there)


@pytest.mark.parametrize(
    ("ask", "config", "kind", "round_trips"),
    [
        (stranger, OPEN, KIND_INITIATE, 2),
        (stranger, CIRCLE, KIND_INITIATE_CIRCLE, 2),
        (nameless, SERVES_ANYBODY, KIND_INITIATE_ANONYMOUS, 2),
        (from_directory, OPEN, KIND_INITIATE_KNOWN, 1),
        (learned, OPEN, KIND_INITIATE_KNOWN, 1),
        (own_ticket, OPEN, KIND_INITIATE_TICKET, 1),
        (own_ticket, CIRCLE, KIND_INITIATE_TICKET, 1),
        (third_partys_ticket, OPEN, KIND_INITIATE_VOUCHED, 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_request_is_answered_after(
    ask: Ask, config: TransportConfig, kind: int, round_trips: int
) -> None:
    stack = Stack(config)
    here, there = stack.add("here"), stack.add("there")
    seen = sniffed(stack)
    ask(stack, here, there)
    start = stack.world.now
    stack.run(5.0)
    assert stack.answered_at(here)[-1] - start == pytest.approx(round_trips * RTT_S, abs=1e-9)
    # Once, by this variant and no other.
    p3s = [data for data in seen if data[:3] == MAGIC and data[3] not in (1, 2, 4)]
    assert p3s[-1][3] == kind
    assert len({p3 for p3 in p3s if p3[3] == kind}) == 1


def test_a_ticket_is_used_once() -> None:
    stack = Stack()
    here, there = stack.add("here"), stack.add("there")
    own_ticket(stack, here, there)
    stack.run(1.0)
    stack.leave(here, there)
    seen = sniffed(stack)
    stack.ask(here, there)
    stack.run(5.0)
    kinds = {data[3] for data in seen if data[:3] == MAGIC}
    assert KIND_INITIATE_TICKET not in kinds
    assert len(stack.answered_at(here)) == 3


@pytest.mark.parametrize("filler", [0, 64])
def test_a_ticket_of_a_life_that_is_over_is_deferred(filler: int) -> None:
    stack = Stack()
    here, there = stack.add("here"), stack.add("there")
    stack.ask(here, there)
    stack.run(1.0)
    there.call(lambda n, now: n.introductions.give_ticket(stack.key(here), now))
    stack.run(1.0)
    stack.leave(here, there)
    there.restart()
    start = stack.world.now
    stack.ask(here, there, filler=bytes(filler))
    stack.run(5.0)
    # A P3 that is shorter than P2 is not answered with one; then the attempt begins anew.
    late = stack.answered_at(here)[-1] - start
    assert late == pytest.approx(2 * RTT_S, abs=1e-9) if filler else 1.0 < late < 3.0


def test_what_tickets_need() -> None:
    stack = Stack(SERVES_ANYBODY)
    here, there = stack.add("here"), stack.add("there")
    with pytest.raises(UnknownPeer):
        there.call(lambda n, now: n.introductions.give_ticket(stack.key(here), now))
    nameless(stack, here, there)
    stack.run(1.0)
    (handle,) = [event.peer for _, event in there.events if isinstance(event, PresenceUp)]
    with pytest.raises(LocalError):
        there.call(lambda n, now: n.introductions.give_ticket(handle, now))
    issuer, other = stack.key(there), stack.key(here)
    voucher = there.call(lambda n, now: n.introductions.vouch(other, now))
    ticket = b"\x01" + voucher[1:]
    (record,) = stack.records(there)
    take, now = here.node.introductions, stack.world.now
    for bad in (b"", ticket, voucher[:-1], voucher + b"x"):
        with pytest.raises(WireError):
            take.expect_untrusted(other, bad, issuer, now)
        with pytest.raises(WireError):
            take.hold_untrusted(issuer, bad, issuer, record, now)
    with pytest.raises(WireError):
        take.hold_untrusted(issuer, voucher, issuer, flip(record, 9), now)


# --- without a name -------------------------------------------------------------------------------


def test_nothing_links_a_presence_without_a_name_to_one_with() -> None:
    stack = Stack(SERVES_ANYBODY)
    here, there = stack.add("here"), stack.add("there")
    stack.ask(here, there)
    for _ in range(2):
        nameless(stack, here, there)
    stack.run(1.0)
    ups = [event for _, event in there.events if isinstance(event, PresenceUp)]
    assert len(ups) == 3
    assert len({up.peer for up in ups}) == len({up.incarnation for up in ups}) == 3
    assert [up.peer for up in ups if not up.peer[31] & 0x80] == [stack.key(here)]
    relations = [there.node._context.by_key[up.peer] for up in ups]
    assert len({peer.lane.peer_id for peer in relations}) == 3
    clocks = sorted(there.node.status(up.peer).clock_offset_s for up in ups)
    # One machine, three clocks: how far apart they are says nothing.
    assert min(b - a for a, b in pairwise(clocks)) > 60.0
    # Here they are three presences too.
    mine = [event.peer for _, event in here.events if isinstance(event, PresenceUp)]
    assert len(set(mine)) == 3


def test_with_one_clock_it_would_be_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transport.core.peer.context.Context.draw_clock_origin_s", lambda self: 0.0)
    stack = Stack(SERVES_ANYBODY)
    here, there = stack.add("here"), stack.add("there")
    stack.ask(here, there)
    nameless(stack, here, there)
    stack.run(1.0)
    one, two = (
        there.node.status(event.peer).clock_offset_s
        for _, event in there.events
        if isinstance(event, PresenceUp)
    )
    assert one == pytest.approx(two, abs=1e-3)


def test_a_presence_without_a_name_is_had_once() -> None:
    stack = Stack(SERVES_ANYBODY)
    here, there = stack.add("here"), stack.add("there")
    alias = here.call(lambda n, now: n.connect_anonymously(stack.key(there), [there.address], now))
    stack.run(1.0)
    here.call(lambda n, now: n.connect(alias, [there.address], now))  # up and heard: nothing
    stack.world.cut(["here"], ["there"])
    here.call(lambda n, now: n.keep(alias, True))
    stack.run(5.0)
    with pytest.raises(LocalError):
        here.call(lambda n, now: n.connect(alias, [there.address], now))
    here.call(lambda n, now: n.forget(alias))
    stack.run(15.0)
    assert here.node._context.masks == {}
    with pytest.raises(LocalError):
        here.call(lambda n, now: n.connect(alias, [there.address], now))
    assert here.node._context.by_key == {}


def test_where_names_are_wanted_it_gets_no_answer() -> None:
    stack = Stack()
    here, there = stack.add("here"), stack.add("there")
    nameless(stack, here, there)
    stack.run(10.0)
    assert [type(event) for _, event in here.events] == [ConnectFailed]
    assert there.events == []
    assert here.node._context.masks == {}
    closed = Stack(CIRCLE)
    member, other = closed.add("member"), closed.add("other")
    with pytest.raises(LocalError):
        nameless(closed, member, other)
    assert member.node._context.masks == {}


def test_messages_of_both_sides_are_called_the_same() -> None:
    # A reference in full is a name that both have computed, the handle being one side's name.
    stack = Stack(SERVES_ANYBODY)
    here, there = stack.add("here"), stack.add("there")
    alias = here.call(lambda n, now: n.connect_anonymously(stack.key(there), [there.address], now))
    stack.run(1.0)
    delivery = here.call(lambda n, now: n.send_message(alias, Message(1, b"?"), now))
    stack.run(1.0)
    (got,) = [event for _, event in there.events if isinstance(event, MessageReceived)]
    assert got.name == delivery.name
