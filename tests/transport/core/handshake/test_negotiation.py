"""Protocol lists, choices, downgrades and derived keys: docs/protocol/handshake.md, section 5."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pair.handshake import NOW, Pair, agree
from transport.core.constants import (
    HANDSHAKE_1,
    HANDSHAKE_2,
    LISTS_SIZE_MAX,
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
)
from transport.core.errors import LocalError, WireError
from transport.core.handshake.negotiation import (
    EpochKeys,
    Established,
    HandshakeConfig,
    best_common,
    decode_lists_untrusted,
    encode_lists,
    epoch_keys,
    negotiate_untrusted,
)
from transport.core.handshake.wire import CHALLENGE_PREFIX
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply

IDS = st.lists(st.integers(1, 255), min_size=1, max_size=4, unique=True).map(
    lambda ids: tuple(sorted(ids))
)
BOTH = (HANDSHAKE_1, HANDSHAKE_2)


def config(handshakes: tuple[int, ...] = BOTH, *, aegis: bool = False) -> HandshakeConfig:
    return HandshakeConfig(handshakes=handshakes, aegis=aegis)


def contact(here: HandshakeConfig, there: HandshakeConfig) -> tuple[Established, Established]:
    """A contact that may need a second hello after a refusal."""
    pair = Pair(config=here, responder_config=there)
    initiator = pair.initiator()
    answer = pair.challenge(initiator.hello(NOW))
    ready = initiator.receive_challenge_untrusted(answer, NOW)
    if initiator.refused:
        assert not ready
        answer = pair.challenge(initiator.hello(NOW))
        ready = initiator.receive_challenge_untrusted(answer, NOW)
    assert ready
    established = pair.accept(pair.admit(initiator.initiate(b"", NOW)))
    result = initiator.receive_accept_untrusted(established.datagram, NOW)
    assert result is not None
    return result, established


@pytest.mark.parametrize(
    ("here", "there", "suite"),
    [
        (False, False, SUITE_XCHACHA20),
        (True, False, SUITE_XCHACHA20),
        (False, True, SUITE_XCHACHA20),
        (True, True, SUITE_AEGIS256),
    ],
)
def test_aegis_where_both_have_the_hardware(here: bool, there: bool, suite: int) -> None:
    ours, theirs = contact(config(aegis=here), config(aegis=there))
    assert agree(ours, theirs)
    assert ours.suite == theirs.suite == suite


@pytest.mark.parametrize("here", [(1,), (2,), BOTH])
@pytest.mark.parametrize("there", [(1,), (2,), BOTH])
@pytest.mark.parametrize("aegis", [False, True])
def test_every_pair_of_handshakes(
    here: tuple[int, ...], there: tuple[int, ...], aegis: bool
) -> None:
    if set(here) & set(there):
        ours, theirs = contact(config(here, aegis=aegis), config(there, aegis=aegis))
        assert agree(ours, theirs)
        return
    pair = Pair(config=config(here), responder_config=config(there))
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    assert not initiator.receive_challenge_untrusted(pair.challenge(hello), NOW)
    assert not initiator.refused
    assert initiator.hello(NOW) == hello


def test_a_refusal_leads_to_another_hello_with_another_nonce() -> None:
    pair = Pair(config=config(BOTH), responder_config=config((1,)))
    initiator = pair.initiator()
    first = initiator.hello(NOW)
    assert first[17:22] == b"\1\2\0\0\0"
    echo = initiator.echo
    refusal = pair.challenge(first)
    assert refusal == CHALLENGE_PREFIX + echo + bytes([0, 2, 1, 1, 1, 1])
    assert not initiator.receive_challenge_untrusted(refusal, NOW)
    assert initiator.refused
    second = initiator.hello(NOW)
    assert not initiator.refused
    assert second[17:22] == b"\1\1\0\0\0"
    assert second[5:13] != first[5:13]
    assert initiator.echo != echo


def test_one_refusal_is_followed() -> None:
    pair = Pair(config=config(BOTH), responder_config=config((1,)))
    initiator = pair.initiator()
    initiator.receive_challenge_untrusted(pair.challenge(initiator.hello(NOW)), NOW)
    hello = initiator.hello(NOW)
    again = CHALLENGE_PREFIX + initiator.echo + bytes([0, 2, 1, 1, 1, 2])
    assert not initiator.receive_challenge_untrusted(again, NOW)
    assert not initiator.refused
    assert initiator.hello(NOW) == hello


def refuse(echo: bytes, handshakes: tuple[int, ...]) -> bytes:
    return CHALLENGE_PREFIX + echo + b"\0" + encode_lists(((1,), handshakes))


def test_a_forged_refusal_downgrades_nobody() -> None:
    # Both can do 2; somebody on the path makes the initiator believe that only 1 will do.
    pair = Pair()
    initiator = pair.initiator()
    initiator.hello(NOW)
    assert not initiator.receive_challenge_untrusted(refuse(initiator.echo, (1,)), NOW)
    assert initiator.refused
    challenge = pair.challenge(initiator.hello(NOW))
    assert challenge[12] == 1
    assert initiator.receive_challenge_untrusted(challenge, NOW)
    p3 = initiator.initiate(b"", NOW)
    assert pair.give(p3) is None, "the sealed lists say that 2 would have done"
    assert pair.give(p3) is None


def test_a_refusal_that_says_what_the_responder_never_said() -> None:
    # Here 1 really is the best common one; the refusal still is not the responder's.
    pair = Pair(config=config(BOTH), responder_config=config((1,)))
    initiator = pair.initiator()
    initiator.hello(NOW)
    initiator.receive_challenge_untrusted(refuse(initiator.echo, (1, 7)), NOW)
    challenge = pair.challenge(initiator.hello(NOW))
    assert initiator.receive_challenge_untrusted(challenge, NOW)
    assert pair.give(initiator.initiate(b"", NOW)) is None


def test_an_offer_changed_on_the_way() -> None:
    # The echo is of the whole hello, so the initiator sees it before it has worked.
    pair = Pair()
    initiator = pair.initiator()
    hello = initiator.hello(NOW)
    answer = pair.give(hello[:18] + b"\1" + hello[19:])
    assert isinstance(answer, Reply)
    assert not initiator.receive_challenge_untrusted(answer.data, NOW)


def test_a_responder_that_lies_about_its_list_is_left() -> None:
    # One that has AEGIS, agrees on XChaCha20, and claims in P4 to have had AEGIS all along.
    pair = Pair(config=config(aegis=True), responder_config=config(aegis=False))
    initiator = pair.initiator()
    admitted = pair.admit(pair.to_p3(initiator))
    admitted._config = replace(admitted._config, handshakes=(HANDSHAKE_1,))
    there = pair.accept(admitted)
    assert initiator.receive_accept_untrusted(there.datagram, NOW) is None


def test_no_suite_in_common() -> None:
    pair = Pair(config=replace(config(), suites=(SUITE_AEGIS256,)), responder_config=config())
    assert pair.give(pair.to_p3(pair.initiator())) is None
    assert isinstance(pair.give(pair.to_p3(pair.initiator(config=config()))), Admitted)


@settings(deadline=None)
@given(IDS, IDS)
def test_the_best_common_is_the_same_from_either_side(
    one: tuple[int, ...], two: tuple[int, ...]
) -> None:
    best = best_common(one, two)
    assert best == best_common(two, one)
    if best is None:
        assert not set(one) & set(two)
    else:
        assert best in one
        assert best in two
        assert not any(other > best for other in set(one) & set(two))


def test_layers_must_match() -> None:
    with pytest.raises(WireError):
        negotiate_untrusted(((1,), (1,), (1,)), ((1,), (1,)), 1)
    with pytest.raises(WireError):
        negotiate_untrusted(((1,), (1,), (1,)), ((1,), (2,), (1,)), 1)
    with pytest.raises(WireError):
        negotiate_untrusted(((1,), (1,), (1,)), ((1,), (1,), (2,)), 1)
    with pytest.raises(WireError):
        negotiate_untrusted(((1, 2), (1,), (1,)), ((1, 2), (1,), (1,)), 1)
    assert negotiate_untrusted(((1, 2), (1, 2), (1,)), ((1,), (1, 2, 3), (1,)), 1) == (2, 1)


@settings(deadline=None)
@given(st.lists(IDS, max_size=3))
def test_lists_come_back(lists: list[tuple[int, ...]]) -> None:
    try:
        encoded = encode_lists(tuple(lists))
    except LocalError:
        assert 1 + sum(1 + len(ids) for ids in lists) > LISTS_SIZE_MAX
        return
    assert len(encoded) <= LISTS_SIZE_MAX
    assert decode_lists_untrusted(b"??" + encoded + b"!", 2) == (tuple(lists), 2 + len(encoded))


@settings(deadline=None)
@given(st.binary(max_size=LISTS_SIZE_MAX + 4))
def test_any_bytes_are_lists_or_raise_one_error(data: bytes) -> None:
    try:
        lists, end = decode_lists_untrusted(data, 0)
    except WireError:
        return
    assert encode_lists(lists) == data[:end]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1",
        b"\1\0",
        b"\1\2\1",
        b"\1\2\2\1",
        b"\1\2\1\1",
        b"\5" + b"\1\1" * 5,
        b"\2" + bytes([7, 1, 2, 3, 4, 5, 6, 7]) * 2,
    ],
)
def test_malformed_lists(data: bytes) -> None:
    with pytest.raises(WireError):
        decode_lists_untrusted(data, 0)


def test_keys_are_what_the_documentation_says() -> None:
    out, back = bytes(range(32)), bytes(range(32, 64))
    keys = epoch_keys(out, back, SUITE_AEGIS256, initiator=True)

    def derived(key: bytes, direction: int, plane: int, use: int) -> bytes:
        content = b"quorate data key" + bytes([direction, plane, SUITE_AEGIS256, use])
        return blake2b(content, digest_size=32, key=key).digest()

    assert keys == EpochKeys(
        message_send=derived(out, 1, 1, 1),
        message_send_header=derived(out, 1, 1, 2),
        message_receive=derived(back, 2, 1, 1),
        message_receive_header=derived(back, 2, 1, 2),
        bulk_send=derived(out, 1, 2, 1),
        bulk_send_header=derived(out, 1, 2, 2),
        bulk_receive=derived(back, 2, 2, 1),
        bulk_receive_header=derived(back, 2, 2, 2),
        rekey=blake2b(b"quorate rekey secret", digest_size=32, key=out + back).digest(),
    )
    assert epoch_keys(out, back, SUITE_XCHACHA20, initiator=True).message_send != keys.message_send
