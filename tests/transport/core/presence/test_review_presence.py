"""What a peer, or who records its datagrams, cannot bring about under keys that once were good."""

from __future__ import annotations

import pytest

from tests.support.pair.pair import Net, Side, World, presence_of
from transport.core import frames
from transport.core.constants import SUITE_AEGIS256, SUITE_XCHACHA20
from transport.core.crypto.aead import Opener, Sealer
from transport.core.errors import LocalError, WireError
from transport.core.establish import connect, key_update, promotion
from transport.core.establish.key_update import ASK_AGE_S
from transport.core.events import BulkPlane, PresenceDown, Reason
from transport.core.handshake.rekey import answer_rekeying_untrusted
from transport.core.handshake.variants import FIRST_CONTACT
from transport.core.peer import teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.presence.presence import Presence
from transport.core.responder.authentication import Waiting
from transport.core.types import Address

ELSEWHERE = ("203.0.113.9", 53)


def kept_pair(world: World) -> tuple[Side, Side]:
    """Two sides that keep each other; the second has the larger key."""
    one, two = sorted((world.add("a"), world.add("b")), key=lambda side: side.key)
    one.peers.keep(two.key, True)
    two.peers.keep(one.key, True)
    return one, two


def planes_of(side: Side) -> list[bytes]:
    return [event.plane.receive_cid for event in side.of(BulkPlane)]


def begin_again(world: World, side: Side, other: Side) -> None:
    """`side` makes a second presence, as if it had lost its way."""
    context = side.peers._context
    peer = context.by_key[other.key]
    connect.begin_attempt(context, peer, [other.address], world.now, world.now + 5.0)
    context.mark(peer)


def test_a_presence_that_is_current_again_gets_new_keys_and_tells_none_twice() -> None:
    world = World()
    low, high = kept_pair(world)
    world.connect(low, high)
    world.run(6.5)
    first = presence_of(high, low)
    begin_again(world, high, low)
    world.run(0.5)
    assert presence_of(low, high).initiator is False
    late = [first.sealer.seal(frames.ping(number)) for number in range(3)]
    for datagram in late:
        world.inject(high.address, low.address, datagram)
        world.run(5.0)
    assert presence_of(low, high).initiator, "it was current again"
    for side, other in ((low, high), (high, low)):
        told = planes_of(side)
        assert len(told) == len(set(told)) >= 3
        assert told[-1] == presence_of(side, other).plane.receive_cid
    assert presence_of(low, high).plane.send_key == presence_of(high, low).plane.receive_key


@pytest.mark.parametrize("closer", [0, 1])
def test_bulk_follows_to_the_crossed_presence_that_is_left(closer: int) -> None:
    world = World()
    pair = kept_pair(world)
    world.connect(*pair)
    world.connect(pair[1], pair[0])
    world.run(1.0)
    there, here = pair[closer], pair[1 - closer]
    closing = presence_of(there, here)
    before = presence_of(here, there)
    assert closing.initiator is not before.initiator
    # That side has judged the crossing differently, and what it left has drained.
    close = closing.sealer.seal(frames.close(Reason.REPLACED))
    context = there.peers._context
    peer = context.by_key[here.key]
    (other,) = peer.former
    teardown.discard(context, peer, closing)
    promotion.revive(context, peer, other, world.now)
    context.mark(peer)
    world.inject(there.address, here.address, close)
    world.run(3.0)
    assert not here.of(PresenceDown)
    assert presence_of(here, there) is not before
    told = planes_of(here)
    assert told[-1] == presence_of(here, there).plane.receive_cid
    assert len(told) == len(set(told))


def test_an_orderly_end_revives_nothing_that_drains() -> None:
    world = World()
    one, two = kept_pair(world)
    world.connect(one, two)
    world.connect(two, one)
    world.run(1.0)
    one.peers.close(two.key, 7, world.now)
    world.run(0.5)
    for side in (one, two):
        assert [event.reason for event in side.of(PresenceDown)] == [7]


def test_after_close_nothing_of_a_datagram_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    v, m = world.add("v", rekey_s=2.0), world.add("m")
    world.up(v, m)
    honest = key_update._answer_untrusted
    sent: list[bytes] = []

    def evil(context: Context, peer: Peer, presence: Presence, message: bytes, now: float) -> None:
        if context is not m.peers._context:
            return honest(context, peer, presence, message, now)
        if not sent:
            a, b = context.draw_cids()
            answer = answer_rekeying_untrusted(
                message,
                presence.epoch_keys,
                presence.handshake_hash,
                presence.suite,
                a + b,
                context.random,
            )
            sent.append(frames.close(5) + frames.rekey(frames.REKEY_SECOND, answer.message))
            world.inject(m.address, v.address, presence.sealer.seal(sent[0]))
        return None

    monkeypatch.setattr(key_update, "_answer_untrusted", evil)
    for _ in range(3):
        if not v.of(PresenceDown):
            v.peers.send(m.key, 1, b"x", world.now)
        world.run(1.0)
    assert sent
    assert [event.reason for event in v.of(PresenceDown)] == [5]
    world.run(20.0)
    context = v.peers._context
    assert (context.by_key, context.by_cid, len(v.of(BulkPlane))) == ({}, {}, 1)


