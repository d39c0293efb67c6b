"""Paths, liveness, idle expiry and wake-ups: alone, and in worlds."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from tests.support.pair.pair import Net, Side, World
from transport.core.config import TransportConfig
from transport.core.constants import AMPLIFICATION_MAX, MAGIC
from transport.core.events import (
    EntriesReceived,
    Event,
    Heard,
    PathMoved,
    PresenceDown,
    PresenceUp,
    Reason,
    Silent,
)
from transport.core.lane.rtt import RoundTrip
from transport.core.presence.liveness import Liveness, Verdict
from transport.core.presence.path import CHALLENGES_MAX, Path
from transport.core.timers import Timers
from transport.core.types import Address

CONFIG = TransportConfig()
OLD, NEW, OTHER = ("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.3", 3)


def make_path() -> Path:
    return Path(OLD, random.Random(1).randbytes, 5.0)


# -- paths


def tokens(path: Path, now: float) -> dict[Address, int]:
    return dict(path.challenges_due(now))


def test_only_the_echo_from_there_moves_the_path() -> None:
    path = make_path()
    path.arrived(NEW, 100, True, 0.1, 0.0)
    due = tokens(path, 0.0)
    assert set(due) == {OLD, NEW}
    assert not path.echoed(due[NEW], OLD, 0.1)
    assert not path.echoed(due[NEW], OTHER, 0.1)
    assert not path.echoed(due[NEW] ^ 1, NEW, 0.1)
    assert path.address == OLD
    assert path.echoed(due[NEW], NEW, 0.1)
    assert path.address == NEW
    assert not path.echoed(due[NEW], NEW, 0.1), "once"


def test_the_old_path_wins_if_it_answers_before_or_after() -> None:
    for new_first in (False, True):
        path = make_path()
        path.arrived(NEW, 100, True, 0.1, 0.0)
        due = tokens(path, 0.0)
        if new_first:
            assert path.echoed(due[NEW], NEW, 0.1)
        path.echoed(due[OLD], OLD, 0.2)
        assert path.address == OLD
        assert not path.echoed(due[NEW], NEW, 0.3), "its challenge is void"
        path.arrived(NEW, 100, True, 0.1, 1.0)
        assert tokens(path, 1.0) == {}, "and it is not asked again for a while"
        path.arrived(OLD, 100, True, 0.1, 6.0)
        path.arrived(OTHER, 100, True, 0.1, 6.0)
        assert set(tokens(path, 6.0)) == {OLD, OTHER}


def test_a_candidate_gets_three_times_what_came_from_it() -> None:
    path = make_path()
    path.arrived(NEW, 100, True, 0.1, 0.0)
    given = 0
    while path.target(40) == NEW:
        given += 40
    assert given == 280 <= AMPLIFICATION_MAX * 100
    path.arrived(NEW, 10, True, 0.1, 0.0)
    assert path.target(30) == NEW
    path.arrived(OLD, 10, True, 0.1, 0.0)
    path.arrived(NEW, 1_000, False, 0.1, 0.0)
    assert path.target(30) == OLD, "replies go where the newest datagram came from"


def test_late_datagrams_from_elsewhere_start_nothing() -> None:
    path = make_path()
    path.arrived(NEW, 100, False, 0.1, 0.0)
    assert path.candidate is None


def test_challenges_are_bounded() -> None:
    path = make_path()
    path.arrived(NEW, 100, True, 0.1, 0.0)
    sent = 0
    while path.next_at is not None:
        sent += len(path.challenges_due(path.next_at))
    assert sent == 2 * CHALLENGES_MAX
    assert path.candidate is None


def keep_both(world: World, a: Side, b: Side) -> None:
    a.peers.keep(b.key, True)
    b.peers.keep(a.key, True)
    world.up(a, b)


def test_a_peer_that_moves_is_followed() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    keep_both(world, a, b)
    world.move(b, ("10.0.5.5", 5))
    a.peers.send(b.key, 1, b"lost at first", world.now)
    b.peers.send(a.key, 1, b"from the new place", world.now)
    world.run(3.0)
    assert a.of(PathMoved) == [PathMoved(b.key, ("10.0.5.5", 5))]
    assert [entry for _, _, entry in b.entries] == [b"lost at first"]
    assert [entry for _, _, entry in a.entries] == [b"from the new place"]
    assert not a.of(PresenceDown)
    status = a.peers.status(b.key)
    assert status is not None
    assert status.address == ("10.0.5.5", 5)


def test_a_forwarder_gets_three_times_its_bytes_and_not_the_path() -> None:
    world = World()
    a, b = world.add("a"), world.add("b")
    keep_both(world, a, b)
    thief = ("10.6.6.6", 6)

    def forward(source: Address, target: Address, data: bytes) -> bool:
        if source == b.address and data[:3] != MAGIC:
            world.inject(thief, target, data)  # the thief's copy instead of the true one
            return True
        return False

    world.net.drop = forward
    for number in range(200):
        a.peers.send(b.key, 1, bytes(800), world.now)
        b.peers.send(a.key, 1, b"%d" % number, world.now)
        world.run(0.02)
    world.net.drop = None
    came = sum(len(data) for data, source in a.received if source == thief)
    went = sum(len(t.data) for t in a.sent if t.address == thief)
    assert 0 < went <= AMPLIFICATION_MAX * came
    assert not a.of(PathMoved), "the old address answers its challenge, so it wins"
    world.run(5.0)
    assert len(b.entries) == 200
    assert len(a.entries) == 200


# -- liveness


def measured(rtt_s: float) -> RoundTrip:
    rtt = RoundTrip(CONFIG.rto_initial_s, CONFIG.rto_min_s, CONFIG.rto_max_s)
    for _ in range(50):
        rtt.sample(rtt_s)
    return rtt


def verdicts(liveness: Liveness, until: float) -> list[tuple[float, Verdict]]:
    told = []
    while (due := liveness.next_timeout(True)) is not None and due <= until:
        verdict = liveness.handle_timeout(True, due)
        told.append((round(due, 6), verdict))
        if verdict is Verdict.GONE:
            break
    return told


def test_slow_probes_turn_quick_after_one_missed_and_silence_is_told() -> None:
    told = verdicts(Liveness(CONFIG, measured(0.001), 0.0), 100.0)
    assert told[0] == (2.0, Verdict.PROBE)
    assert told[1] == (2.05, Verdict.PROBE)
    (silent,) = [at for at, verdict in told if verdict is Verdict.SILENT]
    assert silent == pytest.approx(2.0 + CONFIG.suspicion_s)
    assert len([at for at, _ in told if at < silent]) == round(
        CONFIG.suspicion_s / CONFIG.quick_probe_s
    )
    after = [at for at, _ in told if at > silent]
    gaps = [b - a for a, b in pairwise(after)]
    assert max(gaps) == pytest.approx(CONFIG.slow_probe_s), "a dead peer costs little"
    assert told[-1] == (pytest.approx(silent + CONFIG.silence_max_s), Verdict.GONE)


def test_who_was_stopped_itself_takes_nobody_for_silent() -> None:
    liveness = Liveness(CONFIG, measured(0.001), 0.0)
    liveness.watch(True, 0.0)
    assert liveness.handle_timeout(True, 0.05) is Verdict.PROBE
    late = 0.05 + 10 * CONFIG.suspicion_s
    assert liveness.handle_timeout(True, late) is Verdict.PROBE
    told = verdicts(liveness, late + 1.0)
    (silent,) = [at for at, verdict in told if verdict is Verdict.SILENT]
    granted = CONFIG.suspicion_s - CONFIG.quick_probe_s
    assert silent == pytest.approx(late + granted), "as much as was left when it was stopped"


def test_quick_probes_begin_at_once_and_never_outrun_the_path() -> None:
    liveness = Liveness(CONFIG, measured(0.001), 0.0)
    liveness.quick = True
    assert liveness.next_timeout(True) == pytest.approx(0.05)
    slow = Liveness(CONFIG, measured(0.3), 0.0)
    slow.quick = True
    first, second = verdicts(slow, 1.0)[:2]
    assert second[0] - first[0] >= 0.3


def test_a_heard_peer_is_not_probed_and_an_unwanted_one_never() -> None:
    liveness = Liveness(CONFIG, measured(0.001), 0.0)
    liveness.quick = True
    for tick in range(100):
        assert liveness.handle_timeout(True, tick * 0.04) is Verdict.NOTHING
        assert liveness.heard(tick * 0.04) is False
    assert Liveness(CONFIG, measured(0.001), 0.0).next_timeout(False) is None


def test_in_a_world_silence_and_its_end_are_told_in_time() -> None:
    world = World(net=Net(delay_s=0.001))
    a, b = world.add("a"), world.add("b")
    keep_both(world, a, b)
    a.peers.watch(b.key, True, world.now)
    world.run(1.0)
    assert not a.of(Silent)
    world.net.drop = lambda *_: True
    start = world.now
    world.run_until(lambda: bool(a.of(Silent)))
    assert CONFIG.suspicion_s <= world.now - start <= CONFIG.suspicion_s + 0.1
    a.peers.send(b.key, 1, b"meanwhile", world.now)
    world.run(5.0)
    world.net.drop = None
    world.run_until(lambda: bool(a.of(Heard)), CONFIG.slow_probe_s + 0.1)
    assert len(a.of(Silent)) == 1
    world.run(0.1)
    assert [entry for _, _, entry in b.entries] == [b"meanwhile"], "sent again at once"


def test_a_kept_idle_peer_is_probed_every_two_seconds_by_one_side() -> None:
    world = World(net=Net(delay_s=0.001))
    a, b = world.add("a"), world.add("b")
    keep_both(world, a, b)
    world.run(4.0)
    before = len(a.sent) + len(b.sent)
    world.run(20.0)
    assert len(a.sent) + len(b.sent) - before <= 2 * 10 + 4


def test_traffic_takes_the_place_of_probes() -> None:
    world = World(net=Net(delay_s=0.001))
    a, b = world.add("a"), world.add("b")

    def answer(event: Event) -> None:
        if isinstance(event, EntriesReceived):
            b.peers.send(a.key, 0, b"answer", world.now)

    b.on_event = answer
    keep_both(world, a, b)
    a.peers.watch(b.key, True, world.now)
    world.run(0.01)
    before = len(a.sent)
    for _ in range(100):
        a.peers.send(b.key, 0, b"ask", world.now)
        world.run(0.03)
    assert len(a.sent) - before == 100
    assert len(a.entries) == 100


def test_an_unkept_presence_expires_and_a_kept_one_does_not() -> None:
    world = World(net=Net(delay_s=0.001))
    a, b, c = world.add("a"), world.add("b"), world.add("c")
    world.up(a, b)
    a.peers.keep(c.key, True)
    world.up(a, c)
    world.run(CONFIG.idle_timeout_s + 5.0)
    assert [event.reason for event in a.of(PresenceDown)] == [Reason.IDLE]
    assert [event.reason for event in b.of(PresenceDown)] == [Reason.IDLE]
    assert not c.of(PresenceDown), "it hears the probes of the one that keeps it"
    world.run(30.0)
    assert a.peers.status(b.key) is None
    assert a.peers._context.by_cid.keys() == {
        presence.message_cid
        for presence in a.peers._context.by_cid.values()
        if presence.key == c.key
    }
    a.peers.keep(c.key, False)
    world.run(CONFIG.idle_timeout_s + 20.0)
    assert a.peers.status(c.key) is None
    assert a.peers._context.by_cid == {}
    assert a.peers._context.by_key == {}


def test_an_idle_presence_meets_again_without_loss() -> None:
    world = World(net=Net(delay_s=0.001))
    a, b = world.add("a"), world.add("b")
    for turn in range(3):
        world.connect(a, b)
        a.peers.send(b.key, 1, b"%d" % turn, world.now)
        world.run(CONFIG.idle_timeout_s + 20.0)
    assert [entry for _, _, entry in b.entries] == [b"0", b"1", b"2"]
    assert [event.restarted for event in b.of(PresenceUp)] == [False] * 3


# -- wake-ups


class Sleeper:
    def __init__(self) -> None:
        self.wake_at = math.inf
        self.wakeups: tuple[float, ...] = ()


@pytest.mark.parametrize("horizon_s", [0.9, 10.0, 1_000.0])
def test_a_sleeper_is_woken_at_each_time_it_asked_for_or_before(horizon_s: float) -> None:
    draw = random.Random(4)
    timers: Timers[Sleeper] = Timers()
    now = 100.0
    sleepers = [Sleeper() for _ in range(50)]
    wanted = {id(sleeper): now + draw.random() * horizon_s for sleeper in sleepers}
    for sleeper in sleepers:
        timers.wake(sleeper, wanted[id(sleeper)], now)
    wakes = 0
    while (at := timers.next_timeout()) is not None:
        assert all(at <= time for time in wanted.values())
        now = max(now, at)
        while (due := timers.due(now)) is not None:
            wakes += 1
            if id(due) in wanted and wanted[id(due)] <= now:
                del wanted[id(due)]
                if draw.random() < 0.5:
                    wanted[id(due)] = now + draw.random() * horizon_s
            if id(due) in wanted:
                timers.wake(due, wanted[id(due)], now)
    assert not wanted
    assert len(timers) == 0
    assert wakes < 1_000


def test_later_wishes_cost_nothing() -> None:
    for near, far in ((0.01, 0.5), (10.0, 200.0)):
        timers: Timers[Sleeper] = Timers()
        sleeper = Sleeper()
        for step in range(1_000):
            timers.wake(sleeper, 100.0 + far + step, 100.0)
        assert len(timers) == 1
        timers.wake(sleeper, 100.0 + near, 100.0)
        assert len(timers) == 2
        assert timers.due(99.0 + near) is None
        assert timers.due(100.0 + near) is sleeper
        for step in range(1_000):
            timers.wake(sleeper, 102.0 + far + step, 100.0 + near)
        assert timers.next_timeout() == 100.0 + far, "the wish it had serves these too"
        assert len(timers) == 1


def test_what_is_far_is_in_slots_and_not_in_the_heap() -> None:
    timers: Timers[Sleeper] = Timers()
    for number in range(10_000):
        timers.wake(Sleeper(), 160.0 + number / 1_000, 100.0)
    assert len(timers) == 10_000
    assert len(timers._heap) == 0
    assert len(timers._slots) == 40, "a quarter second each"
