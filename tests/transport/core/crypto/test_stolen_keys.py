"""What a thief gets who holds keys and the whole recording: HR13 to HR16, carried out.

Each test has its control: the same code with the key that was erased opens what it should, so a
failure to open is the key's absence and no fault of the attack.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import product
from types import FunctionType, ModuleType
from typing import Any

import pytest
from nacl._sodium import ffi

from tests.support.pair.handshake import NOW, Pair, seeded
from tests.support.pair.pair import World
from transport.core.constants import (
    SUITE_XCHACHA20,
    TRANSIENT_PERIOD_S,
)
from transport.core.crypto.aead_native import Opener, Sealer
from transport.core.crypto.keys import KeyPair
from transport.core.errors import WireError
from transport.core.handshake import rekey as rekey_module
from transport.core.handshake.key_exchange import (
    MODE_CHALLENGED,
    USE_ACCEPT,
    USE_REKEY,
    answer_nn,
    begin_kx,
    begin_nn,
    prologue,
)
from transport.core.handshake.negotiation import EpochKeys, epoch_keys
from transport.core.handshake.rekey import Rekeying, answer_rekeying_untrusted
from transport.core.handshake.wire import HEADER_SIZE, KX_AT, NN_AT_ACCEPT, NN_SIZE
from transport.core.initiator import acceptance
from transport.core.responder import incoming as admitted_module


def reachable(*roots: object, without: object = None) -> Iterator[Any]:
    """Everything an object leads to; of functions what they enclose, and not their modules."""
    seen: set[int] = {id(without)}
    ahead: list[Any] = list(roots)
    while ahead:
        thing = ahead.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType):
            continue
        seen.add(id(thing))
        yield thing
        if isinstance(thing, FunctionType):
            ahead += [thing.__closure__, thing.__defaults__]
        else:
            ahead += gc.get_referents(thing)


def secrets_in(*roots: object, without: object = None) -> set[bytes]:
    """Every byte string that begins with what could be a key, buffers of C included."""
    found = set()
    for thing in reachable(*roots, without=without):
        if isinstance(thing, bytes | bytearray) and len(thing) == 32:
            found.add(bytes(thing))
        elif isinstance(thing, ffi.CData) and ffi.typeof(thing).kind == "array":
            found.add(bytes(ffi.buffer(thing))[:32])
        elif isinstance(thing, Sealer | Opener):
            found |= native_values(thing)
    return found


def native_values(*directions: Any) -> set[bytes]:
    """What a direction natively has in place of its two keys."""
    found = set()
    for each in directions:
        found |= {bytes(ffi.buffer(part))[:32] for part in (each._native.key, each._native.mask)}
    return found


def values(keys: EpochKeys) -> set[bytes]:
    """All that would open or seal something of an epoch, in each form that is held."""
    sealer = Sealer(bytes(8), SUITE_XCHACHA20, keys.message_send, keys.message_send_header)
    opener = Opener(bytes(8), SUITE_XCHACHA20, keys.message_receive, keys.message_receive_header)
    return epoch_values(keys) | native_values(sealer, opener)


class Recording:
    """One handshake as an observer has it, and the attempt to open it with given secrets."""

    def __init__(self, pair: Pair) -> None:
        self.there = pair.there
        initiator = pair.initiator()
        self.p1 = initiator.hello(NOW)
        self.p2 = pair.challenge(self.p1)
        assert initiator.receive_challenge_untrusted(self.p2, NOW)
        self.p3 = initiator.initiate(b"first data", NOW)
        admitted = pair.admit(self.p3)
        self.p4 = pair.accept(admitted, b"the reply").datagram
        assert initiator.receive_accept_untrusted(self.p4, NOW) is not None
        self.transient = pair.responder._transients.current.pair

    def first_data(self, s: bytes, t: bytes) -> bytes | None:
        """What P3 holds, as far as these two secrets open it."""
        p3 = self.p3
        bound = prologue(MODE_CHALLENGED, p3[4], p3[9:41], self.p2, p3[:HEADER_SIZE])
        static, transient = KeyPair(s, self.there.static), KeyPair(t, self.transient.public)
        try:
            return begin_kx(static, transient, bound).read_message_untrusted(p3[KX_AT:-NN_SIZE])
        except WireError:
            return None


def test_a_stolen_static_key_opens_nothing_once_the_transient_is_gone() -> None:
    pair = Pair()
    recording = Recording(pair)
    s = pair.there.static_pair().secret
    t = recording.transient.secret
    # The control: while T is there, S and T together open the first data.
    first = recording.first_data(s, t)
    assert first is not None
    assert first.endswith(b"first data")
    assert t in secrets_in(pair.responder)
    # One period later T is still accepted; after two it is gone from memory.
    pair.now += TRANSIENT_PERIOD_S
    pair.responder.handle_timeout(pair.now)
    assert t in secrets_in(pair.responder)
    pair.now += TRANSIENT_PERIOD_S
    pair.responder.handle_timeout(pair.now)
    # The thief comes now, and takes both identities and all that the process still holds.
    loot = secrets_in(pair.responder, pair.here, pair.there)
    loot |= {s, pair.here.static_pair().secret, pair.here.seed, pair.there.seed}
    assert t not in loot
    assert s in loot
    assert len(loot) > 5
    for one, other in product(loot, repeat=2):
        assert recording.first_data(one, other) is None


def test_the_reply_is_safe_from_a_thief_of_s_c_and_t() -> None:
    """E2 and E3 protect the presence even from who has all three other keys."""
    pair = Pair()
    draws: list[bytes] = []
    true_random = pair.random

    def random(size: int) -> bytes:
        draws.append(true_random(size))
        return draws[-1]

    recording_pair = Pair()
    recording_pair.random = random
    recording_pair.responder = type(pair.responder)(
        recording_pair.there, recording_pair.config, random, NOW
    )
    recording = Recording(recording_pair)
    s, t = recording_pair.there.static_pair().secret, recording.transient.secret
    bound = prologue(
        MODE_CHALLENGED,
        recording.p3[4],
        recording.p3[9:41],
        recording.p2,
        recording.p3[:HEADER_SIZE],
    )

    def reply_with(e2: bytes) -> bytes:
        """Read P4 as the initiator does, with a stolen or guessed E2."""
        kx = begin_kx(KeyPair(s, recording.there.static), KeyPair(t), bound)
        kx.read_message_untrusted(recording.p3[KX_AT:-NN_SIZE])
        e2_public = recording.p3[-NN_SIZE:-16]
        nn = begin_nn(USE_ACCEPT, kx.hash, kx.split()[0], KeyPair(e2, e2_public))
        assert nn.write_message() == recording.p3[-NN_SIZE:], "E2 alone hides nothing of message 1"
        return nn.read_message_untrusted(recording.p4[NN_AT_ACCEPT:])

    e2 = next(d for d in draws if len(d) == 32 and KeyPair(d).public == recording.p3[-NN_SIZE:-16])
    assert reply_with(e2).endswith(b"the reply")
    c = recording_pair.here.static_pair().secret
    for guess in (s, t, c, seeded(9)(32)):
        with pytest.raises(WireError):
            reply_with(guess)


def epoch_values(keys: EpochKeys) -> set[bytes]:
    return {getattr(keys, name.name) for name in fields(keys)}


def test_a_captured_epoch_opens_neither_earlier_nor_later_ones() -> None:
    """A passive thief has all keys of one epoch and every rekey message."""
    here, there = Pair().run()
    ours, theirs, previous = [here.keys], [there.keys], [here.handshake_hash]
    messages: list[tuple[bytes, bytes]] = []
    for number in range(4):
        start = Rekeying(ours[-1], previous[-1], here.suite, b"ids", seeded(number))
        answered = answer_rekeying_untrusted(
            start.message, theirs[-1], previous[-1], here.suite, b"ids", seeded(50 + number)
        )
        done = start.finish_untrusted(answered.message)
        ours.append(done.keys)
        theirs.append(answered.keys)
        previous.append(done.handshake_hash)
        messages.append((start.message, answered.message))
    for number in range(1, 4):
        captured = ours[number]
        # It reads message 1 of the next rekeying, whose key is the captured secret...
        nn = answer_nn(USE_REKEY, previous[number], captured.rekey)
        assert nn.read_message_untrusted(messages[number][0]) == b"ids"
        # ...but not message 2, nor what comes after: that takes one of the two ephemerals.
        for guess in epoch_values(captured):
            reader = begin_nn(
                USE_REKEY,
                previous[number],
                captured.rekey,
                KeyPair(guess, messages[number][0][:32]),
            )
            reader.write_message(b"ids")
            with pytest.raises(WireError):
                reader.read_message_untrusted(messages[number][1])
        # Nor does it open the rekeying before, which was under a secret that is gone.
        for secret in epoch_values(captured):
            earlier = answer_nn(USE_REKEY, previous[number - 1], secret)
            with pytest.raises(WireError):
                earlier.read_message_untrusted(messages[number - 1][0])
    values = [epoch_values(keys) for keys in ours]
    assert len(set.union(*values)) == sum(map(len, values)), "no key is in two epochs"


def test_an_active_thief_is_not_healed_from_and_this_is_said() -> None:
    """The limit that the documentation states: with the rekey secret one can answer a rekeying."""
    here, there = Pair().run()
    start = Rekeying(here.keys, here.handshake_hash, here.suite, b"", seeded(1))
    between = answer_rekeying_untrusted(
        start.message, there.keys, here.handshake_hash, here.suite, b"", seeded(2)
    )
    assert start.finish_untrusted(between.message).keys.rekey == between.keys.rekey


def opened(keys: EpochKeys, datagrams: Iterable[bytes]) -> list[int]:
    """Which of the recorded datagrams the receiving keys of an epoch open."""
    found = []
    openers: dict[bytes, Opener] = {}
    for number, data in enumerate(datagrams):
        cid = data[:8]
        if cid not in openers:
            key, header_key = keys.message_receive, keys.message_receive_header
            openers[cid] = Opener(cid, SUITE_XCHACHA20, key, header_key)
        opener = openers[cid]
        try:
            opener.open_untrusted(data)
        except WireError:
            continue
        found.append(number)
    return found


def test_a_running_presence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through `Peers`: traffic, four epochs, a recording, and a thief at each of them."""
    epochs: dict[bool, list[EpochKeys]] = {True: [], False: []}

    def recorded(*arguments: Any, initiator: bool) -> EpochKeys:
        keys = epoch_keys(*arguments, initiator=initiator)
        epochs[initiator].append(keys)
        return keys

    for module in (acceptance, admitted_module, rekey_module):
        monkeypatch.setattr(module, "epoch_keys", recorded)
    world = World()
    a, b = world.add("a", rekey_s=5.0), world.add("b", rekey_s=5.0)
    for one, other in ((a, b), (b, a)):
        one.peers.keep(other.key, True)
    world.up(a, b)
    number = 0
    while len(epochs[True]) < 4:
        a.peers.send(b.key, 1, b"number %d" % number, world.now)
        world.run(0.5)
        number += 1
    assert [entry for _, _, entry in b.entries] == [b"number %d" % n for n in range(number)]
    sealed = [t.data for t in a.sent if t.data[:3] != b"\xf1\x9a\x71"]
    assert len(sealed) > 20
    # Every recorded datagram opens under the keys of one epoch and of no other.
    by_epoch = [opened(keys, sealed) for keys in epochs[False]]
    assert all(by_epoch[:3])
    assert sorted(n for found in by_epoch for n in found) == list(range(len(sealed)))
    # And the keys of epochs that are over are nowhere in either process.
    world.run(25.0)
    held = secrets_in(a.peers, b.peers)
    for side in (True, False):
        current = values(epochs[side][-1])
        assert len(current & held) == 4, "the control: those in use are found"
        for old in epochs[side][:-1]:
            assert not values(old) & held


def test_handshake_secrets_do_not_stay_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """E and E2 of a finished attempt, and E3, are nowhere once both sides are up."""
    world = World()
    drawn: list[bytes] = []
    true = world.random.randbytes

    def draw(size: int) -> bytes:
        drawn.append(true(size))
        return drawn[-1]

    monkeypatch.setattr(world.random, "randbytes", draw)
    a, b = world.add("a"), world.add("b")
    before = len(drawn)
    world.up(a, b)
    world.run(2.0)
    ephemerals = {draw for draw in drawn[before:] if len(draw) == 32}
    assert len(ephemerals) >= 3
    kept = ephemerals & secrets_in(a.peers, b.peers, without=drawn)
    assert not kept
