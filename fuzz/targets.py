"""What is fuzzed of the handshake: every decoder, and both machines in every state.

A target takes bytes and may raise nothing; a decoder's one error type is caught here. A machine
besides must keep its word: nothing but what its peer sent gets in, no answer is longer than what it
answers, and garbage leaves nothing behind.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from transport.core.crypto.keys import Identity, key_of_static_untrusted, static_of_key_untrusted
from transport.core.crypto.packet_number import decode_untrusted
from transport.core.crypto.pseudonym import (
    MasterKey,
    Scope,
    verify_certificate_untrusted,
    verify_showing_untrusted,
)
from transport.core.errors import WireError
from transport.core.handshake import wire
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.negotiation import HandshakeConfig, decode_lists_untrusted
from transport.core.handshake.rekey import Rekeying, answer_rekeying_untrusted
from transport.core.handshake.ticket import decode_invitation_untrusted, issue
from transport.core.handshake.transient import decode_record_untrusted
from transport.core.handshake.variants import TICKET, VOUCHED
from transport.core.handshake.wire import HEADER_SIZE, KX_AT
from transport.core.initiator.initiator import Initiator
from transport.core.initiator.simultaneous_open import SimultaneousOpen, probe_of
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder
from transport.core.types import Address

Target = Callable[[bytes], None]
NOW = 1000.0
HOME: Address = ("192.0.2.1", 4001)
AWAY: Address = ("198.51.100.7", 4002)
# Of a P2: the transient, its id, its lifetime, details, signature and hint.
SIGNED = slice(17, 161)
SCOPE = Scope.group(b"fuzzed group")
TOKEN = b"token of 16 byte"


class Broken(AssertionError):
    """A machine did not keep its word."""


def _decoder(decode: Callable[[bytes], object]) -> Target:
    def target(data: bytes) -> None:
        with suppress(WireError):
            decode(data)

    return target


DECODERS: dict[str, Target] = {
    "hello": _decoder(wire.decode_hello_untrusted),
    "challenge": _decoder(wire.decode_challenge_untrusted),
    "refusal": _decoder(wire.decode_refusal_untrusted),
    "initiate": _decoder(wire.decode_initiate_untrusted),
    "initiate known": _decoder(wire.decode_known_untrusted),
    "initiate invited": _decoder(wire.decode_invited_untrusted),
    "initiate ticket": _decoder(wire.decode_ticket_untrusted),
    "sealed of P3": _decoder(lambda data: wire.decode_sealed_untrusted(data, initiator=True)),
    "sealed of P4": _decoder(lambda data: wire.decode_sealed_untrusted(data, initiator=False)),
    "echo": _decoder(wire.echo_of_untrusted),
    "lists": _decoder(lambda data: decode_lists_untrusted(data, 0)),
    "packet number": _decoder(lambda data: decode_untrusted(data, 0, len(data) * 1000)),
    "name": _decoder(static_of_key_untrusted),
    "static key": _decoder(key_of_static_untrusted),
    "invitation": _decoder(lambda data: decode_invitation_untrusted(data, b"h" * 32, b"", NOW)),
    "record": _decoder(lambda data: decode_record_untrusted(data[:32], data, 2, NOW)),
    "certificate": _decoder(lambda data: verify_certificate_untrusted(data, NOW)),
    "showing": _decoder(lambda data: verify_showing_untrusted(data, data[32:64], SCOPE, NOW)),
}


@dataclass
class Stage:
    """Two identities, a responder between them, and the datagrams of true runs."""

    config: HandshakeConfig = field(default_factory=HandshakeConfig)
    anonymous: bool = False
    seed: int = 7
    """Other stages have other keys: what is true on one is garbage on another."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed).randbytes
        self.here = Identity.generate(self.random)
        self.there = Identity.generate(self.random)
        self.responder = Responder(self.there, self.config, self.random, NOW)
        self.seeds: dict[str, bytes] = {}
        self.p3s: list[bytes] = []
        """What may be admitted."""

    def initiator(self) -> Initiator:
        """A fresh attempt to reach the responder."""
        return Initiator(
            self.here,
            self.there.key,
            self.config,
            self.random,
            message_cid=b"m" * 8,
            bulk_cid=b"b" * 8,
            incarnation=1,
            anonymous=self.anonymous,
        )

    def reply(self, data: bytes) -> bytes:
        """What the responder says to this."""
        answer = self.responder.receive_untrusted(data, HOME, NOW)
        if isinstance(answer, Admitted):
            return answer.accept(b"reply", b"M" * 8, b"B" * 8, 2, NOW).datagram
        if answer is None:
            raise Broken("a true datagram meets silence")
        return answer.data

    def challenged(self) -> Initiator:
        """An attempt that has sent its P3, and the datagrams that led there."""
        initiator = self.initiator()
        self.seeds["p1"] = initiator.hello(NOW)
        self.seeds["p2"] = self.reply(self.seeds["p1"])
        if not initiator.receive_challenge_untrusted(self.seeds["p2"], NOW):
            raise Broken("a true challenge is refused")
        return initiator

    def p3(self) -> bytes:
        """A P3 that has not been seen yet."""
        p3 = self.challenged().initiate(b"first data", NOW)
        self.p3s.append(p3)
        return p3

    def at_once(self) -> list[bytes]:
        """P3s without a challenge: to a known transient, with a ticket, with a voucher."""
        record = self.responder.published(NOW)
        known = decode_record_untrusted(self.there.key, record, 2, NOW)
        ticket = issue(TICKET, self.here.key, b"h" * 64, self.random, NOW)
        voucher = issue(VOUCHED, self.here.key, b"i" * 32, self.random, NOW)
        self.responder.invite(ticket, NOW)
        self.responder.invite(voucher, NOW)
        made = [
            self.initiator().initiate_known(known, b"known", NOW),
            self.initiator().initiate_ticket(ticket, b"ticket", NOW),
            self.initiator().initiate_invited(voucher, known, b"voucher", NOW),
        ]
        self.p3s += made
        return made


