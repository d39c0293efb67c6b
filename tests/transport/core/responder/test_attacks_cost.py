"""For each rule on what strangers can cost, and on what others can learn: the attack without it.

As in `test_attacks`, which has those on keys: first with the rule patched out, then against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.pair.handshake import AWAY, HOME, NOW, Pair, counted_primitives, flip, seeded
from transport.core.constants import AMPLIFICATION_MAX, CLEAR_TICKS_PER_S, EFFORT_MAX
from transport.core.crypto import noise, noise_portable
from transport.core.crypto.keys import Identity, KeyPair
from transport.core.errors import WireError
from transport.core.handshake import transient, wire
from transport.core.handshake.cookie import make_cookie
from transport.core.handshake.key_exchange import begin_kx
from transport.core.handshake.negotiation import HandshakeConfig, negotiate_untrusted
from transport.core.handshake.transient import Burnt, KnownTransient
from transport.core.handshake.wire import (
    CHALLENGE_PREFIX,
    KX_AT,
    decode_challenge_untrusted,
    encode_challenge,
)
from transport.core.initiator import acceptance, candidates, initiator
from transport.core.initiator.initiator import Initiator
from transport.core.responder import authentication, challenge, responder
from transport.core.responder.admission_control import AdmissionControl
from transport.core.responder.burnt_names import BurntNames
from transport.core.responder.effort import WaitingRoom
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder

Patch = pytest.MonkeyPatch


def test_a_solution_for_any_p3_would_be_stolen_in_flight(monkeypatch: Patch) -> None:
    """Rule: the solution covers the rest of P3. Prevents: using others' work to lock them out."""

    def victim_gets_in() -> bool:
        pair = Pair(config=HandshakeConfig(effort_min=400))
        p3 = pair.to_p3(pair.initiator())
        # Seen on the way, and overtaken: the victim's header and solution, another body.
        assert pair.give(p3[:KX_AT] + seeded(1)(len(p3) - KX_AT)) is None
        return isinstance(pair.give(p3), Admitted)

    with monkeypatch.context() as without:
        for module in (initiator, responder):
            without.setattr(module, "rest_hash", lambda *_: b"")
        assert not victim_gets_in()
    assert victim_gets_in()


def test_one_solved_challenge_would_buy_any_number_of_operations(monkeypatch: Patch) -> None:
    """Rule: a sequence is burnt before the Diffie-Hellman. Prevents: many for one."""

    def operations() -> int:
        pair = Pair(config=HandshakeConfig(handshakes_burst=10_000))
        p3 = pair.to_p3(pair.initiator())
        draw = seeded(2)
        with counted_primitives() as counts:
            for _ in range(200):
                pair.give(p3[:KX_AT] + draw(len(p3) - KX_AT))
        return counts.diffie_hellman

    with monkeypatch.context() as without:
        without.setattr(BurntNames, "_again", lambda *_: Burnt("first contact", b"", 0, HOME, 0.0))
        assert operations() >= 200
    assert operations() <= 3 * 3


def test_a_cookie_for_any_address_would_validate_none(monkeypatch: Patch) -> None:
    """Rule: cookies bind address and port. Prevents: P3s in others' names, whose P4s hit them."""

    def admitted_from(address: tuple[str, int]) -> bool:
        pair = Pair()
        p3 = pair.to_p3(pair.initiator())
        return isinstance(pair.give(p3, address), Admitted)

    make = make_cookie
    for address in (AWAY, (HOME[0], HOME[1] + 1)):
        with monkeypatch.context() as without:
            without.setattr(
                challenge,
                "make_cookie",
                lambda secret, _, **fields: make(secret, ("0.0.0.0", 0), **fields),
            )
            assert admitted_from(address)
        assert not admitted_from(address)


def test_known_p3s_without_an_allowance_would_take_the_processor(monkeypatch: Patch) -> None:
    """Rule: 0-RTT P3s share a tenth of a core. Prevents: Diffie-Hellman for forged sources."""

    def operations() -> int:
        pair = Pair(config=HandshakeConfig(handshakes_burst=10_000))
        known = learned(pair)
        p3 = pair.initiator().initiate_known(known, b"", NOW)
        draw = seeded(3)
        with counted_primitives() as counts:
            for _ in range(300):
                pair.give(p3[:13] + draw(len(p3) - 13), AWAY)
        return counts.diffie_hellman

    with monkeypatch.context() as without:
        without.setattr(AdmissionControl, "has_time", lambda *_: True)
        assert operations() >= 300
    assert operations() <= 40 * 3


def learned(pair: Pair) -> KnownTransient:
    initiator = pair.initiator()
    p3 = pair.to_p3(initiator)
    assert initiator.receive_accept_untrusted(pair.accept(pair.admit(p3)).datagram, NOW) is not None
    assert initiator.learned is not None
    return initiator.learned


