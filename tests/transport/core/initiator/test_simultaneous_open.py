"""Simultaneous open: parts, probes, and what an introducer can and cannot do."""

from __future__ import annotations

import pytest

from scenarios.world.network import Link
from tests.support.pair.handshake import NOW, Pair, counted_primitives, flip, seeded
from tests.support.pair.wire import Host, Wire
from transport.core.constants import PROBE_ADDRESSES_MAX, PROBES_MAX
from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError, WireError
from transport.core.handshake.states import State
from transport.core.initiator.simultaneous_open import (
    PROBE_SIZE,
    SimultaneousOpen,
    is_responder,
    probe_of,
)
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Responder
from transport.core.types import Address

TOKEN = b"token of 16 byte"


def hosts(seed: int = 1) -> tuple[Wire, Host, Host]:
    """A wire, who takes the initiator's part, who the responder's."""
    wire = Wire(seed)
    one, two = wire.add(), wire.add()
    if is_responder(one.identity.static, two.identity.static):
        one, two = two, one
    return wire, one, two


def test_exactly_one_takes_the_responders_part() -> None:
    for seed in range(20):
        random = seeded(seed)
        one, two = Identity.generate(random), Identity.generate(random)
        parts = is_responder(one.static, two.static), is_responder(two.static, one.static)
        assert sorted(parts) == [False, True]


def test_both_are_up_and_agree() -> None:
    wire, here, there = hosts()
    here.meet(there, TOKEN, [there.address])
    there.meet(here, TOKEN, [here.address])
    wire.run(3.0)
    ours, theirs = here.up[there.identity.key][1], there.up[here.identity.key][1]
    assert ours.handshake_hash == theirs.handshake_hash
    assert ours.keys.message_send == theirs.keys.message_receive
    assert there.requests[0][1] == b"request"
    assert here.meeting is not None
    assert there.meeting is not None
    assert here.meeting.state is there.meeting.state is State.MET
    assert here.meeting.next_timeout() is there.meeting.next_timeout() is None


@pytest.mark.parametrize("seed", range(6))
def test_under_loss(seed: int) -> None:
    wire, here, there = hosts(seed)
    wire.network.set_default(Link(delay_s=0.05, loss=0.25))
    here.meet(there, TOKEN, [there.address], rtt_s=0.1)
    there.meet(here, TOKEN, [here.address], rtt_s=0.1)
    wire.run(10.0)
    assert there.identity.key in here.up


def open_of(
    here: Host, there: Host, addresses: list[Address], token: bytes = TOKEN
) -> SimultaneousOpen:
    here.meet(there, token, addresses)
    assert here.meeting is not None
    return here.meeting


@pytest.mark.parametrize("initiating", [True, False])
def test_what_an_introducer_can_make_a_node_send_is_bounded(initiating: bool) -> None:
    # To a third party's addresses, of which many are given.
    wire, here, there = hosts()
    side, other = (here, there) if initiating else (there, here)
    victims = [(f"198.51.100.{n}", 7) for n in range(2 * PROBE_ADDRESSES_MAX)]
    seen: list[tuple[Address, bytes]] = []
    for victim in victims:
        wire.network.attach(victim, lambda data, _, v=victim: seen.append((v, data)))
    meeting = open_of(side, other, victims)
    wire.run(60.0)
    assert len(seen) == PROBE_ADDRESSES_MAX * PROBES_MAX
    assert {len(data) for _, data in seen} == {PROBE_SIZE}, "never P3, which is larger"
    assert len({victim for victim, _ in seen}) == PROBE_ADDRESSES_MAX
    assert meeting.state is State.GIVEN_UP
    assert meeting.next_timeout() is None


def test_answers_to_probes_are_bounded_too() -> None:
    for initiating in (True, False):
        _, here, there = hosts()
        side, other = (here, there) if initiating else (there, here)
        meeting = open_of(side, other, [other.address])
        meeting.poll_transmits()
        probe = probe_of(TOKEN, other.identity.key)
        for port in range(1, 50):
            assert meeting.receive_untrusted(probe, ("198.51.100.9", port), NOW) is None
        sent = meeting.poll_transmits()
        assert len(sent) == PROBE_ADDRESSES_MAX
        assert len({data for data, _ in sent}) == 1, "one ephemeral, one byte string"


