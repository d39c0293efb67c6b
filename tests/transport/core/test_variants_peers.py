"""The variants through the whole table of peers, not only the handshake's machines."""

from __future__ import annotations

from tests.support.pair.pair import World
from transport.core import frames
from transport.core.config import TransportConfig
from transport.core.constants import MAGIC
from transport.core.crypto.keys import Identity
from transport.core.events import PresenceUp
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.initiator.initiator import Initiator

UNIX_OFFSET_S = 1.7e9


def closed(secret: bytes) -> TransportConfig:
    groups = (CircleSecret(secret),)
    return TransportConfig(handshake=HandshakeConfig(circles=groups, unix_offset_s=UNIX_OFFSET_S))


def test_members_of_a_circle_meet_and_strangers_find_nobody() -> None:
    world = World()
    a, b = world.add("a", closed(b"s" * 32)), world.add("b", closed(b"s" * 32))
    world.up(a, b)
    a.peers.send(b.key, 1, b"among us", world.now)
    world.run(1.0)
    assert [entry for _, _, entry in b.entries] == [b"among us"]
    for name, config in (("c", TransportConfig()), ("d", closed(b"o" * 32))):
        stranger = world.add(name, config)
        before = len(b.sent)
        world.connect(stranger, b)
        world.run(8.0)
        assert stranger.sent, "it tried"
        to_it = [t for t in b.sent[before:] if t.address == stranger.address]
        assert not to_it
        assert not stranger.of(PresenceUp)


def test_members_meet_though_the_first_challenges_are_lost() -> None:
    world = World()
    a, b = world.add("a", closed(b"s" * 32)), world.add("b", closed(b"s" * 32))
    lost = 0

    def drop(_: object, target: object, data: bytes) -> bool:
        nonlocal lost
        if data[:4] == MAGIC + b"\2" and lost < 2:
            lost += 1
            return True
        return False

    world.net.drop = drop
    world.connect(a, b)
    world.run(5.0)
    assert lost == 2
    assert a.of(PresenceUp)


def test_a_presence_with_somebody_who_gave_no_name() -> None:
    world = World()
    service = world.add("s", TransportConfig(handshake=HandshakeConfig(anonymous=True)))
    draw = world.random.randbytes
    initiator = Initiator(
        Identity.generate(draw),
        service.key,
        HandshakeConfig(),
        draw,
        message_cid=b"m" * 8,
        bulk_cid=b"b" * 8,
        incarnation=5,
        anonymous=True,
    )
    somewhere = ("10.9.9.9", 1)

    def ask(data: bytes) -> bytes:
        service.peers.receive_datagrams([(data, somewhere)], world.now)
        for _ in range(5):
            for transmit in service.peers.poll_transmits():
                if transmit.address == somewhere:
                    return transmit.data
            world.now += 0.05
            service.peers.handle_timeout(world.now)
        return b""

    assert initiator.receive_challenge_untrusted(ask(initiator.hello(world.now)), world.now)
    p4 = ask(initiator.initiate(frames.lane_open(7, 0), world.now))
    established = initiator.receive_accept_untrusted(p4, world.now)
    assert established is not None
    (up,) = [e for e in service.peers.poll_events() if isinstance(e, PresenceUp)]
    assert up.peer[31] & 0x80, "a handle, and no name"
