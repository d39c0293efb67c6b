"""For each rule of presences that says what it prevents: the attack without it, and against it.

As in `test_attacks`, which has the rules on keys, and `test_attacks_cost`, on strangers: the rule
is taken out in the test, and then the attack that it is against succeeds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.pair.handshake import counted_primitives
from tests.support.pair.pair import Net, Side, World, kind_of, presence_of
from transport.core import frames
from transport.core.constants import AMPLIFICATION_MAX, KIND_ACCEPT, KIND_INITIATE
from transport.core.crypto import aead_portable
from transport.core.crypto.keys import Identity
from transport.core.crypto.packet_number import ReplayWindow
from transport.core.dispatch import frames_in
from transport.core.errors import LocalError
from transport.core.establish import accept, key_update, promotion
from transport.core.events import (
    BulkPlane,
    ConnectFailed,
    MessageReceived,
    PresenceDown,
    PresenceUp,
    Reason,
)
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.transient import decode_record_untrusted
from transport.core.initiator.initiator import Initiator
from transport.core.peer import deliver, mailbox, teardown
from transport.core.peer.context import Context
from transport.core.peer.peer import Peer
from transport.core.peers import Peers
from transport.core.presence.path import Path
from transport.core.presence.presence import Presence
from transport.core.responder.incoming import Admitted
from transport.core.types import Address, Message

Patch = pytest.MonkeyPatch
THIEF = ("10.6.6.6", 6)


def with_and_without(
    monkeypatch: Patch, absent: Callable[[Patch], None], attack: Callable[[], bool]
) -> None:
    """The attack succeeds where the rule is absent, and fails against it."""
    with monkeypatch.context() as without:
        absent(without)
        assert attack(), "without the rule"
    assert not attack(), "against the rule"


def kept(world: World, **tuning: float) -> tuple[Side, Side]:
    a, b = world.add("a", **tuning), world.add("b", **tuning)
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    return a, b


def test_a_delayed_p3_would_end_the_presence_of_a_later_life(monkeypatch: Patch) -> None:
    """Rule: until a datagram opens under its keys, a P3 replaces nothing."""
    true = accept.admit

    def eager(context: Context, peer: Peer, admitted: Admitted, now: float) -> None:
        lane_id, _, _ = promotion.lane_open_untrusted(admitted.first_data)
        if promotion.is_other_life(peer, admitted.incarnation, lane_id):
            promotion.begin_anew(context, peer, peer.new_lane(context.config, context.random), now)
        true(context, peer, admitted, now)

    def attack() -> bool:
        world = World()
        a, b = world.add("a"), world.add("b")
        held: list[bytes] = []

        def drop(source: Address, target: Address, data: bytes) -> bool:
            if kind_of(data) == KIND_INITIATE and source == a.address:
                held.append(data)
            return bool(held)

        world.net.drop = drop
        world.connect(a, b)
        world.run(0.1)
        world.net.drop = None
        a = world.add("a")
        world.up(a, b)
        world.inject(a.address, b.address, held[0])
        world.run(0.5)
        return [event.reason for event in b.of(PresenceDown)] == [Reason.RESTARTED]

    with_and_without(monkeypatch, lambda p: p.setattr(accept, "admit", eager), attack)


def test_without_a_share_of_their_own_spoofed_p3s_would_keep_everybody_out(
    monkeypatch: Patch,
) -> None:
    """Rule: presences whose P3 had no cookie have a share, and give way to those that had one."""

    def absent(patch: Patch) -> None:
        full = lambda context, _: context.unconfirmed < context.config.unconfirmed_max  # noqa: E731
        patch.setattr(Context, "has_room", full)
        patch.setattr(Context, "crowded", property(lambda context: False))

        def count(context: Context, presence: Presence, _: bool) -> None:
            context.unproven[presence] = None

        patch.setattr(Context, "count", count)

    def attack() -> bool:
        world = World()
        v, honest = world.add("v", unconfirmed_max=16, unproven_max=4), world.add("h")
        draw = world.random.randbytes
        record = v.peers.introductions.published(world.now)
        known = decode_record_untrusted(v.key, record, 2, world.now)
        for number in range(16):
            spoof = Initiator(
                Identity.generate(draw),
                v.key,
                HandshakeConfig(),
                draw,
                message_cid=draw(8),
                bulk_cid=draw(8),
                incarnation=1,
            )
            p3 = spoof.initiate_known(known, frames.lane_open(5, 0), world.now)
            world.inject((f"203.0.113.{number}", 1), v.address, p3)
        world.run(0.1)
        world.connect(honest, v, 3.0)
        world.run(4.0)
        return bool(honest.of(ConnectFailed))

    with_and_without(monkeypatch, absent, attack)


def test_a_copy_from_elsewhere_would_take_the_path(monkeypatch: Patch) -> None:
    """Rule: only the echo of a sealed challenge moves the path, and until then there is a bound."""

    def arrived(
        path: Path, address: Address, size: int, newest: bool, retry_s: float, now: float
    ) -> None:
        if newest:
            path.address = address

    def attack() -> bool:
        world = World()
        a, b = kept(world)

        def overtaken(source: Address, target: Address, data: bytes) -> bool:
            if source == b.address:
                world.inject(THIEF, target, data)
            return source == b.address

        world.net.drop = overtaken
        b.peers.send(a.key, 1, b"copied", world.now)
        world.run(0.1)
        world.net.drop = None
        for _ in range(50):
            a.peers.send(b.key, 1, bytes(1000), world.now)
        world.run(0.3)
        came = sum(len(data) for data, source in a.received if source == THIEF)
        went = sum(len(sent.data) for sent in a.sent if sent.address == THIEF)
        return went > AMPLIFICATION_MAX * came

    with_and_without(monkeypatch, lambda p: p.setattr(Path, "arrived", arrived), attack)


def test_a_forwarder_would_keep_the_path_it_took(monkeypatch: Patch) -> None:
    """Rule: the address before is asked as well, and wins if it answers."""
    due = Path.challenges_due

    def only_new(path: Path, now: float) -> list[tuple[Address, int]]:
        return [each for each in due(path, now) if each[0] == path.candidate]

    def attack() -> bool:
        home = ("10.0.0.1", 4000)
        path = Path(home, World().random.randbytes, 10.0)
        path.arrived(THIEF, 100, True, 0.1, 1.0)
        # The thief forwards the challenge it gets, and what the peer answers; it cannot keep the
        # peer from answering one that comes the straight way.
        asked = path.challenges_due(1.0)
        for address, token in sorted(asked, key=lambda each: each[0] == home):
            path.echoed(token, address, 1.1)
        return path.address == THIEF

    with_and_without(monkeypatch, lambda p: p.setattr(Path, "challenges_due", only_new), attack)


def test_replayed_datagrams_would_be_answered(monkeypatch: Patch) -> None:
    """Rule: a number opens once. Prevents: a recording that makes a peer send."""

    def attack() -> bool:
        world = World()
        a, b = kept(world)
        ping = presence_of(a, b).sealer.seal(frames.ping(7))
        world.inject(a.address, b.address, ping)
        world.run(0.1)
        before = len(b.sent)
        for _ in range(10):
            world.inject(a.address, b.address, ping)
            world.run(0.1)
        return len(b.sent) - before >= 10

    def absent(patch: Patch) -> None:
        # The native one has the rule in C.
        patch.setattr("transport.core.presence.presence.Opener", aead_portable.Opener)
        patch.setattr(ReplayWindow, "is_fresh", lambda *_: True)

    with_and_without(monkeypatch, absent, attack)


def test_a_message_sent_again_would_be_handed_up_again(monkeypatch: Patch) -> None:
    """Rule: a number below the one expected is a duplicate."""
    true = mailbox.receive_untrusted

    def forgetful(
        context: Context, peer: Peer, presence: Presence, payload: bytes, at: int, now: float
    ) -> int:
        mail = mailbox.mailbox_of(context, peer)
        if mail is not None:
            mail.expected = 0
        return true(context, peer, presence, payload, at, now)

    def attack() -> bool:
        world = World()
        a, b = kept(world)
        lost = world.now + 1.0
        world.net.drop = lambda source, target, data: source == b.address and world.now < lost
        a.peers.send_message(b.key, Message(1, b"pay ten"), world.now)
        world.run(5.0)
        return len(b.of(MessageReceived)) > 1

    with_and_without(
        monkeypatch, lambda p: p.setattr(mailbox, "receive_untrusted", forgetful), attack
    )


def test_who_asks_for_keys_all_the_time_would_be_given_them(monkeypatch: Patch) -> None:
    """Rule: an ask counts once the epoch is a second old."""

    def attack() -> bool:
        world = World(net=Net(delay_s=0.0005))
        v, m = world.add("v"), world.add("m")
        world.up(v, m)
        with counted_primitives() as counts:
            for _ in range(100):
                ask = presence_of(m, v).sealer.seal(bytes((frames.REKEY_ASK,)))
                world.inject(m.address, v.address, ask)
                world.run(0.01)
        return counts.diffie_hellman > 50

    with_and_without(monkeypatch, lambda p: p.setattr(key_update, "ASK_AGE_S", 0.0), attack)


def test_a_flood_of_probes_would_end_the_node(monkeypatch: Patch) -> None:
    """Rule: at most eight control frames wait for a datagram."""

    def attack() -> bool:
        world = World()
        a, b = kept(world)
        burst = [presence_of(a, b).sealer.seal(frames.ping(n) * 100) for n in range(5)]
        before = len(b.sent)
        for data in burst:
            b.peers.receive_datagrams([(data, a.address)], world.now)
        try:
            world.drain(b)
        except LocalError:
            return True  # No datagram takes so much: the node itself is at an end.
        return sum(len(sent.data) for sent in b.sent[before:]) > 1_120

    def absent(patch: Patch) -> None:
        patch.setattr("transport.core.presence.presence.CONTROL_MAX", 10**9)

    with_and_without(monkeypatch, absent, attack)


def test_who_says_that_it_moved_would_bring_a_flood_on_a_victim(monkeypatch: Patch) -> None:
    """Rule: nothing but challenges and answers goes to where a peer has moved, before the echo."""

    def attack() -> bool:
        world = World()
        a, b = kept(world, roams=True)
        for _ in range(40):
            b.peers.send(a.key, 1, bytes(1000), world.now)
        a.peers.move(b.key, world.now)
        datagram = presence_of(a, b).sealer.seal(frames.ping(1))
        world.net.drop = lambda source, target, data: source == a.address
        world.inject(THIEF, b.address, datagram)
        world.run(2.0)
        went = sum(len(sent.data) for sent in b.sent if sent.address == THIEF)
        return went > AMPLIFICATION_MAX * len(datagram)

    with_and_without(monkeypatch, lambda p: p.setattr(Path, "unsettle", lambda *_: None), attack)


def test_a_spare_used_twice_would_tell_the_same_keys_twice(monkeypatch: Patch) -> None:
    """Rule: a spare id is forgotten when it was used. Prevents: the bulk plane counting from 0
    again under keys it has used, for whoever has recorded the datagram of the move."""

    class Sticky(dict[bytes, object]):
        def pop(self, *_: object) -> None:  # type: ignore[override]
            return None

    def attack(sticky: bool) -> bool:
        world = World()
        a, b = kept(world, roams=True)
        context = b.peers._context
        if sticky:
            context.spares = Sticky(context.spares)  # type: ignore[assignment]
        a.peers.move(b.key, world.now)
        sent = len(a.sent)
        world.run(3.0)
        recorded = a.sent[sent].data
        peer = context.by_key[a.key]
        for presence in (*peer.former, peer.current):
            if presence is not None and presence.message_cid == recorded[:8]:
                teardown.discard(context, peer, presence)
        world.inject(THIEF, b.address, recorded)
        world.run(0.1)
        told = [event.plane.send_key for event in b.of(BulkPlane)]
        made = context.by_cid.get(recorded[:8])
        return len(set(told)) < len(told) or made is not None

    assert attack(sticky=True)
    assert not attack(sticky=False)


def test_what_follows_close_would_act_on_what_is_gone(monkeypatch: Patch) -> None:
    """Rule: once a frame has ended the presence, the rest of the payload is ignored."""
    seen: list[int] = []
    true = frames_in._control

    def counted(*arguments: object) -> None:
        seen.append(1)
        true(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(frames_in, "_control", counted)
    world = World()
    a, b = kept(world)
    payload = frames.close(1) + frames.ping(1) * 3
    datagram = presence_of(a, b).sealer.seal(payload)
    seen.clear()
    b.peers.receive_datagrams([(datagram, a.address)], world.now)
    assert seen == [1]


def test_a_p4_that_waits_for_nothing_would_cost_25_ms(monkeypatch: Patch) -> None:
    """Rule: P4 waits for a reply only if P3 brought something to reply to."""

    def attack() -> bool:
        world = World()
        a, b = world.add("a"), world.add("b")
        world.connect(a, b)
        world.run_until(lambda: bool(a.of(PresenceUp)))
        return world.now - 100.0 > 4 * world.net.delay_s + 0.02

    def absent(patch: Patch) -> None:
        true = deliver.take_first_data_untrusted
        patch.setattr(deliver, "take_first_data_untrusted", lambda *each: (true(*each), True)[1])

    with_and_without(monkeypatch, absent, attack)


def test_unproven_presences_are_told_apart_by_their_p3() -> None:
    """What the share above rests on: a cookie, and nothing else, proves an address."""
    world = World()
    v, a, b = world.add("v"), world.add("a"), world.add("b")
    record = v.peers.introductions.published(world.now)
    b.peers.introductions.learn_untrusted(v.key, record, world.now)
    world.net.drop = lambda source, target, data: kind_of(data) == KIND_ACCEPT
    world.connect(a, v)
    world.connect(b, v)
    world.run(0.3)
    context = v.peers._context
    assert [presence.key for presence in context.validated] == [a.key]
    assert [presence.key for presence in context.unproven] == [b.key]
    assert isinstance(v.peers, Peers)
