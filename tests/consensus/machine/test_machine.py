"""The machine in the simulated world: groups, lives, asks and bounds."""

import pytest

from consensus.core import message_kinds as kinds
from consensus.core.config import GroupConfig
from consensus.core.errors import GroupError
from consensus.core.outputs import Decided, Expelled, Lost, Suspended
from consensus.core.types import Content, Decision, Handle, Member, Outcome, Timer
from consensus.machine import outbox
from consensus.machine.hosted_group import PairEvent
from consensus.machine.instant import Instant, Span
from consensus.machine.lease_clock import SLEW_BOUND
from consensus.machine.machine import GROUPS_MAX, Machine, MachineConfig
from scenarios.world.network import Link
from tests.support.messages import message as said
from tests.support.nodes.cast import NUMBER, Cast
from transport.core.config import TransportConfig
from transport.core.crypto.keys import Identity

LOSSY = Link(delay_s=0.02, jitter_s=0.02, loss=0.2, duplication=0.05, reordering=0.05)
PATIENT = MachineConfig(transport=TransportConfig(suspicion_s=1.0))
"""Of five probes over such a link all are lost, or their answers, once in 170 times: members would
be removed now and then, as they should be, which is not what is to be seen here."""


def answers(cast: Cast, name: str) -> list[Decision]:
    """Outcomes of what a player asked."""
    return [
        event.output.decision
        for _, event in cast.hosts[name].events
        if isinstance(event, PairEvent) and isinstance(event.output, Decided)
        if event.output.handle is not None
    ]


def ask(cast: Cast, name: str, other: str, body: bytes, timeout_s: float = 30.0) -> None:
    content = Content("price", body)
    cast.do(name, lambda m, now: m.ask(cast.key(other), content, now, timeout_s))


@pytest.mark.parametrize("seed", range(3))
def test_one_order_over_links_that_lose_a_fifth(seed: int) -> None:
    cast = Cast("abcd", seed, LOSSY, config=PATIENT)
    cast.gather("abcd")
    for number in range(12):
        cast.propose("abcd"[number % 4], b"%d" % number)
    cast.until(lambda: all(_work(cast, name) == 12 for name in "abcd"))
    orders = [
        [(d.index, d.body, d.outcome) for d in cast.decisions(name) if d.kind == "work"]
        for name in "abcd"
    ]
    assert orders[0] == orders[1] == orders[2] == orders[3]
    assert all(outcome is Outcome.COMMITTED for _, _, outcome in orders[0])


def _work(cast: Cast, name: str) -> int:
    return sum(decision.kind == "work" for decision in cast.decisions(name))


def test_who_was_only_called_calls_back() -> None:
    """A member that knows where the others are only by their presences is removed while it is cut
    off, and they end these: it calls them and hears that it is out, and does not wait for ever."""
    cast = Cast("abc")
    cast.gather("abc")
    cast.machine("c").contacts._where.clear()
    heal = cast.world.cut(["c"], ["a", "b"])
    cast.until(lambda: cast.in_view("ab"), 10.0)
    for name in "ab":
        cast.do(name, lambda m, now: m.peers.forget(cast.key("c")))
    contacts = cast.machine("c").contacts
    cast.until(lambda: not any(contacts.has_presence(cast.key(name)) for name in "ab"), 300.0)
    heal()
    cast.until(lambda: any(type(each) in (Expelled, Lost) for each in cast.outputs("c")), 30.0)


@pytest.mark.parametrize("sponsor", "ab")
def test_a_restart_under_the_same_key_is_another_member(sponsor: str) -> None:
    """The old life is lost and removed, the new one is admitted, and the sponsor is told under
    the handle it was given, although a change of view abandoned the join on the way."""
    cast = Cast("abc")
    cast.gather("abc")
    old = cast.member("c")
    cast.hosts["c"].restart()
    cast.introduce("c")
    assert cast.member("c").key == old.key
    assert cast.member("c") != old
    handle = cast.admit(sponsor, "c")
    cast.until(lambda: cast.in_view("abc"), 10.0)
    decision = cast.outcome(sponsor, handle)
    assert decision is not None
    assert decision.outcome is Outcome.COMMITTED
    assert decision.content.subject == cast.member("c")
    view = cast.view("a")
    assert view is not None
    assert old not in view.members


def test_an_expelled_member_comes_back_in_another_life() -> None:
    """Nobody has spoken to the new life before, and the presence with the old one looks well."""
    cast = Cast("abc")
    cast.gather("abc")
    cast.hosts["c"].pause()
    cast.until(lambda: cast.in_view("ab"), 10.0)
    cast.hosts["c"].resume()
    cast.until(lambda: any(isinstance(o, Expelled) for o in cast.outputs("c")), 10.0)
    cast.world.run(for_s=2.0)
    cast.hosts["c"].restart()
    cast.introduce("c")
    cast.admit("a", "c")
    cast.until(lambda: cast.in_view("abc"), 10.0)


