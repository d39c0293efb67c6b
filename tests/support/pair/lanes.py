"""Two lanes joined by a network that loses, delays, reorders and duplicates."""

from __future__ import annotations

import heapq
import random

from transport.core.config import TransportConfig
from transport.core.frames import LANE, LANE_ACK
from transport.core.lane.lane import HEADER_SIZE_MAX, Lane
from transport.core.lane.queue import BODY_SIZE_MAX
from transport.core.lane.rtt import RoundTrip

CONFIG = TransportConfig()
ROOM = HEADER_SIZE_MAX + BODY_SIZE_MAX


def make_lane(config: TransportConfig = CONFIG) -> Lane:
    return Lane(config, RoundTrip(config.rto_initial_s, config.rto_min_s, config.rto_max_s), 1)


class Wire:
    """Two lanes joined by a network that loses, delays, reorders and duplicates, seeded."""

    def __init__(self, seed: int, loss: float, heal_at: float, delay_s: float = 0.02) -> None:
        self.random = random.Random(seed)
        self.loss = loss
        self.heal_at = heal_at
        self.delay_s = delay_s
        self.now = 0.0
        self.lanes = (make_lane(), make_lane())
        self.flying: list[tuple[float, int, int, bytes]] = []
        self.serial = 0
        self.sent = [0, 0]
        self.arrived: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
        self.pushed: tuple[list[tuple[int, bytes]], list[tuple[int, bytes]]] = ([], [])
        self.answer_share = 0.0
        self.drop_next = 0
        self.pattern = 0  # bit i: lose the i-th datagram

    def push(self, side: int, group: int, entry: bytes) -> None:
        self.lanes[side].sender.push(group, entry)
        self.pushed[side].append((group, entry))

    def flush(self, side: int) -> None:
        lane = self.lanes[side]
        while True:
            frame = lane.packet_frame(self.now, ROOM)
            if frame is None:
                if not lane.ack_due(self.now):
                    return
                frame = lane.ack_frame(self.now)
            self.sent[side] += 1
            if self.drop_next:
                self.drop_next -= 1
                continue
            if self.pattern >> (sum(self.sent) - 1) & 1:
                continue
            lossy = self.now < self.heal_at
            if lossy and self.random.random() < self.loss:
                continue
            copies = 2 if lossy and self.random.random() < 0.05 else 1
            for _ in range(copies):
                late = self.random.random() * self.delay_s * (3 if lossy else 0)
                self.serial += 1
                at = self.now + self.delay_s + late
                heapq.heappush(self.flying, (at, self.serial, 1 - side, frame))

    def next_time(self) -> float | None:
        self.flush(0)
        self.flush(1)
        times = [t for lane in self.lanes if (t := lane.next_timeout()) is not None]
        if self.flying:
            times.append(self.flying[0][0])
        return min(times, default=None)

    def step(self) -> bool:
        """Advance to the next thing that happens; False when nothing ever will."""
        due = self.next_time()
        if due is None:
            return False
        self.now = max(self.now, due)
        while self.flying and self.flying[0][0] <= self.now:
            _, _, side, frame = heapq.heappop(self.flying)
            lane = self.lanes[side]
            entries: list[tuple[int, bytes]] = []
            if frame[0] & 0xF8 == LANE:
                lane.receive_packet_untrusted(frame, 0, self.now, entries)
            else:
                assert frame[0] & 0xF8 == LANE_ACK
                assert lane.receive_ack_untrusted(frame, 0, self.now) == len(frame)
            self.arrived[side].extend(entries)
            for _ in entries:
                if self.random.random() < self.answer_share:
                    self.push(side, 0, b"answer %d" % len(self.pushed[side]))
        for lane in self.lanes:
            lane.handle_timeout(self.now)
        return True

    def settle(self, steps_max: int = 200_000) -> None:
        for _ in range(steps_max):
            if not self.step():
                return
        raise AssertionError("the lanes never became quiescent")

    def check(self) -> None:
        assert self.arrived[1] == self.pushed[0]
        assert self.arrived[0] == self.pushed[1]
        assert all(lane.sender.quiet for lane in self.lanes)
