"""What an initiator does ahead, while its P1 is under way."""

from __future__ import annotations

import os

import pytest

from tests.support.pair.handshake import HOME, Pair, agree, counted_primitives
from transport.core.config import TransportConfig
from transport.core.constants import KEY_SIZE, TRANSIENT_PERIOD_S
from transport.core.crypto import noise
from transport.core.crypto.keys import Identity
from transport.core.crypto.noise_native import NativeRun
from transport.core.crypto.noise_portable import PortableRun
from transport.core.handshake.wire import KX_AT
from transport.core.peers import Peers
from transport.core.types import Address

THERE: Address = ("192.0.2.2", 2)


@pytest.fixture(params=[PortableRun, NativeRun], autouse=True)
def both_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "Run", request.param)


def test_what_was_prepared_is_not_done_again() -> None:
    pair = Pair()
    initiator = pair.initiator()
    p2 = pair.challenge(initiator.hello(pair.now))
    with counted_primitives() as ahead:
        initiator.prepare()
        initiator.prepare()
    assert (ahead.base, ahead.diffie_hellman) == (2, 1)
    assert initiator.receive_challenge_untrusted(p2, pair.now)
    with counted_primitives() as then:
        p3 = initiator.initiate(b"first", pair.now)
    assert (then.base, then.diffie_hellman) == (0, 2)
    there = pair.accept(pair.admit(p3))
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)


@pytest.mark.parametrize("prepared", [False, True])
def test_each_p3_has_its_own(prepared: bool) -> None:
    """What is prepared serves one P3: a second one of the same attempt is under other ephemerals,
    and the answer to either is taken."""
    pair = Pair()
    initiator = pair.initiator()
    found = []
    p3s = []
    for number in range(2):
        pair.now += number * TRANSIENT_PERIOD_S  # another transient: its P2 is an answer too
        if prepared:
            initiator.prepare()
        p2 = pair.challenge(initiator.hello(pair.now))
        assert initiator.receive_challenge_untrusted(p2, pair.now)
        p3s.append(initiator.initiate(b"first", pair.now))
        found.append(p3s[-1][KX_AT : KX_AT + KEY_SIZE])
    assert found[0] != found[1]
    assert p3s[0][-48:-16] != p3s[1][-48:-16], "E2"
    there = pair.accept(pair.admit(p3s[1]))
    assert initiator.receive_accept_untrusted(there.datagram, pair.now) is not None


def _table() -> Peers:
    return Peers(Identity.generate(os.urandom), TransportConfig(), os.urandom, 0.0, 1)


def test_a_table_prepares_the_newest_attempt_once() -> None:
    here, other = _table(), Identity.generate(os.urandom)
    with counted_primitives() as counts:
        here.prepare()
        here.connect(other.key, [THERE], 1.0)
        here.poll_transmits()
        assert (counts.base, counts.diffie_hellman) == (0, 0)
        for _ in range(2):
            here.prepare()
            assert (counts.base, counts.diffie_hellman) == (2, 1)


def test_nothing_is_prepared_for_an_attempt_that_is_over() -> None:
    here, other = _table(), Identity.generate(os.urandom)
    here.connect(other.key, [THERE], 1.0)
    here.forget(other.key)
    with counted_primitives() as counts:
        here.prepare()
    assert (counts.base, counts.diffie_hellman) == (0, 0)


def test_the_end_of_one_attempt_leaves_what_another_prepares() -> None:
    here = _table()
    first, second = (Identity.generate(os.urandom).key for _ in range(2))
    here.connect(first, [THERE], 1.0)
    here.connect(second, [THERE], 1.0)
    here.forget(first)
    with counted_primitives() as counts:
        here.prepare()
    assert counts.base == 2


def test_nothing_is_prepared_where_p3_goes_at_once() -> None:
    """A known transient: there is no P2 to wait for."""
    here, there = _table(), _table()
    address = HOME
    peer = there._context.identity.key
    here.connect(peer, [THERE], 1.0)
    for _ in range(3):
        there.receive_datagrams([(each.data, address) for each in here.poll_transmits()], 1.0)
        here.receive_datagrams([(each.data, THERE) for each in there.poll_transmits()], 1.0)
    here.prepare()
    assert peer in here._context.known
    here.forget(peer)
    here.poll_transmits()
    here.connect(peer, [THERE], 2.0)
    assert here.poll_transmits()
    with counted_primitives() as counts:
        here.prepare()
    assert (counts.base, counts.diffie_hellman) == (0, 0)
