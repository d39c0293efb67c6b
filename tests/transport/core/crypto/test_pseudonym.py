"""Master keys: pseudonyms nobody can link, showings on wish, operating keys that are replaced."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl import bindings

from tests.support.pair.handshake import Pair, flip, seeded
from transport.core.crypto import pseudonym as pseudonym_module
from transport.core.crypto.keys import Identity
from transport.core.crypto.pseudonym import (
    CERTIFICATE_SIZE,
    MASTERS_MAX,
    SCOPE_ID_SIZE_MAX,
    SHOWING_SIZE_MAX,
    KnownMasters,
    MasterKey,
    Scope,
    verify_certificate_untrusted,
    verify_showing_untrusted,
)
from transport.core.errors import LocalError, WireError
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.responder.responder import Responder

UNIX_S = 1_800_000_000
MASTER = MasterKey(Identity.generate(seeded(1)))
OTHER = MasterKey(Identity.generate(seeded(2)))
SHOP = Scope.responder(Identity.generate(seeded(3)).key)
GROUP = Scope.group(b"g" * 16)


def test_a_pseudonym_is_the_same_each_time_and_another_one_elsewhere() -> None:
    scopes = [Scope.responder(bytes([n]) * 32) for n in range(40)]
    scopes += [Scope.group(bytes([n]) * 32) for n in range(40)]
    names = [MASTER.pseudonym(scope).key for scope in scopes]
    assert len(set(names)) == 80
    assert names == [MASTER.pseudonym(scope).key for scope in scopes]
    assert not set(names) & {OTHER.pseudonym(scope).key for scope in scopes}
    assert MASTER.key not in names
    assert all(not name[31] & 0x80 for name in names)


def test_two_responders_cannot_link_them() -> None:
    """What two responders that compare everything they hold can find in common: nothing.

    The control is one person who comes to both under one name.
    """

    def held_by_both(who_first: Identity, who_second: Identity) -> set[bytes]:
        seen = []
        for number, who in enumerate((who_first, who_second)):
            pair = Pair(seed=50 + number)
            initiator = pair.initiator(who)
            p1 = initiator.hello(pair.now)
            p2 = pair.challenge(p1)
            assert initiator.receive_challenge_untrusted(p2, pair.now)
            p3 = initiator.initiate(b"", pair.now)
            admitted = pair.admit(p3)
            static = admitted.peer
            windows = {
                data[at : at + 8] for data in (p1, p3, static) for at in range(len(data) - 7)
            }
            seen.append({window for window in windows if window.count(0) < 4})
        return seen[0] & seen[1]

    one = MASTER.pseudonym(Scope.responder(b"a" * 32))
    two = MASTER.pseudonym(Scope.responder(b"b" * 32))
    assert not held_by_both(one, two)
    assert held_by_both(one, one)


def test_the_relation_of_two_pseudonyms_is_no_relation_of_points() -> None:
    # Names derived by adding to the master's point could be linked by whoever knows what was added.
    one, two = (MASTER.pseudonym(Scope.group(bytes([n]) * 8)).key for n in (1, 2))
    difference = bindings.crypto_core_ed25519_sub(one, two)
    for tweak in (b"\1" * 8, b"\2" * 8, SHOP.id, MASTER.key):
        scalar = blake2b(tweak, digest_size=64).digest()
        reduced = bindings.crypto_core_ed25519_scalar_reduce(scalar)
        assert bindings.crypto_scalarmult_ed25519_base_noclamp(reduced) != difference


def test_a_pseudonym_works_as_an_identity() -> None:
    pair = Pair()
    pair.here = MASTER.pseudonym(Scope.responder(pair.there.key))
    here, there = pair.run()
    assert there.peer == pair.here.key
    assert here.peer == pair.there.key


def test_it_is_shown_on_wish() -> None:
    name = MASTER.pseudonym(GROUP).key
    showing = MASTER.show(GROUP, UNIX_S + 60)
    assert verify_showing_untrusted(showing, name, GROUP, UNIX_S) == MASTER.key
    # Two names shown by one master are one person's.
    other = MASTER.show(SHOP, UNIX_S + 60)
    shop = MASTER.pseudonym(SHOP).key
    assert verify_showing_untrusted(other, shop, SHOP, UNIX_S) == MASTER.key


def test_a_showing_is_good_for_its_name_its_scope_and_its_time() -> None:
    name = MASTER.pseudonym(GROUP).key
    showing = MASTER.show(GROUP, UNIX_S + 60)
    for pseudonym, scope, unix_s in (
        (OTHER.pseudonym(GROUP).key, GROUP, UNIX_S),
        (name, Scope.group(b"h" * 16), UNIX_S),
        (name, Scope.responder(b"g" * 16), UNIX_S),
        (name, SHOP, UNIX_S),
        (name, GROUP, UNIX_S + 60),
    ):
        with pytest.raises(WireError):
            verify_showing_untrusted(showing, pseudonym, scope, unix_s)
    for bit in range(len(showing) * 8):
        with pytest.raises(WireError):
            verify_showing_untrusted(flip(showing, bit), name, GROUP, UNIX_S)
    assert len(MASTER.show(Scope.group(b"g" * SCOPE_ID_SIZE_MAX), 1)) == SHOWING_SIZE_MAX


def test_a_certificate_is_no_showing_and_the_other_way_round() -> None:
    name = MASTER.pseudonym(GROUP).key
    certificate = MASTER.certify(name, UNIX_S + 60)
    assert verify_certificate_untrusted(certificate, UNIX_S).operating_key == name
    with pytest.raises(WireError):
        verify_showing_untrusted(certificate, name, GROUP, UNIX_S)
    with pytest.raises(WireError):
        verify_certificate_untrusted(MASTER.show(GROUP, UNIX_S + 60), UNIX_S)


def test_a_replaced_key_is_accepted_and_remembered() -> None:
    """A responder's key is lost; who knows its master goes on with the new one."""
    old, new = (Identity.generate(seeded(n)) for n in (11, 12))
    known = KnownMasters()
    known.remember(MASTER.key, old.key)
    certificate = known.accept_untrusted(MASTER.certify(new.key, UNIX_S + 100), UNIX_S)
    assert certificate.operating_key == new.key
    again = KnownMasters(known.rows())
    assert again.operating_key(MASTER.key) == new.key
    # And a handshake with it works, under the name that was remembered.
    pair = Pair()
    pair.there = new
    pair.responder = Responder(new, HandshakeConfig(), pair.random, pair.now)
    name = again.operating_key(MASTER.key)
    here, _ = pair.run()
    assert here.peer == name