def same_but_for_the_solution(one: bytes, other: bytes) -> bool:
    """With little effort a changed solution may be another one; it covers the same P3."""
    return one == other or (
        one[:HEADER_SIZE] == other[:HEADER_SIZE] and one[KX_AT:] == other[KX_AT:]
    )


def _responder_target(stage: Stage) -> Target:
    # The kept seeds of this stage are true too: it has the same keys each time.
    true = [*stage.p3s, *seeds().values()]

    def target(data: bytes) -> None:
        responder = stage.responder
        for address in (HOME, AWAY):
            answer = responder.receive_untrusted(data, address, NOW)
            if isinstance(answer, Admitted):
                if not any(same_but_for_the_solution(data, p3) for p3 in true):
                    raise Broken("somebody else was admitted")
            elif isinstance(answer, Reply) and len(answer.data) > len(data):
                raise Broken("an answer longer than what it answers")
        if len(responder._transients.current.burnt) > len(true) + 64:
            # Garbage under true cookies burns; it must stay within the tries of what is out.
            raise Broken("garbage stays behind")

    return target


def _open_stage() -> Stage:
    stage = Stage()
    stage.p3()
    stage.at_once()
    return stage


def _circle_stage() -> Stage:
    circles = (CircleSecret(b"s" * 32),)
    return Stage(HandshakeConfig(circles=circles, unix_offset_s=1.7e9), seed=8)


def _anonymous_stage() -> Stage:
    return Stage(HandshakeConfig(anonymous=True), anonymous=True, seed=9)


def _working_stage() -> Stage:
    return Stage(HandshakeConfig(effort_min=8), seed=10)


def _challenge_target(stage: Stage) -> Target:
    def target(data: bytes) -> None:
        initiator = stage.initiator()
        p1 = initiator.hello(NOW)
        true = stage.reply(p1)
        # Bring the fuzzed bytes behind the true echo too, or nothing gets past it.
        for bent in (data, true[:12] + data[12:]):
            # The transient's record alone is signed; P2's time before it and what follows are the
            # cookie's, and a P3 that repeats them altered is not answered.
            if initiator.receive_challenge_untrusted(bent, NOW) and bent[SIGNED] != true[SIGNED]:
                raise Broken("a challenge nobody signed is taken")
        initiator.receive_challenge_untrusted(true, NOW)

    return target