def test_two_groups_on_one_node_do_not_know_of_each_other() -> None:
    cast = Cast("abc")
    cast.gather("abc", 7)
    cast.gather("cab", 8)
    handles = [(name, n, cast.propose(name, b"x", n)) for name in "abc" for n in (7, 8)]
    cast.until(lambda: all(cast.outcome(name, t, n) for name, n, t in handles))
    cast.do("b", lambda m, now: m.leave(7, now))
    cast.until(lambda: cast.in_view("ac", 7))
    assert cast.in_view("abc", 8)
    with pytest.raises(GroupError, match="already"):
        cast.do("a", lambda m, now: m.found(7, GroupConfig(), now))
    last = cast.propose("b", b"still", 8)
    cast.until(lambda: cast.outcome("b", last, 8) is not None)


def test_asking_while_joining() -> None:
    cast = Cast("abc", 3, LOSSY)
    cast.gather("ab")
    cast.admit("a", "c")
    for number in range(5):
        ask(cast, "c", "b", b"%d" % number)
        ask(cast, "a", "c", b"%d" % number)
    cast.until(lambda: len(answers(cast, "c")) == 5 and len(answers(cast, "a")) == 5)
    cast.until(lambda: cast.in_view("abc"))


def test_a_peer_in_another_life_answers_the_next_question_soon() -> None:
    cast = Cast("ab")
    ask(cast, "a", "b", b"1")
    cast.until(lambda: len(answers(cast, "a")) == 1)
    cast.hosts["b"].restart()
    ask(cast, "a", "b", b"2")
    cast.until(lambda: _lost(cast, "a"), 3.0)
    ask(cast, "a", "b", b"3")
    cast.until(lambda: answers(cast, "a")[-1].body == b"3", 3.0)


def _lost(cast: Cast, name: str) -> bool:
    events = (event for _, event in cast.hosts[name].events)
    return any(isinstance(e, PairEvent) and isinstance(e.output, Lost) for e in events)


def test_a_node_that_forgot_the_group_is_no_longer_waited_for() -> None:
    cast = Cast("abc")
    cast.gather("abc")
    cast.do("c", lambda m, now: m.drop(NUMBER, now))
    handle = cast.propose("a", b"x")
    cast.until(lambda: cast.in_view("ab"), 5.0)
    cast.until(lambda: cast.outcome("a", handle) is not None, 5.0)


def test_what_is_told_of_groups_one_is_not_in_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outbox, "GONE_TOLD_MAX", 16)
    cast = Cast("ab")
    cast.connect("a", "b")
    for number in range(100, 200):
        for entry in (b"\xc1nonsense", b"", b"\x93\x01\x01\x01", b"\xff" * 100):
            cast.do("a", lambda m, now, n=number, e=entry: m.peers.send(cast.key("b"), n, e, now))
    cast.do("a", lambda m, now: m.found(5, GroupConfig(), now))
    for number in range(100, 200):
        message = b"\x97\x01\x01\x01\x00\xa4work\xc0\xc0"
        cast.do("a", lambda m, now, n=number, e=message: m.peers.send(cast.key("b"), n, e, now))
    cast.world.run(for_s=3.0)
    assert len(cast.machine("b")._outbox._told) <= 16
    ask(cast, "a", "b", b"still there")
    cast.until(lambda: len(answers(cast, "a")) == 1)


def test_what_a_full_lane_does_not_take_waits_and_arrives_in_order() -> None:
    transport = TransportConfig(lane_backlog_bytes_max=1 << 17)
    cast = Cast("ab", config=MachineConfig(transport=transport))
    ask(cast, "a", "b", b"first")
    cast.until(lambda: len(answers(cast, "a")) == 1)
    cast.hosts["b"].pause()
    for number in range(30):
        ask(cast, "a", "b", b"%02d" % number + bytes(20_000))
    waiting = cast.machine("a")._outbox._waiting
    assert sum(map(len, waiting.values())) > 10
    cast.world.run(for_s=0.2)
    cast.hosts["b"].resume()
    cast.until(lambda: len(answers(cast, "a")) == 31)
    assert [d.body[:2] for d in answers(cast, "a")[1:]] == [b"%02d" % n for n in range(30)]
    assert waiting == {}


def test_a_peer_for_whom_too_much_waits_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WAITING_MAX", 8)
    transport = TransportConfig(lane_backlog_bytes_max=1 << 17)
    cast = Cast("ab", config=MachineConfig(transport=transport))
    ask(cast, "a", "b", b"first")
    cast.until(lambda: len(answers(cast, "a")) == 1)
    cast.hosts["b"].pause()
    for number in range(40):
        ask(cast, "a", "b", b"%02d" % number + bytes(20_000))
    assert sum(map(len, cast.machine("a")._outbox._waiting.values())) <= 8
    cast.hosts["b"].resume()
    cast.world.run(for_s=15.0)
    ask(cast, "a", "b", b"again")
    cast.until(lambda: answers(cast, "a")[-1].body == b"again")


