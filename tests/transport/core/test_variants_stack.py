"""Every variant through the whole table of peers, and how long each takes: exactly.

100 ms one way, no processing time. `test_round_trips.py` has the same of the bare machines.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from scenarios.world.nat import NatKind
from scenarios.world.world import Host
from tests.support.pair.handshake import flip
from tests.support.pair.stack import (
    CLOSED,
    ONE_WAY_S,
    OPEN,
    REQUEST,
    RTT_S,
    SERVES_ANYBODY,
    TOKEN,
    Stack,
)
from transport.core.config import TransportConfig
from transport.core.constants import (
    KIND_INITIATE,
    KIND_INITIATE_ANONYMOUS,
    KIND_INITIATE_CLOSED,
    KIND_INITIATE_KNOWN,
    KIND_INITIATE_MET,
    KIND_INITIATE_TICKET,
    KIND_INITIATE_VOUCHED,
    MAGIC,
    PROBE_ADDRESSES_MAX,
    PROBES_MAX,
)
from transport.core.errors import LocalError, UnknownPeer, WireError
from transport.core.events import ConnectFailed, MessageReceived, PresenceUp
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.initiator.simultaneous_open import PROBE_SIZE, probe_of
from transport.core.peers import Peers
from transport.core.types import Address, Message

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


def sniffed(stack: Stack) -> list[bytes]:
    """Every datagram that is sent from here on."""
    seen: list[bytes] = []
    send = stack.world.network.send

    def sniff(data: bytes, source: Address, destination: Address) -> None:
        seen.append(data)
        send(data, source, destination)

    stack.world.network.send = sniff  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize(
    ("ask", "config", "kind", "round_trips"),
    [
        (stranger, OPEN, KIND_INITIATE, 2),
        (stranger, CLOSED, KIND_INITIATE_CLOSED, 2),
        (nameless, SERVES_ANYBODY, KIND_INITIATE_ANONYMOUS, 2),
        (from_directory, OPEN, KIND_INITIATE_KNOWN, 1),
        (learned, OPEN, KIND_INITIATE_KNOWN, 1),
        (own_ticket, OPEN, KIND_INITIATE_TICKET, 1),
        (own_ticket, CLOSED, KIND_INITIATE_TICKET, 1),
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
    closed = Stack(CLOSED)
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


# --- simultaneous open ----------------------------------------------------------------------------

NATS = [None, NatKind.full_cone(), NatKind.port_restricted()]


def met(
    nat_here: NatKind | None = None,
    nat_there: NatKind | None = None,
    config: HandshakeConfig | None = None,
) -> tuple[Stack, Host, Host, list[tuple[float, bytes]]]:
    """A meeting that both sides have just been told of, and the probes that get through."""
    stack = Stack(TransportConfig(handshake=config) if config else OPEN)
    here, there = stack.parts(stack.add("a"), stack.add("b"))
    where = {here: stack.behind(here, nat_here), there: stack.behind(there, nat_there)}
    mine, theirs = stack.records(here, there)
    probes: list[tuple[float, bytes]] = []
    for host in (here, there):
        receive = host.node.receive_datagrams

        def sniff(batch, now, receive=receive):  # type: ignore[no-untyped-def]
            probes.extend((now, data) for data, _ in batch if len(data) == PROBE_SIZE)
            receive(batch, now)

        host.node.receive_datagrams = sniff
    stack.meet(here, there, (mine, theirs), where[there])
    stack.meet(there, here, (theirs, mine), where[here])
    here.call(lambda n, now: n.send(stack.key(there), 1, REQUEST, now))
    return stack, here, there, probes


@pytest.mark.parametrize("nat_there", NATS, ids=["open", "cone", "restricted"])
@pytest.mark.parametrize("nat_here", NATS, ids=["open", "cone", "restricted"])
def test_both_sides_of_a_meeting_are_up_one_round_trip_after_the_first_probe(
    nat_here: NatKind | None, nat_there: NatKind | None
) -> None:
    stack, here, there, probes = met(nat_here, nat_there)
    seen = sniffed(stack)
    stack.run(5.0)
    first = min(at for at, _ in probes)
    up = max(*stack.up_at(here), *stack.up_at(there))
    assert up - first == pytest.approx(RTT_S, abs=1e-9)
    assert stack.answered_at(here) == [pytest.approx(first + RTT_S, abs=1e-9)]
    kinds = {data[3] for data in seen if data[:3] == MAGIC}
    assert KIND_INITIATE_MET in kinds
    assert KIND_INITIATE not in kinds
    for host in (here, there):
        context = host.node._context
        assert (context.attempts, context.by_probe, context.by_echo) == (0, {}, {})


def test_with_nothing_to_say_both_are_up_as_soon() -> None:
    stack = Stack()
    here, there = stack.parts(stack.add("a"), stack.add("b"))
    mine, theirs = stack.records(here, there)
    start = stack.world.now
    stack.meet(here, there, (mine, theirs), there.address)
    stack.meet(there, here, (theirs, mine), here.address)
    stack.run(5.0)
    assert max(*stack.up_at(here), *stack.up_at(there)) - start == pytest.approx(
        ONE_WAY_S + RTT_S, abs=1e-9
    )


def test_a_meeting_that_is_deferred_goes_on_with_a_challenge() -> None:
    stack, here, there, probes = met(config=HandshakeConfig(known_per_s_max=1e-6))
    there.node._responder._gate.has_time(stack.world.now)  # the one there was time for
    stack.run(5.0)
    (answered,) = stack.answered_at(here)
    first = min(at for at, _ in probes)
    assert answered - first == pytest.approx(2 * RTT_S, abs=1e-9)
    assert there.node._context.attempts == 0


@pytest.mark.parametrize("role", [0, 1])
def test_what_an_introducer_can_make_a_node_send_is_bounded(role: int) -> None:
    stack = Stack()
    pair = stack.parts(stack.add("a"), stack.add("b"))
    here, there = pair[role], pair[1 - role]
    mine, theirs = stack.records(here, there)
    victims = [(f"198.51.100.{n}", 7) for n in range(2 * PROBE_ADDRESSES_MAX)]
    seen = sniffed(stack)

    def begin(node: Peers, now: float) -> None:
        node.introductions.meet_untrusted(
            stack.key(there), TOKEN, mine, theirs, victims, RTT_S, now, 60.0
        )

    here.call(begin)
    stack.run(100.0)
    assert len(seen) == PROBES_MAX * PROBE_ADDRESSES_MAX
    assert {len(data) for data in seen} == {PROBE_SIZE}
    assert [type(event) for _, event in here.events] == [ConnectFailed]
    context = here.node._context
    assert (context.attempts, context.by_probe, context.by_key) == (0, {}, {})


def test_forged_probes_change_nothing() -> None:
    stack = Stack()
    here, there = stack.parts(stack.add("a"), stack.add("b"))
    mine, theirs = stack.records(here, there)
    stack.meet(here, there, (mine, theirs), there.address)
    seen = sniffed(stack)
    true = probe_of(TOKEN, stack.key(there))
    own = probe_of(TOKEN, stack.key(here))
    for data in (own, true[:-1], true + b"x", *(flip(true, bit) for bit in range(160))):
        here.node.receive_datagrams([(data, there.address)], stack.world.now)
    stack.run(0.05)
    assert seen == []
    here.node.receive_datagrams([(true, there.address)], stack.world.now)
    stack.run(0.0)
    here.call(lambda node, now: None)
    assert [data[3] for data in seen] == [KIND_INITIATE_MET]


def test_a_meeting_takes_the_place_of_an_attempt_and_needs_nothing_if_up() -> None:
    stack = Stack()
    here, there = stack.parts(stack.add("a"), stack.add("b"))
    mine, theirs = stack.records(here, there)
    stack.ask(here, there)
    stack.meet(here, there, (mine, theirs), there.address)
    assert here.node._context.attempts == 1
    stack.meet(there, here, (theirs, mine), here.address)
    stack.run(3.0)
    assert stack.answered_at(here)
    stack.meet(here, there, (mine, theirs), there.address)
    assert here.node._context.attempts == 0
    for records, error in (((mine, mine), WireError), ((mine, theirs[1:]), WireError)):
        lone = stack.add(f"lone{len(stack.identities)}")
        with pytest.raises(error):
            stack.meet(lone, there, records, there.address)
        assert lone.node._context.by_key == {}
    with pytest.raises(LocalError):
        stack.meet(lone, there, (mine, theirs), there.address, timeout_s=0.0)