def _accept_target(stage: Stage) -> Target:
    initiator = stage.challenged()
    p3 = initiator.initiate(b"first data", NOW)
    p4 = stage.reply(p3)
    stage.seeds["p4"] = p4

    def target(data: bytes) -> None:
        for bent in (data, p4[:12] + data[12:]):
            if bent != p4 and initiator.receive_accept_untrusted(bent, NOW) is not None:
                raise Broken("a forged P4 is taken")

    return target


def _rekey_target(stage: Stage) -> Target:
    initiator = stage.challenged()
    admitted = stage.responder.receive_untrusted(initiator.initiate(b"", NOW), HOME, NOW)
    assert isinstance(admitted, Admitted)
    theirs = admitted.accept(b"", b"M" * 8, b"B" * 8, 2, NOW)
    ours = initiator.receive_accept_untrusted(theirs.datagram, NOW)
    assert ours is not None
    rekeying = Rekeying(ours.keys, ours.handshake_hash, ours.suite, b"ids", stage.random)
    stage.seeds["rekey 1"] = rekeying.message

    def target(data: bytes) -> None:
        try:
            answer_rekeying_untrusted(
                data, theirs.keys, theirs.handshake_hash, theirs.suite, b"", stage.random
            )
        except WireError:
            pass
        else:
            if data != rekeying.message:
                raise Broken("a forged rekey message is taken")
        try:
            rekeying.finish_untrusted(data)
        except WireError:
            return
        raise Broken("a forged answer to a rekey message is taken")

    return target


def _meeting_target(stage: Stage) -> Target:
    other = Responder(stage.here, stage.config, stage.random, NOW)
    meeting = SimultaneousOpen(
        stage.here,
        other,
        stage.there.key,
        stage.config,
        stage.random,
        token=TOKEN,
        own_record=other.published(NOW),
        peer_record=stage.responder.published(NOW),
        addresses=[HOME],
        rtt_s=0.1,
        message_cid=b"m" * 8,
        bulk_cid=b"b" * 8,
        incarnation=1,
        first_data=b"",
        now=NOW,
    )
    true = probe_of(TOKEN, stage.there.key)
    stage.seeds["probe"] = true

    def target(data: bytes) -> None:
        if data == true:
            return
        if meeting.receive_untrusted(data, HOME, NOW) is not None or meeting.poll_transmits():
            raise Broken("a forged probe is answered")

    return target


def machines() -> dict[str, Target]:
    """Both machines, each in the states in which it takes bytes; made anew at each call."""
    anonymous, circle, working = _anonymous_stage(), _circle_stage(), _working_stage()
    for stage in (anonymous, circle, working):
        stage.p3()
    return {
        "responder": _responder_target(_open_stage()),
        "responder, anonymous": _responder_target(anonymous),
        "responder, in a circle": _responder_target(circle),
        "responder, with effort": _responder_target(working),
        "initiator, awaiting P2": _challenge_target(Stage()),
        "initiator, in a circle, awaiting P2": _challenge_target(_circle_stage()),
        "initiator, awaiting P4": _accept_target(Stage()),
        "rekeying": _rekey_target(Stage()),
        "simultaneous open": _meeting_target(Stage()),
    }


def seeds() -> dict[str, bytes]:
    """Datagrams of true runs of every variant: what mutations begin with."""
    found: dict[str, bytes] = {}
    plain = Stage()
    _accept_target(plain)
    _rekey_target(plain)
    _meeting_target(plain)
    known, ticket, voucher = plain.at_once()
    found |= plain.seeds
    found |= {"p3": plain.p3(), "p3 known": known, "p3 ticket": ticket, "p3 voucher": voucher}
    found["refusal"] = plain.reply(found["p1"][:4] + b"\x63" + found["p1"][5:])
    found["record"] = plain.responder.published(NOW)
    invitation = issue(TICKET, plain.here.key, b"", plain.random, NOW)
    found["invitation"] = invitation.encode(NOW)
    master = MasterKey(plain.here)
    found["certificate"] = master.certify(plain.there.key, 2_000_000_000)
    found["showing"] = master.show(SCOPE, 2_000_000_000)
    for name, stage in (
        ("circle", _circle_stage()),
        ("anonymous", _anonymous_stage()),
        ("with effort", _working_stage()),
    ):
        p3 = stage.p3()
        found |= {f"{kind} {name}": data for kind, data in stage.seeds.items()}
        found[f"p3 {name}"] = p3
    found["key"] = plain.here.key
    found["static"] = plain.here.static
    return found