def test_what_is_not_accepted() -> None:
    one, two, three = (Identity.generate(seeded(n)).key for n in (11, 12, 13))
    known = KnownMasters()
    with pytest.raises(WireError, match="vouched"):
        known.accept_untrusted(MASTER.certify(one, UNIX_S + 10), UNIX_S)
    known.remember(MASTER.key, one)
    with pytest.raises(WireError):
        known.accept_untrusted(OTHER.certify(two, UNIX_S + 10), UNIX_S)
    first = MASTER.certify(two, UNIX_S + 10)
    with pytest.raises(WireError, match="expired"):
        known.accept_untrusted(first, UNIX_S + 10)
    assert known.operating_key(MASTER.key) == one
    known.accept_untrusted(first, UNIX_S)
    known.accept_untrusted(first, UNIX_S)
    known.accept_untrusted(MASTER.certify(three, UNIX_S + 20), UNIX_S)
    # Key two is stolen: its certificate, though not expired, does not bring it back.
    with pytest.raises(WireError, match="older"):
        known.accept_untrusted(first, UNIX_S)
    with pytest.raises(WireError, match="older"):
        known.accept_untrusted(MASTER.certify(two, UNIX_S + 20), UNIX_S)
    assert known.operating_key(MASTER.key) == three
    for bit in range(CERTIFICATE_SIZE * 8):
        with pytest.raises(WireError):
            known.accept_untrusted(flip(MASTER.certify(two, UNIX_S + 30), bit), UNIX_S)
    assert known.operating_key(OTHER.key) is None


def test_masters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pseudonym_module, "MASTERS_MAX", 2)
    assert MASTERS_MAX > 2
    known = KnownMasters()
    for number in range(2):
        known.remember(bytes([number]) * 32, b"k" * 32)
    with pytest.raises(LocalError):
        known.remember(b"x" * 32, b"k" * 32)
    known.remember(b"\1" * 32, b"l" * 32)
    assert len(known) == 2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.binary(min_size=CERTIFICATE_SIZE, max_size=CERTIFICATE_SIZE))
def test_any_bytes_raise_one_error(data: bytes) -> None:
    with pytest.raises(WireError):
        verify_certificate_untrusted(data, UNIX_S)
    with pytest.raises(WireError):
        verify_showing_untrusted(data, MASTER.key, GROUP, UNIX_S)


def test_what_cannot_be_asked_for() -> None:
    for make in (lambda: Scope.group(b""), lambda: Scope.responder(b"x" * 65)):
        with pytest.raises(LocalError):
            make()
    with pytest.raises(LocalError):
        MASTER.certify(b"short", UNIX_S)
    with pytest.raises(LocalError):
        MASTER.certify(b"k" * 32, -1)
    assert Identity.generate(seeded(1)).seed.hex() not in repr(MASTER)
