"""Simultaneous open in the whole stack: what it takes, and what it can be made to send."""

from __future__ import annotations

import pytest

from scenarios.world.nat import NatKind
from scenarios.world.world import Host
from tests.support.pair.handshake import flip
from tests.support.pair.stack import (
    ONE_WAY_S,
    OPEN,
    REQUEST,
    RTT_S,
    TOKEN,
    Stack,
    sniffed,
)
from transport.core.config import TransportConfig
from transport.core.constants import (
    KIND_INITIATE,
    KIND_INITIATE_MET,
    MAGIC,
    PROBE_ADDRESSES_MAX,
    PROBES_MAX,
)
from transport.core.errors import LocalError, WireError
from transport.core.events import ConnectFailed
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.initiator.simultaneous_open import PROBE_SIZE, probe_of
from transport.core.peers import Peers

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
    there.node._responder._admission.has_time(stack.world.now)  # the one there was time for
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