def test_replays_of_a_small_p3_would_amplify(monkeypatch: Patch) -> None:
    """Rule: all P4 bytes are at most three times the P3 bytes. Prevents: amplification."""

    def factor() -> float:
        pair = Pair()
        p3 = pair.initiator().initiate_known(learned(pair), b"", NOW)
        admitted = pair.admit(p3, AWAY)
        reply = bytes(min(admitted.reply_size_max, 1024) if limited else 1024)
        admitted.reply_size_max = 1024
        sent = len(pair.accept(admitted, reply).datagram)
        received = len(p3)
        for _ in range(40):
            answer = pair.give(p3, AWAY)
            received += len(p3)
            sent += len(answer.data) if isinstance(answer, Reply) else 0
        return sent / received

    limited = False
    with monkeypatch.context() as without:
        without.setattr(transient, "ANSWER_RESENDS_MAX", 1000)
        without.setattr(transient, "AMPLIFICATION_MAX", 1000)
        assert factor() > AMPLIFICATION_MAX
    limited = True
    assert factor() <= AMPLIFICATION_MAX


def test_forged_challenges_would_use_up_the_initiators_work(monkeypatch: Patch) -> None:
    """Rule: the lowest effort first, within a cap. Prevents: puzzles for nobody."""

    def hashes_before_the_true_one() -> int:
        pair = Pair(config=HandshakeConfig(puzzle_work_max=50_000))
        victim = pair.initiator()
        true = pair.challenge(victim.hello(NOW))
        genuine = decode_challenge_untrusted(true)
        for salt in range(2):
            forged = genuine._replace(effort=20_000, cookie=bytes([salt]) * 16)
            victim.receive_challenge_untrusted(encode_challenge(forged), NOW)
        victim.receive_challenge_untrusted(true, NOW)
        total = 0
        while victim.ready:
            victim.start(b"", NOW)
            unsolved = victim._unsolved
            assert unsolved is not None
            while (p3 := victim.work(10_000)) is None:
                pass
            total += unsolved.solver.hashes
            if isinstance(pair.give(p3), Admitted):
                return total
        return -1

    with monkeypatch.context() as without:
        without.setattr(candidates, "_by_effort", lambda _: 0)
        assert hashes_before_the_true_one() > 10_000
    assert hashes_before_the_true_one() == 0


def test_without_sealed_lists_a_forged_refusal_would_downgrade(monkeypatch: Patch) -> None:
    """Rule: both compare the full sealed lists, and the refusal. Prevents: downgrade."""

    def handshake() -> int | None:
        pair = Pair()
        victim = pair.initiator()
        pair.challenge(victim.hello(NOW))
        lie = CHALLENGE_PREFIX + victim.echo + bytes([0, 2, 1, 1, 1, 1])
        victim.receive_challenge_untrusted(lie, NOW)
        assert victim.refused
        p2 = pair.challenge(victim.hello(NOW))
        assert victim.receive_challenge_untrusted(p2, NOW)
        p3 = victim.initiate(b"", NOW)
        answer = pair.give(p3)
        if not isinstance(answer, Admitted):
            return None
        p4 = pair.accept(answer).datagram
        return None if victim.receive_accept_untrusted(p4, NOW) is None else p3[4]

    def any_choice(ours: Any, theirs: Any, _: int) -> tuple[int, int]:
        return negotiate_untrusted(ours, theirs, max(set(ours[0]) & set(theirs[0])))

    with monkeypatch.context() as without:
        without.setattr(authentication, "negotiate_untrusted", any_choice)
        without.setattr(acceptance, "negotiate_untrusted", any_choice)
        without.setattr(initiator, "refusal_hash", lambda _: b"")
        assert handshake() == 1, "both can do 2, and were talked into 1"
    assert handshake() is None
    # Each of the two alone is enough.
    with monkeypatch.context() as without:
        without.setattr(initiator, "refusal_hash", lambda _: b"")
        assert handshake() is None


def test_clear_times_that_ran_on_would_link_pseudonyms() -> None:
    """Rule: a random origin per P1 and per T. Prevents: linking names of one machine."""

    def linked(draw: Callable[[int], bytes]) -> bool:
        pair = Pair()
        hellos = []
        for seed, at in ((1, NOW), (2, NOW + 10.0)):
            someone = pair.initiator(Identity.generate(seeded(seed)))
            someone._writer._random = draw
            hellos.append(someone.hello(at))
        one, two = (int.from_bytes(hello[13:17], "big") for hello in hellos)
        # One clock: the difference is the time that has passed between them.
        return abs((two - one) / CLEAR_TICKS_PER_S - 10.0) < 0.001

    assert linked(bytes)
    assert not linked(seeded(5))


