"""Warm presences in one process: bytes of memory each, and what idling costs.

The presences are made from finished handshakes with random keys, by the code that makes them from
real ones; then one entry passes each way on each of them, sealed. Idling is run on a clock of its
own: processor seconds spent on two hours, over these.
"""

import gc
import os
import time

from benchmarks.report import options, row
from transport.core.config import TransportConfig
from transport.core.constants import SUITE_XCHACHA20
from transport.core.crypto.aead import Opener, Sealer
from transport.core.crypto.keys import Identity
from transport.core.dispatch.places import place_of
from transport.core.establish.promotion import bind, promote
from transport.core.events import EntriesReceived
from transport.core.handshake.negotiation import EpochKeys, Established
from transport.core.lane.lane import Lane
from transport.core.lane.rtt import RoundTrip
from transport.core.peers import Peers
from transport.core.presence.presence import Presence
from transport.core.types import Address

IDLE_S = 7200.0
HOME: Address = ("192.0.2.1", 4000)


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def warm(peers: Peers, number: int, now: float) -> Presence:
    """A confirmed presence with peer `number`, as a handshake leaves it."""
    context = peers._context
    peer = place_of(context, os.urandom(32), now)
    address = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 4000)
    message_cid, bulk_cid = context.draw_cids()
    established = Established(
        datagram=b"",
        reply=b"",
        peer=peer.key,
        incarnation=number + 1,
        handshake_hash=os.urandom(64),
        suite=SUITE_XCHACHA20,
        message_cid=os.urandom(8),
        bulk_cid=os.urandom(8),
        keys=EpochKeys(*(os.urandom(32) for _ in range(9))),
        rtt_s=0.02,
        clock_offset_s=0.0,
    )
    bind(context, peer, established.incarnation, number + 1)
    presence = Presence(
        established,
        address,
        peer.key,
        peer.lane,
        context.side,
        message_cid=message_cid,
        bulk_cid=bulk_cid,
        initiator=bool(number & 1),
        now=now,
    )
    presence.confirmed = True
    presence.probe_at = None
    context.by_cid[message_cid] = presence
    promote(context, peer, presence, now)
    context.mark(peer)
    talk(peers, presence, established.keys, now)
    return presence


def talk(peers: Peers, presence: Presence, keys: EpochKeys, now: float) -> None:
    """One entry each way, acknowledged: the peer's end is made for it and thrown away."""
    address = presence.address
    config = peers._context.config
    rtt = RoundTrip(config.rto_initial_s, config.rto_min_s, config.rto_max_s)
    lane = Lane(config, rtt, 1)
    sealer = Sealer(
        presence.message_cid, presence.suite, keys.message_receive, keys.message_receive_header
    )
    opener = Opener(
        presence.sealer.cid, presence.suite, keys.message_send, keys.message_send_header
    )
    lane.sender.push(0, b"a question")
    frame = lane.packet_frame(now, 1_000)
    assert frame is not None
    peers.receive_datagrams([(sealer.seal(frame), address)], now)
    peers.send(presence.key, 0, b"an answer", now)
    (transmit,) = peers.poll_transmits()
    entries: list[tuple[int, bytes]] = []
    lane.receive_packet_untrusted(opener.open_untrusted(transmit.data), 0, now, entries)
    assert entries == [(0, b"an answer")]
    peers.receive_datagrams([(sealer.seal(lane.ack_frame(now)), address)], now)
    assert not peers.poll_transmits()
    assert any(isinstance(event, EntriesReceived) for event in peers.poll_events())


def measure(count: int, idle_s: float) -> None:
    """Print the rows for `count` presences."""
    config = TransportConfig(idle_timeout_s=10 * IDLE_S, peers_max=count)
    now = 1_000.0
    peers = Peers(Identity.generate(os.urandom), config, os.urandom, now, 1)
    gc.collect()
    before = resident()
    started = time.process_time()
    for number in range(count):
        settle(peers, now, now + 1e-3)
        now += 1e-3
        warm(peers, number, now)
    made_s = time.process_time() - started
    settle(peers, now, now + 10.0)
    gc.collect()
    each = (resident() - before) / count
    row("presences", "quorate", "memory each", [each], "B", presences=count)
    row("presences", "quorate", "make and talk", [1e6 * made_s / count], "us", presences=count)
    now += 10.0
    started = time.process_time()
    wakes = settle(peers, now, now + idle_s)
    share = (time.process_time() - started) / idle_s
    row(
        "presences",
        "quorate",
        "idling",
        [100 * share],
        "% of a core",
        presences=count,
        wakes_per_s=round(wakes / idle_s, 1),
    )
    assert len(peers._context.by_key) == count


def settle(peers: Peers, now: float, until: float) -> int:
    """Let time pass; how often the process was woken."""
    wakes = 0
    while (due := peers.next_timeout()) is not None and due <= until:
        now = max(now, due)
        peers.handle_timeout(now)
        peers.poll_transmits()
        peers.poll_events()
        wakes += 1
    return wakes


def main() -> None:
    """Measure."""
    chosen = options(__doc__)
    if chosen.quick:
        measure(2_000, IDLE_S)
    else:
        measure(100_000, IDLE_S)


if __name__ == "__main__":
    main()
