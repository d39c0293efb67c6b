"""How long a request takes: 100 ms one way, no processing time, and then it is exact."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from scenarios.world.nat import Nat, NatKind
from tests.support.pair.wire import ONE_WAY_S, Host, Wire
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.ticket import issue
from transport.core.handshake.transient import decode_record_untrusted
from transport.core.handshake.variants import TICKET, VOUCHED
from transport.core.initiator.simultaneous_open import PROBE_SIZE, is_responder
from transport.core.types import Address

RTT_S = 2 * ONE_WAY_S
TOKEN = b"token of 16 byte"


def answered_after(wire: Wire, here: Host, there: Host, p3_or_p1: bytes) -> float:
    start = wire.clock.now
    here.send(p3_or_p1, there.address)
    wire.run(5.0)
    at, established = here.up[there.identity.key]
    assert established.reply == b"answer to request"
    assert [data for _, data in there.requests] == [b"request"]
    return at - start


def stranger(wire: Wire, here: Host, there: Host) -> bytes:
    return here.attempt(there).hello(wire.clock.now)


def anonymous(wire: Wire, here: Host, there: Host) -> bytes:
    return here.attempt(there, anonymous=True).hello(wire.clock.now)


def from_directory(wire: Wire, here: Host, there: Host) -> bytes:
    now = wire.clock.now
    record = there.responder.published(now)
    known = decode_record_untrusted(there.identity.key, record, 2, now)
    return here.attempt(there).initiate_known(known, b"request", now)


def learned(wire: Wire, here: Host, there: Host) -> bytes:
    first = here.attempt(there)
    here.send(first.hello(wire.clock.now), there.address)
    wire.run(3.0)
    assert first.learned is not None
    here.up.clear()
    there.requests.clear()
    there.up.clear()
    return here.attempt(there).initiate_known(first.learned, b"request", wire.clock.now)


def own_ticket(wire: Wire, here: Host, there: Host) -> bytes:
    now = wire.clock.now
    ticket = issue(TICKET, here.identity.key, b"h" * 64, wire.random, now)
    there.responder.invite(ticket, now)
    return here.attempt(there).initiate_ticket(ticket, b"request", now)


def third_partys_ticket(wire: Wire, here: Host, there: Host) -> bytes:
    now = wire.clock.now
    ticket = issue(VOUCHED, here.identity.key, b"i" * 32, wire.random, now)
    there.responder.invite(ticket, now)
    record = there.responder.published(now)
    known = decode_record_untrusted(there.identity.key, record, 2, now)
    return here.attempt(there).initiate_invited(ticket, known, b"request", now)


CIRCLE = HandshakeConfig(circles=(CircleSecret(b"s" * 32),), unix_offset_s=1.7e9)
Begin = Callable[[Wire, Host, Host], bytes]


@pytest.mark.parametrize(
    ("begin", "config", "round_trips"),
    [
        (stranger, HandshakeConfig(), 2),
        (stranger, CIRCLE, 2),
        (anonymous, HandshakeConfig(anonymous=True), 2),
        (from_directory, HandshakeConfig(), 1),
        (learned, HandshakeConfig(), 1),
        (own_ticket, HandshakeConfig(), 1),
        (own_ticket, CIRCLE, 1),
        (third_partys_ticket, HandshakeConfig(), 1),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_request_is_answered_after(
    begin: Begin, config: HandshakeConfig, round_trips: int
) -> None:
    wire = Wire(config=config)
    here, there = wire.add(), wire.add()
    p = begin(wire, here, there)
    assert answered_after(wire, here, there, p) == pytest.approx(round_trips * RTT_S, abs=1e-9)


def test_a_deferred_one_after_two() -> None:
    wire = Wire(config=HandshakeConfig(known_per_s_max=1e-3))
    here, there = wire.add(), wire.add()
    first = from_directory(wire, here, there)
    assert answered_after(wire, here, there, first) == pytest.approx(RTT_S)
    other = wire.add()
    there.requests.clear()
    p3 = from_directory(wire, other, there)
    assert answered_after(wire, other, there, p3) == pytest.approx(2 * RTT_S)


def meeting_pair(wire: Wire) -> tuple[Host, Host]:
    """Two hosts: who takes the initiator's part, and who the responder's."""
    one, two = wire.add(), wire.add()
    if is_responder(one.identity.static, two.identity.static):
        return two, one
    return one, two


def first_probe_at(*hosts: Host) -> float:
    return min(at for host in hosts for at, data in host.received if len(data) == PROBE_SIZE)


def both_up(here: Host, there: Host) -> float:
    at_here, established = here.up[there.identity.key]
    at_there, other = there.up[here.identity.key]
    assert established.reply == b"answer to request"
    assert established.handshake_hash == other.handshake_hash
    return max(at_here, at_there)


def outside_of(wire: Wire, host: Host, nat: NatKind | None) -> Address:
    """The address under which an introducer sees the host."""
    seen: list[Address] = []
    introducer = ("198.51.100.1", 3478)
    wire.network.attach(introducer, lambda _, source: seen.append(source))
    if nat is not None:
        outer_host = f"203.0.113.{host.address[0].rpartition('.')[2]}"
        wire.network.put_behind(host.address, Nat(outer_host, nat), outer_host)
    host.send(b"here I am", introducer)
    wire.run(1.0)
    return seen[0]


NATS = [None, NatKind.full_cone(), NatKind.port_restricted()]


@pytest.mark.parametrize("nat_there", NATS, ids=["open", "cone", "restricted"])
@pytest.mark.parametrize("nat_here", NATS, ids=["open", "cone", "restricted"])
def test_simultaneous_open_is_up_one_round_trip_after_the_first_probe(
    nat_here: NatKind | None, nat_there: NatKind | None
) -> None:
    wire = Wire()
    here, there = meeting_pair(wire)
    outside_here = outside_of(wire, here, nat_here)
    outside_there = outside_of(wire, there, nat_there)
    here.meet(there, TOKEN, [outside_there])
    there.meet(here, TOKEN, [outside_here])
    wire.run(5.0)
    assert both_up(here, there) - first_probe_at(here, there) == pytest.approx(RTT_S, abs=1e-9)


@pytest.mark.parametrize("late_s", [-0.3, -0.05, 0.05, 0.3])
def test_when_the_introducer_tells_one_of_them_late(late_s: float) -> None:
    # The initiator's probe may then be the first to get through, and costs half a round trip more.
    wire = Wire()
    here, there = meeting_pair(wire)
    outside_here = outside_of(wire, here, NatKind.port_restricted())
    outside_there = outside_of(wire, there, NatKind.port_restricted())
    order = [(here, there, outside_there), (there, here, outside_here)]
    if late_s < 0:
        order.reverse()
    (first, other, address), (second, back, its_address) = order
    first.meet(other, TOKEN, [address])
    wire.run(abs(late_s))
    second.meet(back, TOKEN, [its_address])
    wire.run(5.0)
    assert both_up(here, there) - first_probe_at(here, there) <= 1.5 * RTT_S + 1e-9


def test_without_the_half_round_trip_between_them_it_takes_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Both probe at once, the initiator's introduction a little earlier: its probe is the first,
    # and the answer to it costs the time that the rule saves.
    def spent(apart: bool) -> float:
        wire = Wire()
        here, there = meeting_pair(wire)
        outside_here = outside_of(wire, here, NatKind.port_restricted())
        outside_there = outside_of(wire, there, NatKind.port_restricted())
        start = wire.clock.now
        here.meet(there, TOKEN, [outside_there])
        assert here.meeting is not None
        if not apart:
            here.meeting._next_at = start
            here.meeting.handle_timeout(start)
            here.flush()
        wire.run(0.05)
        there.meet(here, TOKEN, [outside_here])
        wire.run(5.0)
        return both_up(here, there) - first_probe_at(here, there)

    assert spent(apart=True) == pytest.approx(RTT_S)
    assert spent(apart=False) > RTT_S
