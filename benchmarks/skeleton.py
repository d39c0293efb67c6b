"""What deciding costs without an engine: the datagrams of a decision of three, sealed and opened.

One process sends its proposals, sealed for each of two others; each of them sends a vote to both of
the others once it has them all; when both votes are back, the next begins. That is what `decide`
does on the wire, with nothing decided: no lanes, no groups, no event loop, no handlers.
"""

import json
import socket
import sys
import time

from benchmarks.children import child, say
from benchmarks.report import options, percentile, row
from transport.core.constants import SUITE_XCHACHA20
from transport.core.crypto.aead import Opener, Sealer

MEMBERS = 3
PROPOSAL_SIZE = 110
"""Bytes of a proposal of 64 bytes with what goes around it, as `decide` sends it."""
VOTE_SIZE, VOTED_SIZE = 40, 6
"""Bytes of a vote, and for each further proposal it is about."""
PACKED_SIZE = 1000


class _Member:
    """One of the three. `go` seals, sends and opens until the time is over."""

    def __init__(self, sock: socket.socket, rank: int, ports: list[int], window: int) -> None:
        self._sock = sock
        self._rank = rank
        self._peers = {("127.0.0.1", port): at for at, port in enumerate(ports) if at != rank}
        self._sealers = {at: Sealer(*_keys(rank, at)) for at in self._peers.values()}
        self._openers = {at: Opener(*_keys(at, rank)) for at in self._peers.values()}
        size = window * PROPOSAL_SIZE
        starts = range(0, size, PACKED_SIZE)
        self._proposals = [b"p" * min(PACKED_SIZE, size - at) for at in starts]
        self._vote = b"v" * min(VOTE_SIZE + VOTED_SIZE * (window - 1), PACKED_SIZE)

    def _send(self, payload: bytes) -> None:
        for address, at in self._peers.items():
            sealer = self._sealers[at]
            self._sock.sendto(sealer.seal(payload), address)
            sealer.acknowledge(sealer.next_packet_number - 1)

    def _propose(self) -> float:
        before = time.perf_counter()
        for payload in self._proposals:
            self._send(payload)
        return before

    def go(self, seconds: float) -> list[float]:
        """The seconds that the rounds took, at the first member; nothing at the others."""
        self._sock.settimeout(1.0)
        got = dict.fromkeys(self._peers.values(), 0)
        taken: list[float] = []
        before = self._propose() if self._rank == 0 else 0.0
        end = time.perf_counter() + seconds
        while True:
            try:
                datagram, address = self._sock.recvfrom(2048)
            except TimeoutError:
                return taken
            at = self._peers[address]
            payload = self._openers[at].open_untrusted(datagram)
            proposed = payload[:1] == b"p"
            got[at] += proposed or self._rank == 0
            if self._rank == 0 and all(got.values()):
                now = time.perf_counter()
                taken.append(now - before)
                if now > end:
                    return taken
                got = dict.fromkeys(got, 0)
                before = self._propose()
            elif proposed and got[at] % len(self._proposals) == 0:
                self._send(self._vote)


def _keys(sender: int, receiver: int) -> tuple[bytes, int, bytes, bytes]:
    seed = bytes([MEMBERS * sender + receiver + 1])
    return 8 * seed, SUITE_XCHACHA20, 32 * seed, 32 * bytes([seed[0] + 100])


def member(rank: int) -> None:
    """Child: one of the three, once it knows where the others are."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        say(sock.getsockname()[1])
        told = json.loads(sys.stdin.readline())
        each = _Member(sock, rank, told["ports"], told["window"])
        say(True)
        sys.stdin.readline()
        spent = time.process_time()
        taken = each.go(told["seconds"])
        say([time.process_time() - spent, taken])


def measure(window: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each round, and the processor time of all members for one round."""
    with (
        child("benchmarks.skeleton", "member", rank=0) as first,
        child("benchmarks.skeleton", "member", rank=1) as second,
        child("benchmarks.skeleton", "member", rank=2) as third,
    ):
        members = (first, second, third)
        ports = [each.ready for each in members]
        for each in members:
            each.do("run", ports=ports, seconds=seconds, window=window)
        for each in reversed(members):
            each.tell("go")
        told = [each.hear() for each in members]
    taken = told[0][1]
    return taken, sum(spent for spent, _ in told) / len(taken)


def main() -> None:
    """Measure one at a time, and a window of 64 at a time."""
    chosen = options(__doc__)
    seconds = 0.5 if chosen.quick else 2.0
    for window in (1, 64):
        rounds = [measure(window, seconds) for _ in range(chosen.rounds)]
        p50 = [1e3 * percentile(taken, 0.5) for taken, _ in rounds]
        rates = [window * len(taken) / sum(taken) for taken, _ in rounds]
        cpu = [1e6 * spent / window for _, spent in rounds]
        row("skeleton", f"{window} at a time", "latency p50", p50, "ms", members=MEMBERS)
        row("skeleton", f"{window} at a time", "rate", rates, "1/s", members=MEMBERS)
        row("skeleton", f"{window} at a time", "CPU of all", cpu, "us", members=MEMBERS)


if __name__ == "__main__":
    main()
