"""Tickets: the responder's own (`NNpsk0`) and a third party's (`KK1psk2`)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import (
    AWAY,
    HOME,
    NOW,
    Pair,
    agree,
    counted_primitives,
    flip,
    seeded,
)
from transport.core.constants import (
    AMPLIFICATION_MAX,
    CLEAR_TICKS_PER_S,
    DATAGRAM_SIZE_MAX,
    FIRST_DATA_SIZE_MAX,
    INVITATION_LIFE_S,
    INVITATIONS_MAX,
)
from transport.core.crypto.keys import Identity
from transport.core.errors import LocalError, WireError
from transport.core.handshake import ticket as invitation_module
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.ticket import (
    ENCODED_SIZE,
    Invitation,
    Invitations,
    decode_invitation_untrusted,
    issue,
)
from transport.core.handshake.transient import KnownTransient, decode_record_untrusted
from transport.core.handshake.variants import MET, TICKET, VOUCHED
from transport.core.handshake.wire import (
    ACCEPT_OVERHEAD_MAX,
    CHALLENGE_SIZE,
    INITIATE_INVITED_SIZE_MIN,
    INITIATE_TICKET_SIZE_MIN,
)
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply

HASH = b"h" * 64
ISSUER = b"i" * 32


def own_ticket(pair: Pair) -> Invitation:
    """A ticket that the responder has issued, and its holder has received."""
    theirs = issue(TICKET, pair.here.key, HASH, pair.random, pair.now)
    pair.responder.invite(theirs, pair.now)
    sent = theirs.encode(pair.now)
    return decode_invitation_untrusted(sent, pair.here.key, HASH, pair.now)


def voucher(pair: Pair) -> tuple[Invitation, KnownTransient]:
    """A third party's ticket, as it has told both, and the record it handed out."""
    made = issue(VOUCHED, pair.here.key, ISSUER, pair.random, pair.now)
    pair.responder.invite(made, pair.now)
    ours = decode_invitation_untrusted(made.encode(pair.now), pair.here.key, ISSUER, pair.now)
    record = pair.responder.published(pair.now)
    return ours, decode_record_untrusted(pair.there.key, record, 2, pair.now)


def send(pair: Pair, kind: str, first_data: bytes = b"first") -> tuple[object, bytes]:
    initiator = pair.initiator()
    if kind == "ticket":
        return initiator, initiator.initiate_ticket(own_ticket(pair), first_data, pair.now)
    return initiator, initiator.initiate_invited(*voucher(pair), first_data, pair.now)


KINDS = pytest.mark.parametrize("kind", ["ticket", "voucher"])


@KINDS
def test_one_round_trip(kind: str) -> None:
    pair = Pair()
    initiator = pair.initiator()
    if kind == "ticket":
        p3 = initiator.initiate_ticket(own_ticket(pair), b"first", pair.now)
    else:
        p3 = initiator.initiate_invited(*voucher(pair), b"first", pair.now)
    admitted = pair.admit(p3)
    assert (admitted.peer, admitted.first_data) == (pair.here.key, b"first")
    assert not admitted.address_validated
    there = pair.accept(admitted)
    here = initiator.receive_accept_untrusted(there.datagram, pair.now)
    assert here is not None
    assert agree(here, there)
    assert here.peer == pair.there.key


@KINDS
def test_it_is_used_once(kind: str) -> None:
    pair = Pair()
    ticket, (vouched, known) = own_ticket(pair), voucher(pair)
    p3s = []
    for _ in range(2):
        initiator = pair.initiator()
        if kind == "ticket":
            p3s.append(initiator.initiate_ticket(ticket, b"once", pair.now))
        else:
            p3s.append(initiator.initiate_invited(vouched, known, b"once", pair.now))
    admitted = pair.admit(p3s[0])
    assert pair.give(p3s[0]) is None, "its P4 is not made yet"
    p4 = pair.accept(admitted).datagram
    assert pair.give(p3s[0]) == Reply(p4), "P4 may have been lost"
    assert not isinstance(pair.give(p3s[1]), Admitted)
    # And after everything that remembered it has gone.
    for _ in range(4):
        pair.now += 120.0
        pair.responder.handle_timeout(pair.now)
        assert not isinstance(pair.give(p3s[0]), Admitted)
        assert not isinstance(pair.give(p3s[1]), Admitted)


