"""Messages of a presence: once each, what is known of their delivery, and their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pair.pair import Net, Side, World, kind_of, presence_of
from transport.core import frames
from transport.core.errors import LaneFull, LocalError, UnknownPeer, WireError
from transport.core.events import DeliveryKnown, MessageReceived, PresenceDown, Reason
from transport.core.lane.message import BODY_SIZE_MAX, DISTANCE_MAX, decode_untrusted, encode
from transport.core.peer.mailbox import AWAITED_MAX, WAITING_MAX
from transport.core.types import Address, Delivery, Message, Outcome


def pair(**tuning: float) -> tuple[World, Side, Side]:
    world = World()
    a, b = world.add("a", **tuning), world.add("b", **tuning)
    world.up(a, b)
    for side in (a, b):
        side.sent.clear()
        side.events.clear()
    return world, a, b


def bodies(side: Side) -> list[bytes]:
    return [event.message.body for event in side.of(MessageReceived)]


def outcomes(side: Side, delivery: Delivery) -> list[Outcome]:
    return [event.outcome for event in side.of(DeliveryKnown) if event.delivery is delivery]


def test_a_message_is_acknowledged_and_its_answer_says_so_as_well() -> None:
    world, a, b = pair()
    start = world.now
    asked = a.peers.send_message(b.key, Message(7, b"well?"), world.now, reply_timeout_s=2.0)
    assert asked.outcome is Outcome.PENDING
    assert asked.known_by == start + 5.0
    world.run_until(lambda: bool(b.of(MessageReceived)))
    (received,) = b.of(MessageReceived)
    assert (received.peer, received.message) == (a.key, Message(7, b"well?"))
    assert received.name == asked.name, "both sides call it the same, and nobody has sent that"
    answer = Message(8, b"yes", in_reply_to=received.name)
    b.peers.send_message(a.key, answer, world.now)
    world.run_until(lambda: asked.outcome is Outcome.REPLIED)
    assert world.now - start == pytest.approx(2 * world.net.delay_s), "one round trip"
    assert outcomes(a, asked) == [Outcome.SUCCEEDED, Outcome.REPLIED]
    assert a.of(MessageReceived)[0].message == answer
    world.run(1.0)
    assert (len(a.sent), len(b.sent)) == (2, 1), "the answer acknowledges the question"
    assert all(len(t.data) < 60 for t in (*a.sent, *b.sent)), "a name of 32 bytes became one byte"


def test_acknowledged_is_not_answered() -> None:
    world, a, b = pair()
    asked = a.peers.send_message(b.key, Message(1, b"?"), world.now, reply_timeout_s=3.0)
    told = a.peers.send_message(b.key, Message(1, b"!"), world.now)
    start = world.now
    world.run(1.0)
    assert asked.outcome is told.outcome is Outcome.SUCCEEDED
    assert asked.known_by == start + 3.0
    with pytest.raises(LocalError):
        _ = told.known_by
    world.run(2.5)
    assert outcomes(a, asked) == [Outcome.SUCCEEDED, Outcome.UNKNOWN]
    assert outcomes(a, told) == [Outcome.SUCCEEDED]


def test_one_at_a_time_is_unacknowledged() -> None:
    world, a, b = pair()
    deliveries = [a.peers.send_message(b.key, Message(0, b"%d" % n), world.now) for n in range(10)]
    world.drain(a)
    assert len(a.sent) == 1
    world.run(2.0)
    assert bodies(b) == [b"%d" % n for n in range(10)]
    assert all(delivery.outcome is Outcome.SUCCEEDED for delivery in deliveries)


@pytest.mark.parametrize("seed", range(6))
def test_lossy_worlds_hand_up_once_and_what_is_said_of_it_is_true(seed: int) -> None:
    world = World(seed, Net(delay_s=0.01))
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.net.loss, world.net.duplicates, world.net.jitter_s = 0.4, 0.3, 0.05
    made: list[tuple[Side, Side, bytes, Delivery]] = []
    for number in range(60):
        one, other = (a, b) if world.random.random() < 0.5 else (b, a)
        body = b"%d" % number
        message = Message(0, body)
        timeout_s = world.random.choice([0.05, 0.5, 20.0])
        delivery = one.peers.send_message(other.key, message, world.now, timeout_s=timeout_s)
        made.append((one, other, body, delivery))
        world.run(world.random.choice([0.0, 0.02, 0.5]))
    world.net.loss = 0.0
    world.run(30.0)
    found = set()
    for _, other, body, delivery in made:
        times = bodies(other).count(body)
        found.add(delivery.outcome)
        if delivery.outcome is Outcome.SUCCEEDED:
            assert times == 1
        elif delivery.outcome is Outcome.FAILED:
            assert times == 0
        else:
            assert delivery.outcome is Outcome.UNKNOWN
            assert times <= 1
    assert Outcome.SUCCEEDED in found
    assert len(found) > 1
    assert bodies(a) == sorted(bodies(a), key=int), "in order, with gaps"


def test_what_never_left_has_failed_and_what_left_is_unknown() -> None:
    world, a, b = pair()
    world.net.drop = lambda source, target, data: True
    first = a.peers.send_message(b.key, Message(0, b"first"), world.now, timeout_s=1.0)
    second = a.peers.send_message(b.key, Message(0, b"second"), world.now, timeout_s=0.5)
    world.run(1.5)
    assert (first.outcome, second.outcome) == (Outcome.UNKNOWN, Outcome.FAILED)
    third = a.peers.send_message(b.key, Message(0, b"third"), world.now, timeout_s=None)
    fourth = a.peers.send_message(b.key, Message(0, b"fourth"), world.now, timeout_s=None)
    with pytest.raises(LocalError):
        _ = third.known_by
    world.run(60.0)
    assert [event.reason for event in a.of(PresenceDown)] == [Reason.SILENT]
    assert (third.outcome, fourth.outcome) == (Outcome.UNKNOWN, Outcome.FAILED)
    assert third.reason == fourth.reason == Reason.SILENT
    assert a.peers._context.mail == {}
    with pytest.raises(UnknownPeer):
        a.peers.send_message(b.key, Message(0, b""), world.now)


def test_a_restart_of_the_peer_ends_what_was_under_way_and_numbers_begin_anew() -> None:
    world, a, b = pair()
    a.peers.keep(b.key, True)
    for _ in range(3):
        a.peers.send_message(b.key, Message(0, b"old"), world.now)
    world.run(1.0)
    world.net.drop = lambda source, target, data: True
    lost = a.peers.send_message(b.key, Message(0, b"lost"), world.now, timeout_s=60.0)
    world.run(0.2)
    world.net.drop = None
    b = world.add("b")
    b.peers.connect(a.key, [a.address], world.now)
    world.run(1.0)
    assert lost.outcome is Outcome.UNKNOWN
    assert lost.reason == Reason.RESTARTED
    fresh = a.peers.send_message(b.key, Message(0, b"old"), world.now)
    world.run(1.0)
    assert fresh.outcome is Outcome.SUCCEEDED
    assert bodies(b) == [b"old"]


def test_the_same_words_twice_have_two_names() -> None:
    world, a, b = pair()
    one = a.peers.send_message(b.key, Message(0, b"again"), world.now)
    two = a.peers.send_message(b.key, Message(0, b"again"), world.now)
    back = b.peers.send_message(a.key, Message(0, b"again"), world.now)
    assert len({one.name, two.name, back.name}) == 3


def test_references_are_short_while_they_are_near_and_right_when_they_are_not() -> None:
    world, a, b = pair()
    names: list[bytes] = []
    sizes = []
    for number in range(3 * DISTANCE_MAX):
        one, other = (a, b) if number % 2 else (b, a)
        old = names[world.random.randrange(len(names))] if names else bytes(32)
        last = names[-1] if names else None
        message = Message(number, b"x", in_regards_to=old, in_reply_to=last, reply_to=bytes(32))
        before = len(one.sent)
        names.append(one.peers.send_message(other.key, message, world.now).name)
        world.run(0.1)
        assert other.of(MessageReceived)[-1].message == message
        sizes.append(min(len(t.data) for t in one.sent[before:] if len(t.data) > 70))
    assert min(sizes) < max(sizes) - 25


def test_what_waits_is_bounded() -> None:
    world, a, b = pair()
    for _ in range(WAITING_MAX):
        a.peers.send_message(b.key, Message(0, b""), world.now, timeout_s=None)
    with pytest.raises(LaneFull):
        a.peers.send_message(b.key, Message(0, b""), world.now)
    world.run(10.0)
    for _ in range(AWAITED_MAX // WAITING_MAX):
        for _ in range(WAITING_MAX):
            a.peers.send_message(b.key, Message(0, b""), world.now, reply_timeout_s=500.0)
        world.run(10.0)
    with pytest.raises(LaneFull):
        a.peers.send_message(b.key, Message(0, b""), world.now)
    mail = a.peers._context.mail[b.key]
    for names in (mail.sent, mail.arrived, b.peers._context.mail[a.key].received):
        assert len(names._by_number) == len(names._by_name) == 2 * DISTANCE_MAX


def test_the_greatest_body_fits_with_and_without_references() -> None:
    world, a, b = pair()
    full = [bytes([number]) * 32 for number in range(3)]
    room = BODY_SIZE_MAX - 63
    for message in (Message(0, bytes(BODY_SIZE_MAX)), Message(0, bytes(room), *full)):
        a.peers.send_message(b.key, message, world.now)
        world.run(1.0)
        assert b.of(MessageReceived)[-1].message == message
    bad = [
        Message(0, bytes(BODY_SIZE_MAX + 1)),
        Message(0, bytes(room + 1), *full),
        Message(1 << 16, b""),
        Message(-1, b""),
        Message(0, b"", in_reply_to=b"short"),
    ]
    for message in bad:
        with pytest.raises(LocalError):
            a.peers.send_message(b.key, message, world.now)


def test_messages_go_through_rests_rekeying_and_beside_the_lane() -> None:
    world, a, b = pair(rekey_s=5.0, idle_timeout_s=1_000.0)
    deliveries = []
    for number in range(20):
        deliveries.append(a.peers.send_message(b.key, Message(0, b"%d" % number), world.now))
        a.peers.send(b.key, 1, bytes(3_000), world.now)
        b.peers.send_message(a.key, Message(0, b"%d" % number), world.now)
        world.run(1.0 if number % 5 else 30.0)
    assert bodies(a) == bodies(b) == [b"%d" % number for number in range(20)]
    assert len(b.entries) == 20
    assert {delivery.outcome for delivery in deliveries} == {Outcome.SUCCEEDED}
    world.run(30.0)
    assert presence_of(a, b).resting


def test_replayed_ones_are_silence_and_late_copies_are_only_acknowledged() -> None:
    world, a, b = pair()
    late: list[bytes] = []

    def hold(source: Address, target: Address, data: bytes) -> bool:
        if source == a.address and kind_of(data) is None and not late:
            late.append(data)
            return True
        return False

    world.net.drop = hold
    a.peers.send_message(b.key, Message(0, b"once"), world.now)
    world.run(3.0)
    assert bodies(b) == [b"once"]
    world.inject(a.address, b.address, late[0])
    world.inject(a.address, b.address, late[0])
    world.run(1.0)
    assert bodies(b) == [b"once"]


@pytest.mark.parametrize(
    "payload",
    [
        frames.message_ack(1),
        encode(0, 1, Message(0, b""), lambda _: None, lambda _: None),
        encode(5, 0, Message(0, b"", in_reply_to=bytes(32)), lambda _: 2, lambda _: None),
        encode(0, 0, Message(0, b"body"), lambda _: None, lambda _: None)[:-1],
    ],
    ids=["ack of nothing", "ack of nothing beside", "unknown reference", "cut short"],
)
def test_what_no_honest_peer_sends_ends_the_presence(payload: bytes) -> None:
    world, a, b = pair()
    b.peers.receive_datagrams([(presence_of(a, b).sealer.seal(payload), a.address)], world.now)
    world.run(1.0)
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.PROTOCOL]


@given(st.binary(max_size=120))
def test_anything_untrusted_decodes_or_raises_wire_error(data: bytes) -> None:
    names = {number: bytes([number]) * 32 for number in range(10)}
    payload = bytes([frames.MESSAGE]) + data
    try:
        _, _, message, offset = decode_untrusted(payload, 0, names.get, names.get)
    except WireError:
        return
    assert offset <= len(payload)
    assert len(message.body) <= BODY_SIZE_MAX