@pytest.mark.parametrize(
    "where",
    [b"", b"\xc1", b"\x91\x92\xa90.0.0.0.0\x07", b"\xff" * 1024, b"\x91\x92\xa9224.0.0.1\x07"],
)
@pytest.mark.parametrize("key", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32, b"\x07" * 32])
def test_a_joiner_nobody_can_reach_is_rejected(where: bytes, key: bytes) -> None:
    """A member may name any key and any bytes as addresses; nothing breaks at the others."""
    cast = Cast("abc")
    cast.gather("abc")
    hosted = cast.machine("a")._hosted[NUMBER]

    def sponsor(machine: object, now: float) -> int:
        handle = hosted.group.sponsor(Member(key, 5), where, deadline_ms=2000)
        cast.machine("a")._acted(hosted, handle, now)
        return handle

    handle = cast.do("a", sponsor)
    cast.until(lambda: cast.outcome("a", handle) is not None)
    decision = cast.outcome("a", handle)
    assert decision is not None
    assert decision.outcome is Outcome.REJECTED
    after = cast.propose("c", b"still")
    cast.until(lambda: cast.outcome("c", after) is not None)
    assert cast.in_view("abc")


def test_a_minority_is_suspended_and_then_learns_what_became_of_it() -> None:
    cast = Cast("abc")
    cast.gather("abc")
    heal = cast.world.cut("c", "ab")
    cast.until(lambda: Suspended(True) in cast.outputs("c"), 10.0)
    with pytest.raises(GroupError):
        cast.propose("c", b"alone")
    cast.until(lambda: cast.in_view("ab"), 10.0)
    handle = cast.propose("a", b"without c")
    cast.until(lambda: cast.outcome("a", handle) is not None)
    cast.world.run(for_s=45.0)  # Long enough for the presences to be given up.
    heal()
    cast.until(lambda: any(isinstance(o, Expelled | Lost) for o in cast.outputs("c")))


def test_the_number_of_groups_is_bounded() -> None:
    cast = Cast("a")
    for number in range(1, GROUPS_MAX + 1):
        cast.do("a", lambda m, now, n=number: m.found(n, GroupConfig(), now))
    with pytest.raises(GroupError, match="at most"):
        cast.do("a", lambda m, now: m.found(GROUPS_MAX + 1, GroupConfig(), now))
    cast.do("a", lambda m, now: m.drop(5, now))
    cast.do("a", lambda m, now: m.found(GROUPS_MAX + 1, GroupConfig(), now))
    handle = cast.propose("a", b"x", GROUPS_MAX + 1)
    assert cast.outcome("a", handle, GROUPS_MAX + 1) is not None


def test_a_node_does_not_ask_itself_nor_somebody_it_cannot_find() -> None:
    cast = Cast("a")
    with pytest.raises(GroupError, match="itself"):
        ask(cast, "a", "a", b"x")
    with pytest.raises(GroupError, match="no address"):
        cast.do("a", lambda m, now: m.ask(bytes(32), Content("price"), now, 5.0))
    with pytest.raises(GroupError, match="not in that group"):
        cast.propose("a", b"x", 99)


def test_proposals_made_together_share_datagrams_and_are_all_decided() -> None:
    """Forty proposals of 64 bytes: ten fit a datagram, and each of the two others gets them all."""
    cast = Cast("abc")
    cast.gather("abc")
    sent: list[bytes] = []

    def propose(machine: Machine, now: float) -> list[Handle]:
        handles = [
            machine.propose(NUMBER, Content("work", bytes([n]) * 64), now) for n in range(40)
        ]
        transmits = machine.poll_transmits()
        sent.extend(transmit.data for transmit in transmits)
        return handles

    handles = cast.do("a", propose)
    assert len(sent) == 2 * 4
    # They never went out: the lane sends them again, and every one of them is decided.
    cast.until(lambda: all(cast.outcome("a", handle) is not None for handle in handles))
    bodies = [d.body[0] for d in cast.decisions("c") if d.kind == "work"]
    assert bodies == list(range(40))


def test_without_the_clocks_there_are_no_leases() -> None:
    host = Cast("a").hosts["a"]
    machine = Machine(
        Identity.generate(host.random_bytes), MachineConfig(), host.random_bytes, 0.0, 1, None
    )
    assert machine.possible(GroupConfig()) == GroupConfig(lease_s=0.0)
    machine.found(NUMBER, GroupConfig(), 0.0)
    assert machine._hosted[NUMBER].group.config.lease_s == 0
    assert not machine.runs(Span(Instant(0.0, 0.0, 0.0), 1000.0))
    assert machine.runs(None)


def test_grants_are_longer_where_nothing_but_a_slewed_clock_counts_them() -> None:
    cast = Cast("ab")
    cast.gather("ab")
    machine = cast.machine("a")
    machine._clocks = None  # As after a durable group was moved to such a machine.
    (hosted,) = machine._hosted.values()
    asked = said(kinds.LEASE_ASK, 2, hosted.group._clock, hosted.group.index, 1, 1000)
    hosted.group.receive(cast.member("b"), asked)
    now = cast.world.now
    cast.do("a", lambda m, at: m._acted(hosted, Handle(0), at))
    assert hosted.group._leases.grants
    heap = machine._timers._heap
    armed = [at for at, _, (_, what) in heap if isinstance(what, Timer) and what.name == "lease"]
    assert armed == [pytest.approx(now + GroupConfig().lease_s * (1 + SLEW_BOUND))]