@KINDS
def test_forgeries_cost_no_diffie_hellman_and_do_not_spend_it(kind: str) -> None:
    pair = Pair()
    _, p3 = send(pair, kind)
    assert isinstance(p3, bytes)
    with counted_primitives() as counts:
        for bit in range(0, len(p3) * 8, 3):
            assert not isinstance(pair.give(flip(p3, bit)), Admitted)
    assert counts.diffie_hellman == 0
    assert isinstance(pair.give(p3), Admitted)


def test_a_ticket_costs_the_responder_one_diffie_hellman() -> None:
    pair = Pair()
    _, p3 = send(pair, "ticket")
    with counted_primitives() as counts:
        pair.accept(pair.admit(p3))
    assert counts.diffie_hellman == 1
    _, p3 = send(pair, "voucher")
    with counted_primitives() as counts:
        pair.accept(pair.admit(p3))
    assert counts.diffie_hellman == 4


@KINDS
def test_beyond_the_allowance_it_is_deferred(kind: str) -> None:
    pair = Pair(config=HandshakeConfig(known_per_s_max=1.0))
    assert isinstance(pair.give(send(pair, kind, bytes(100))[1]), Admitted)
    initiator = pair.initiator()
    if kind == "ticket":
        p3 = initiator.initiate_ticket(own_ticket(pair), bytes(100), pair.now)
    else:
        p3 = initiator.initiate_invited(*voucher(pair), bytes(100), pair.now)
    answer = pair.give(p3)
    assert isinstance(answer, Reply)
    assert len(answer.data) <= len(p3)
    assert initiator.receive_challenge_untrusted(answer.data, pair.now)
    again = initiator.initiate(b"as a stranger", pair.now)
    admitted = pair.admit(again)
    assert (admitted.peer, admitted.first_data) == (pair.here.key, b"as a stranger")
    here = initiator.receive_accept_untrusted(pair.accept(admitted).datagram, pair.now)
    assert here is not None


def test_a_p3_shorter_than_a_challenge_is_not_answered_with_one() -> None:
    pair = Pair(config=HandshakeConfig(known_per_s_max=1.0))
    assert isinstance(pair.give(send(pair, "ticket", b"")[1]), Admitted)
    _, short = send(pair, "ticket", b"")
    assert len(short) < CHALLENGE_SIZE
    assert pair.give(short) is None


def test_sizes() -> None:
    pair = Pair()
    for kind, least in (
        ("ticket", INITIATE_TICKET_SIZE_MIN),
        ("voucher", INITIATE_INVITED_SIZE_MIN),
    ):
        assert least <= len(send(pair, kind, b"")[1])
        full = send(pair, kind, bytes(FIRST_DATA_SIZE_MAX))[1]
        assert len(full) <= DATAGRAM_SIZE_MAX
        assert isinstance(pair.give(full), Admitted)
        with pytest.raises(LocalError):
            send(pair, kind, bytes(FIRST_DATA_SIZE_MAX + 1))


@KINDS
def test_it_validates_no_address(kind: str) -> None:
    pair = Pair()
    _, p3 = send(pair, kind, b"")
    admitted = pair.admit(p3, AWAY)
    assert admitted.reply_size_max <= AMPLIFICATION_MAX * len(p3) - ACCEPT_OVERHEAD_MAX