def test_a_degenerate_transient_would_leave_out_an_operation(monkeypatch: Patch) -> None:
    """Rule: an all-zero result is dropped. Prevents: a side that contributes nothing to a secret.

    A low-order E makes `ee` and `se` zero for every T and S: what P3 then proves, it proves to
    every responder, so the same bytes of key stream come back.
    """

    def chain(pair: Pair) -> bytes:
        t = pair.responder._transients.current.pair
        low = KeyPair(bytes(32), bytes(32))
        kx = begin_kx(pair.there.static_pair(), t, bytes(32))
        try:
            kx.read_message_untrusted(low.public + bytes(48) + bytes(16))
        except WireError as error:
            return str(error).encode()
        return b""

    assert chain(Pair()) == b"degenerate Diffie-Hellman"
    with monkeypatch.context() as without:
        without.setattr(noise, "Run", noise_portable.PortableRun)
        without.setattr(noise_portable, "diffie_hellman_untrusted", lambda *_: bytes(32))
        # The run goes on as if nothing were wrong, up to a tag whose key is public.
        assert chain(Pair(seed=1)) == chain(Pair(seed=2)) == b"not authentic"
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    assert pair.give(p3[:KX_AT] + bytes(32) + p3[KX_AT + 32 :]) is None


def test_an_old_effort_would_hold_under_load(monkeypatch: Patch) -> None:
    """Rule: below half the effort asked for now, begin again. Prevents: stocks of old cookies."""

    def admitted() -> int:
        pair = Pair()
        stock = [pair.to_p3(pair.initiator()) for _ in range(10)]
        pair.responder._admission.controller.effort = 1000
        return sum(isinstance(pair.give(p3), Admitted) for p3 in stock)

    with monkeypatch.context() as without:
        without.setattr(AdmissionControl, "effort_for", lambda *_: 0)
        assert admitted() == 10
    assert admitted() == 0


def test_what_is_replayed_is_delivered_once_also_after_a_restart() -> None:
    """Rule: T in memory only. Prevents: delivering first data again in another life."""
    pair = Pair()
    p3 = pair.to_p3(pair.initiator())
    known = pair.initiator().initiate_known(learned(pair), b"", NOW)
    assert isinstance(pair.give(p3), Admitted)
    assert isinstance(pair.give(known), Admitted)
    snapshot = pair.responder._transients
    pair.responder = Responder(pair.there, pair.config, seeded(77), NOW)
    for replayed in (p3, known):
        answer = pair.give(replayed)
        assert isinstance(answer, Reply), "a P2: begin again"
    # Without the rule, T is read back from a disk, and the memory of what was admitted is not.
    pair.responder._transients._accepted = dict(snapshot._accepted)
    pair.responder._transients.current = snapshot.current
    snapshot.current.burnt.clear()
    snapshot.current.ephemerals.clear()
    assert isinstance(pair.give(p3), Admitted)
    assert isinstance(pair.give(known), Admitted)


def test_puzzles_have_a_bound() -> None:
    """Rule: a cap on puzzle time. Prevents: forged efforts that never end."""
    pair = Pair()
    victim: Initiator = pair.initiator()
    genuine = decode_challenge_untrusted(pair.challenge(victim.hello(NOW)))
    forged = encode_challenge(genuine._replace(effort=EFFORT_MAX))
    assert not victim.receive_challenge_untrusted(forged, NOW)
    assert not victim.receive_challenge_untrusted(flip(forged, 161 * 8), NOW)
    assert not victim.ready


def test_a_queue_without_an_order_would_keep_those_out_who_work(monkeypatch: Patch) -> None:
    """Rule: the greatest effort goes first. Prevents: many who do not work before one who does."""

    def place_of_the_eager() -> int:
        config = HandshakeConfig(handshakes_per_s_max=1.0, handshakes_burst=1, waiting_max=16)
        pair = Pair(config=config)
        lazy = [pair.to_p3(pair.initiator(), b"lazy") for _ in range(12)]
        pair.responder._admission.controller.effort = 200
        eager = pair.to_p3(pair.initiator(), b"eager")
        pair.responder._admission.controller.effort = 0
        pair.run()
        for p3 in (*lazy, eager):
            assert pair.give(p3) is None
        for place in range(1, 14):
            admitted = pair.responder.poll(NOW + 2 * place)
            assert admitted is not None
            if admitted.first_data == b"eager":
                return place
        return 0

    push = WaitingRoom.push
    with monkeypatch.context() as without:
        without.setattr(
            WaitingRoom, "push", lambda self, _, item, load=0: push(self, 0, item, load)
        )
        assert place_of_the_eager() == 13
    assert place_of_the_eager() == 1


def test_a_challenge_longer_than_the_hello_would_amplify(monkeypatch: Patch) -> None:
    """Rule: P2 never exceeds what it answers. Prevents: reflection at forged sources."""

    def factor() -> float:
        pair = Pair()
        short = pair.initiator().hello(NOW)[:32]
        answer = pair.give(short, AWAY)
        return len(answer.data) / len(short) if isinstance(answer, Reply) else 0.0

    with monkeypatch.context() as without:
        without.setattr(wire, "HELLO_SIZE", 32)
        assert factor() > 5
    assert factor() == 0.0