def test_a_rekeying_is_finished_by_the_current_presence_only() -> None:
    world = World()
    one, two = kept_pair(world)
    world.connect(one, two)
    world.run(1.0)
    context = one.peers._context
    peer = context.by_key[two.key]
    old = presence_of(one, two)
    old.key_update_wanted, old.key_update_at = True, world.now
    key_update.age(context, peer, old, world.now)
    assert old.key_update is not None
    answer = answer_rekeying_untrusted(
        old.key_update.rekeying.message,
        old.epoch_keys,
        old.handshake_hash,
        old.suite,
        bytes(15) + b"\x01",
        context.random,
    )
    teardown.retire(context, peer, old, world.now)
    there = len(context.by_cid)
    key_update.receive_untrusted(context, peer, old, frames.REKEY_SECOND, answer.message, world.now)
    assert peer.current is None
    assert len(context.by_cid) == there


@pytest.mark.parametrize("delay_s", [0.001, 0.01, 0.2])
def test_two_that_close_at_once_do_not_go_on_telling_each_other(delay_s: float) -> None:
    world = World(net=Net(delay_s=delay_s))
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    before = len(a.sent) + len(b.sent)
    a.peers.close(b.key, 1, world.now)
    b.peers.close(a.key, 1, world.now)
    world.run(20.0)
    assert len(a.sent) + len(b.sent) - before == 2


def test_a_closed_presence_answers_once_a_round_trip() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    theirs = presence_of(b, a)
    world.net.drop = lambda source, target, data: True
    a.peers.close(b.key, 1, world.now)
    world.run(0.1)
    before = len(a.sent)
    flood = [(theirs.sealer.seal(frames.ping(number)), b.address) for number in range(40)]
    for one in flood:
        a.peers.receive_datagrams([one], world.now)
        world.run(0.001)
    assert len(a.sent) == before + 1
    world.run(2.0)
    a.peers.receive_datagrams([(theirs.sealer.seal(frames.ping(99)), b.address)], world.now)
    world.drain(a)
    assert len(a.sent) == before + 2


def test_asks_for_new_keys_have_a_pace() -> None:
    world = World(net=Net(delay_s=0.0005))
    v, m = world.add("v"), world.add("m")
    world.up(v, m)
    before, start = len(v.of(BulkPlane)), world.now
    for _ in range(400):
        asking = presence_of(m, v)
        ask = asking.sealer.seal(bytes((frames.REKEY_ASK,)))
        world.inject(m.address, v.address, ask)
        world.run(0.01)
    epochs = len(v.of(BulkPlane)) - before
    assert 0 < epochs <= (world.now - start) / ASK_AGE_S + 1


@pytest.mark.parametrize("recorded", [True, False])
def test_challenges_bring_no_more_than_came_to_an_address_nobody_validated(recorded: bool) -> None:
    world = World()
    m, v = world.add("m"), world.add("v")
    world.up(m, v)
    sealer = presence_of(m, v).sealer
    row = b"".join(frames.challenge(number) for number in range(8))
    sent = [sealer.seal(row) for _ in range(30)]
    if recorded:
        world.inject(m.address, v.address, sealer.seal(frames.ping(1)))
        world.run(0.1)

    def nowhere(source: Address, target: Address, data: bytes) -> bool:
        return target == ELSEWHERE

    world.net.drop = nowhere
    before = len(v.sent)
    for datagram in sent:
        world.inject(ELSEWHERE, v.address, datagram)
        world.run(0.05)
    out = [each for each in v.sent[before:] if each.address == ELSEWHERE]
    if recorded:
        assert out == [], "they were not the newest"
    else:
        assert 0 < sum(len(each.data) for each in out) <= 3 * sum(map(len, sent))
        assert len(out) <= 3 * len(sent)


@pytest.mark.parametrize("suite", [SUITE_XCHACHA20, SUITE_AEGIS256])
def test_erased_keys_neither_seal_nor_open(suite: int) -> None:
    cid, key, header = b"c" * 8, b"k" * 32, b"h" * 32
    sealer, opener = Sealer(cid, suite, key, header), Opener(cid, suite, key, header)
    datagram = sealer.seal(b"before")
    sealer.erase()
    opener.erase()
    with pytest.raises(LocalError):
        sealer.seal(b"after")
    with pytest.raises(WireError):
        opener.open_untrusted(datagram)


def test_a_discarded_presence_at_rest_seals_nothing_either() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    world.up(a, b)
    world.run(5.0)
    presence = presence_of(a, b)
    assert presence.resting
    context = a.peers._context
    teardown.discard(context, context.by_key[b.key], presence)
    with pytest.raises(LocalError):
        presence.sealer.seal(b"under zeros")


def test_no_secret_in_the_repr_of_what_waits() -> None:
    fields = dict.fromkeys(Waiting._fields)
    waiting = Waiting(**{**fields, "variant": FIRST_CONTACT, "data": b"", "psk": b"SECRET"})  # type: ignore[arg-type]
    assert "SECRET" not in repr(waiting)
    assert "SECRET" not in f"{waiting}"