def test_an_unknown_id_is_deferred_so_that_a_restart_costs_a_round_trip() -> None:
    pair, other = Pair(), Pair(seed=6)
    for kind in ("ticket", "voucher"):
        initiator = pair.initiator()
        if kind == "ticket":
            p3 = initiator.initiate_ticket(own_ticket(other_for(pair, other)), bytes(80), NOW)
        else:
            p3 = initiator.initiate_invited(*voucher(other_for(pair, other)), bytes(80), NOW)
        answer = pair.give(p3)
        assert isinstance(answer, Reply)
        assert initiator.receive_challenge_untrusted(answer.data, NOW)
        assert isinstance(pair.give(initiator.initiate(b"", NOW)), Admitted)


def other_for(pair: Pair, other: Pair) -> Pair:
    """The same two people in the responder's life before."""
    other.here, other.there = pair.here, pair.there
    other.responder = type(pair.responder)(pair.there, pair.config, seeded(66), NOW)
    return other


def test_it_is_for_its_holder_its_peer_and_its_time() -> None:
    pair = Pair()
    ticket, (vouched, known) = own_ticket(pair), voucher(pair)
    thief = Identity.generate(pair.random)
    for invitation in (ticket, vouched):
        with pytest.raises(LocalError):
            attempt(pair, thief, invitation, known, NOW)
        with pytest.raises(LocalError):
            attempt(pair, pair.here, invitation, known, NOW + INVITATION_LIFE_S)
    with pytest.raises(LocalError):
        pair.initiator().initiate_ticket(vouched, b"", NOW)
    with pytest.raises(LocalError):
        pair.initiator().initiate_invited(ticket, known, b"", NOW)
    begun = pair.initiator()
    begun.hello(NOW)
    with pytest.raises(LocalError):
        begun.initiate_ticket(ticket, b"", NOW)


def attempt(
    pair: Pair, who: Identity, invitation: Invitation, known: KnownTransient, now: float
) -> bytes:
    initiator = pair.initiator(who)
    if invitation.variant is TICKET:
        return initiator.initiate_ticket(invitation, b"", now)
    return initiator.initiate_invited(invitation, known, b"", now)


def test_the_responder_forgets_it_in_time() -> None:
    pair = Pair()
    ticket = own_ticket(pair)
    p3 = pair.initiator().initiate_ticket(ticket, bytes(90), pair.now)
    pair.now += INVITATION_LIFE_S
    assert not isinstance(pair.give(p3), Admitted)


def test_another_handshake_it_was_not_issued_in() -> None:
    pair = Pair()
    ticket = own_ticket(pair)
    moved = Invitation(
        TICKET, ticket.holder, ticket.id, ticket.secret, ticket.expires_at, b"x" * 64
    )
    assert pair.give(pair.initiator().initiate_ticket(moved, b"", NOW)) is None
    vouched, known = voucher(pair)
    moved = Invitation(
        VOUCHED, vouched.holder, vouched.id, vouched.secret, vouched.expires_at, b"x" * 32
    )
    assert pair.give(pair.initiator().initiate_invited(moved, known, b"", NOW)) is None


