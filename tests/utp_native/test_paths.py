"""A path that changes under a channel, in virtual time: the pause, and what is forgotten."""

from __future__ import annotations

import heapq

import pytest

from tests.utp_native.helpers import FULL, MIB, A, B, Link, Transfer
from tests.utp_native.raw import STATE, RawPeer
from utp_native import Address

ELSEWHERE: Address = ("192.0.2.7", 4321)
LOOK_S = 0.2
"""How often an endpoint looks whether bulk that was coming has stopped (`transport.endpoint`)."""


class Roaming(Link):
    """The address of `a` changes: what is sent to the one it had is lost. `b` is told to send to
    the new one when a presence would have validated it."""

    def __init__(self) -> None:
        super().__init__()
        self.address = A
        self.told_at: float | None = None

    def collect(self) -> None:
        for data, _ in self.a.collect():
            self.fly(self.address, B, data)
        for data, to in self.b.collect():
            if to == self.address:
                self.fly(B, A, data)

    def fly(self, source: Address, target: Address, data: bytes) -> None:
        self.sent += 1
        heapq.heappush(self.flying, (self.now + self.delay_s, self.sent, source, target, data))

    def move(self) -> None:
        self.collect()
        self.flying = [one for one in self.flying if one[3] != A]
        heapq.heapify(self.flying)
        self.address = ELSEWHERE

    def step(self) -> bool:
        self.collect()
        times = [t for t in (self.a.next_timeout(), self.b.next_timeout()) if t is not None]
        times += [self.flying[0][0]] if self.flying else []
        if self.told_at is not None and self.told_at <= min(times):
            self.now, self.told_at = max(self.now, self.told_at), None
            self.b.handle_timeout(self.now)
            self.b.move_plane(self.plane_b, self.address)
            return True
        done = super().step()
        if self.b.poll_paths() and self.told_at is None:
            self.told_at = self.now + 2 * self.delay_s  # a path challenge and its answer
        return done


@pytest.mark.parametrize("writer_moves", [True, False])
def test_another_address_in_mid_transfer_is_no_long_pause(writer_moves: bool) -> None:
    link = Roaming()
    a, b = link.connect()
    sender, reader = (link.a, a), (link.b, b)
    if not writer_moves:
        sender, reader = reader, sender
    transfer = Transfer(link, sender, reader, bytes(8 * MIB))
    longest_s, last_at, had = 0.0, link.now, 0
    moved_at = None
    while not transfer.go():
        if len(transfer.received) > had:
            longest_s, last_at = max(longest_s, link.now - last_at), link.now
            had = len(transfer.received)
        if moved_at is None and had > 2 * MIB:
            link.move()
            moved_at = link.now
            if not writer_moves:
                # It has nothing to send by itself: its endpoint looks, and probes.
                link.told_at = link.now + LOOK_S + 3 * link.delay_s
        assert link.now < 60
        assert link.step()
    assert moved_at is not None
    assert link.address == ELSEWHERE
    assert 2 * link.delay_s < longest_s < 0.5


def acknowledge(peer: RawPeer, theirs_us: int, ours_us: int) -> int:
    """Four acknowledgements with these delays both ways; returns the queueing delay they show."""
    for _ in range(4):
        peer.now += 0.1
        now, peer.now = peer.now, peer.now - theirs_us / 1e6
        packet = peer.datagram(STATE, seq=peer.seq + 1, ack=peer.ack, reply_micro=ours_us)
        peer.now = now
        peer.give(packet)
    (channel,) = {event.channel for event in peer.events}
    return peer.pump.channel_figures(channel)["queueing_delay_us"]


def test_delays_of_the_old_path_are_forgotten() -> None:
    peer = RawPeer()
    peer.connect()
    assert acknowledge(peer, 20_000, 20_000) == 0
    assert acknowledge(peer, 20_000, 50_000) == 30_000
    peer.pump.move_plane(peer.plane, ELSEWHERE)
    # Longer both ways, which is no queue.
    assert acknowledge(peer, 70_000, 70_000) == 0
    # Clocks that drift apart: what one direction gains the other loses. Seen only against what the
    # peer's direction took on this path.
    assert acknowledge(peer, 65_000, 75_000) == 0
    assert acknowledge(peer, 65_000, 95_000) == 20_000


def test_the_window_grows_by_the_round_trip_of_the_new_path() -> None:
    link = Link(delay_s=0.01)
    a, b = link.connect()
    transfer = Transfer(link, (link.a, a), (link.b, b), bytes(64 * MIB))
    link.run(lambda: transfer.go() or len(transfer.received) > MIB)
    link.run_for(1)  # what was under way tells of the old path
    link.delay_s = 0.075
    link.a.move_plane(link.plane_a, B)
    assert link.a.channel_figures(a)["window"] <= 10 * FULL
    end = link.now + 1.0
    link.run(lambda: transfer.go() or link.now > end)
    # Doubled each round trip of 150 ms. By the gain of the old path it would be 27 packets.
    assert link.a.channel_figures(a)["window"] > 100 * FULL