def test_a_probe_needs_the_token_and_is_not_its_own_echo() -> None:
    _, here, there = hosts()
    meeting = open_of(here, there, [there.address])
    meeting.poll_transmits()
    true = probe_of(TOKEN, there.identity.key)
    own = probe_of(TOKEN, here.identity.key)
    forged = [flip(true, bit) for bit in range(len(true) * 8)]
    for data in (own, true[:-1], true + b"x", b"", *forged):
        assert meeting.receive_untrusted(data, there.address, NOW) is None
    assert meeting.poll_transmits() == []
    assert meeting.state is State.PROBING
    meeting.receive_untrusted(true, there.address, NOW)
    assert meeting.state is State.MET


def p3_of(here: Host, there: Host) -> bytes:
    meeting = open_of(here, there, [there.address])
    meeting.poll_transmits()
    meeting.receive_untrusted(probe_of(TOKEN, there.identity.key), there.address, NOW)
    ((p3, address),) = meeting.poll_transmits()
    assert address == there.address
    return p3


def test_the_introducer_cannot_sit_in_the_middle() -> None:
    # It knows the token and both records, and puts a responder with keys of its own in between.
    _, here, there = hosts()
    p3 = p3_of(here, there)
    there.meet(here, TOKEN, [here.address])
    assert there.meeting is not None
    invitation = there.meeting._meeting
    middle = Responder(Identity.generate(seeded(5)), here.wire.config, seeded(6), NOW)
    middle.invite(invitation, NOW)
    # Even with the responder's transient, which never leaves it.
    middle._transients._accepted = dict(there.responder._transients._accepted)
    middle._transients.current = there.responder._transients.current
    assert middle.receive_untrusted(p3, here.address, NOW) is None
    there.responder._transients.current.burnt.clear()
    assert isinstance(there.responder.receive_untrusted(p3, here.address, NOW), Admitted)


def test_forgeries_cost_no_diffie_hellman_and_the_true_one_still_works() -> None:
    _, here, there = hosts()
    p3 = p3_of(here, there)
    there.meet(here, TOKEN, [here.address])
    with counted_primitives() as counts:
        for bit in range(0, len(p3) * 8, 3):
            answer = there.responder.receive_untrusted(flip(p3, bit), here.address, NOW)
            assert not isinstance(answer, Admitted)
    assert counts.diffie_hellman == 0
    assert isinstance(there.responder.receive_untrusted(p3, here.address, NOW), Admitted)


def test_both_records_are_bound() -> None:
    # The introducer told the responder of another record of the initiator's than the true one.
    _, here, there = hosts()
    p3 = p3_of(here, there)
    here.responder._transients.rotate(NOW)
    there.meet(here, TOKEN, [here.address])
    assert not isinstance(there.responder.receive_untrusted(p3, here.address, NOW), Admitted)


def test_what_cannot_be() -> None:
    pair, other = Pair(), Pair(seed=3)
    record = other.responder.published(NOW)

    def make(token: bytes, record: bytes, addresses: list[Address]) -> SimultaneousOpen:
        return SimultaneousOpen(
            pair.there,
            pair.responder,
            other.there.key,
            pair.config,
            pair.random,
            token=token,
            own_record=pair.responder.published(NOW),
            peer_record=record,
            addresses=addresses,
            rtt_s=0.1,
            message_cid=b"m" * 8,
            bulk_cid=b"b" * 8,
            incarnation=1,
            first_data=b"",
            now=NOW,
        )

    make(TOKEN, record, [("192.0.2.9", 1)])
    with pytest.raises(LocalError):
        make(TOKEN[1:], record, [("192.0.2.9", 1)])
    with pytest.raises(LocalError):
        make(TOKEN, record, [])
    with pytest.raises(WireError):
        make(TOKEN, flip(record, 1000), [("192.0.2.9", 1)])
    with pytest.raises(WireError):
        make(TOKEN, pair.responder.published(NOW), [("192.0.2.9", 1)])