def test_the_issuer_of_a_voucher_cannot_sit_in_the_middle() -> None:
    """The reason for `KK1psk2`: what the issuer could do with bare `NNpsk0`, and cannot here."""
    pair = Pair()
    # Without the rule: a third party's secret alone keys the run. The issuer, who has it, opens
    # P3, answers in the responder's name, and the initiator believes it.
    bare = issue(TICKET, pair.here.key, ISSUER, pair.random, NOW)
    initiator = pair.initiator()
    p3 = initiator.initiate_ticket(bare, b"for the responder only", NOW)
    middle = type(pair.responder)(Identity.generate(seeded(99)), pair.config, seeded(98), NOW)
    middle.invite(bare, NOW)
    opened = middle.receive_untrusted(p3, HOME, NOW)
    assert isinstance(opened, Admitted)
    assert opened.first_data == b"for the responder only"
    p4 = opened.accept(b"the issuer's lie", b"m" * 8, b"b" * 8, 1, NOW).datagram
    fooled = initiator.receive_accept_untrusted(p4, NOW)
    assert fooled is not None
    assert fooled.peer == pair.there.key
    # With it: the same secret, and every key the issuer can choose.
    vouched, known = voucher(pair)
    initiator = pair.initiator()
    p3 = initiator.initiate_invited(vouched, known, b"for the responder only", NOW)
    middle = type(pair.responder)(Identity.generate(seeded(99)), pair.config, seeded(98), NOW)
    middle.invite(vouched, NOW)
    middle._transients._accepted = dict(pair.responder._transients._accepted)
    middle._transients.current = pair.responder._transients.current
    assert middle.receive_untrusted(p3, HOME, NOW) is None, "even with T itself, but not s"
    pair.responder._transients.current.burnt.clear()
    assert isinstance(pair.give(p3), Admitted)


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitation_module, "INVITATIONS_MAX", 4)
    assert INVITATIONS_MAX > 4
    table, random = Invitations(), seeded(1)
    made = [issue(TICKET, ISSUER, HASH, random, NOW) for _ in range(6)]
    for one in made[:4]:
        table.add(one, NOW)
    with pytest.raises(LocalError):
        table.add(made[4], NOW)
    table.add(made[4], NOW + INVITATION_LIFE_S)
    assert len(table) == 1, "what has expired makes room"
    with pytest.raises(LocalError):
        table.add(made[4], NOW + INVITATION_LIFE_S)
    assert table.use(made[4].id)
    assert not table.use(made[4].id)
    assert table.find(made[4].id, NOW) is None


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=2 * ENCODED_SIZE) | st.binary(min_size=ENCODED_SIZE, max_size=ENCODED_SIZE)
)
def test_any_bytes_are_an_invitation_or_raise_one_error(data: bytes) -> None:
    try:
        decoded = decode_invitation_untrusted(data, ISSUER, HASH, NOW)
    except WireError:
        return
    assert decoded.expires_at <= NOW + INVITATION_LIFE_S


def test_encoding() -> None:
    ticket = issue(VOUCHED, ISSUER, HASH, seeded(1), NOW)
    encoded = ticket.encode(NOW + 1)
    back = decode_invitation_untrusted(encoded, ISSUER, HASH, NOW + 1)
    assert (back.id, back.secret, back.variant) == (ticket.id, ticket.secret, VOUCHED)
    assert back.expires_at == pytest.approx(ticket.expires_at, abs=0.01)
    assert ticket.secret.hex() not in repr(ticket)
    assert repr(ticket.secret) not in repr(ticket)
    with pytest.raises(LocalError):
        issue(MET, ISSUER, HASH, seeded(1), NOW)
    with pytest.raises(LocalError):
        Invitation(MET, ISSUER, b"i" * 16, b"s" * 32, NOW).encode(NOW)
    with pytest.raises(LocalError):
        Invitation(MET, ISSUER, b"i", b"s" * 32, NOW)


def test_a_published_record() -> None:
    pair = Pair()
    record = pair.responder.published(NOW)
    known = decode_record_untrusted(pair.there.key, record, 2, NOW)
    p3 = pair.initiator().initiate_known(known, b"from a directory", NOW)
    assert pair.admit(p3).first_data == b"from a directory"
    with pytest.raises(WireError):
        decode_record_untrusted(pair.here.key, record, 2, NOW)
    refused = 0
    for bit in range(172 * 8):
        with pytest.raises(WireError):
            decode_record_untrusted(pair.there.key, flip(record, bit), 2, NOW)
        refused += 1
    assert refused == 172 * 8
    # The time beside it is not signed: a wrong one is deferred, or refused at once.
    off = record[:-4] + (
        int.from_bytes(record[-4:], "big") + int(60 * CLEAR_TICKS_PER_S) & 0xFFFFFFFF
    ).to_bytes(4, "big")
    known = decode_record_untrusted(pair.there.key, off, 2, NOW)
    assert isinstance(pair.give(pair.initiator().initiate_known(known, b"", NOW)), Reply)
    with pytest.raises(WireError):
        decode_record_untrusted(pair.there.key, record[:-1], 2, NOW)
