"""What is lost, lost again or overtaken: how long a reader waits, in virtual time."""

from __future__ import annotations

import pytest

from tests.utp_native.helpers import A, Link
from tests.utp_native.raw import DATA, parse
from utp_native import Address

TICK_S = 0.002
PAYLOAD = 1100


def lose_one(link: Link, after: int, times: int) -> list[int]:
    """Of the packets of data the one after `after` others is lost so many times; its losses."""
    losses: list[int] = []
    seen = [0]

    def drop(source: Address, data: bytes) -> bool:
        packet = parse(bytes(4) + data)  # a bare packet has no number of a channel
        if source != A or packet.type != DATA:
            return False
        seen[0] += 1
        if seen[0] > after and len(losses) < times and packet.seq in (losses or [packet.seq]):
            losses.append(packet.seq)
            return True
        return False

    link.drop = drop
    return losses


def longest_wait(link: Link, bytes_per_s: float, seconds: float) -> float:
    """The longest time between two reads while a writer writes at a steady rate."""
    a, b = link.connect()
    begun = last = link.now
    longest, written, received = 0.0, 0, 0
    while link.now < begun + seconds:
        wanted = int((link.now - begun) * bytes_per_s) // PAYLOAD * PAYLOAD
        written += link.a.write(a, bytes(wanted - written))
        link.run_for(TICK_S)
        while count := len(link.b.read(b, 1 << 20)):
            longest = max(longest, link.now - last) if received else 0.0
            received, last = received + count, link.now
    return max(longest, link.now - last)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("packets", [6, 20])
@pytest.mark.parametrize("rtt_s", [0.02, 0.1])
def test_a_packet_lost_again_and_again(rtt_s: float, packets: int, times: int) -> None:
    link = Link(delay_s=rtt_s / 2, bare=True)
    losses = lose_one(link, 200, times)
    waited = longest_wait(link, packets * PAYLOAD / rtt_s, 250 / packets * rtt_s + 2)
    assert len(losses) == times
    assert waited < 0.5
