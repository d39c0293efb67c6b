"""Invitations as text."""

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from consensus.core.evidence import invitation_text
from consensus.core.evidence.invitation_text import Invitation, TokenError, parse_untrusted

SPONSOR, SECRET_KEY = crypto_sign_seed_keypair(bytes(range(32)))
BOB = bytes(reversed(range(32)))


def sign(label: bytes, content: bytes) -> bytes:
    return crypto_sign(label + b"\0" + content, SECRET_KEY)[:64]


def verify(key: bytes, label: bytes, content: bytes, signature: bytes) -> bool:
    try:
        crypto_sign_open(signature + label + b"\0" + content, key)
    except (BadSignatureError, ValueError):
        return False
    return True


def invitation(**changes: object) -> Invitation:
    plain = Invitation(
        group=b"g" * 32,
        name="board",
        sponsor=SPONSOR,
        addresses=(("192.0.2.7", 4711), ("2001:db8::7", 4712)),
        invitation_id=b"12345678",
        expires_at=1_900_000_000,
        bound_key=BOB,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


addresses = st.tuples(
    st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str), st.integers(1, 65535)
)
invitations = st.builds(
    lambda who, **rest: Invitation(sponsor=SPONSOR, **{who[0]: who[1]}, **rest),
    who=st.one_of(
        st.tuples(st.just("bound_key"), st.binary(min_size=32, max_size=32)),
        st.tuples(st.just("secret"), st.binary(min_size=16, max_size=16)),
    ),
    group=st.binary(min_size=32, max_size=32),
    name=st.text("board BOARD-1 äßЖ漢☃𝄞", min_size=1, max_size=16),
    addresses=st.lists(addresses, min_size=1, max_size=4).map(tuple),
    invitation_id=st.binary(min_size=8, max_size=8),
    expires_at=st.integers(0, invitation_text.EXPIRY_MAX),
)


@given(invitations)
def test_what_is_written_is_read(given: Invitation) -> None:
    assert parse_untrusted(given.text(sign), verify) == given


def test_the_longest_has_the_stated_length_and_fits_in_a_qr_code() -> None:
    address = ("2001:db8:1111:2222:3333:4444:5555:6666", 65535)
    longest = invitation(name="n" * 64, addresses=(address,) * 4)
    text = longest.text(sign)
    assert len(text) == 529
    assert len(text) < invitation_text.TEXT_SIZE_MAX
    alphanumeric = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")
    assert alphanumeric.issuperset(text.upper())  # QR's dense mode: 4,296 characters at most


def test_case_spaces_and_line_breaks_do_not_matter() -> None:
    text = invitation().text(sign).upper()
    wrapped = "\r\n  ".join(text[at : at + 50] for at in range(0, len(text), 50))
    assert parse_untrusted(f"\n {wrapped}\n", verify) == invitation()


def test_a_secret_is_not_shown() -> None:
    bearer = invitation(bound_key=None, secret=b"sixteen  secrets")
    assert "sixteen" not in repr(bearer)
    assert b"sixteen" not in bearer.statement
    assert parse_untrusted(bearer.text(sign), verify).secret == b"sixteen  secrets"


def test_who_may_use_it_and_until_when() -> None:
    bound, bearer = invitation(), invitation(bound_key=None, secret=bytes(16))
    bound.check(BOB, 1_899_999_999.9)
    bearer.check(SPONSOR, 0.0)
    with pytest.raises(TokenError, match="another key"):
        bound.check(SPONSOR, 0.0)
    for each in (bound, bearer):
        with pytest.raises(TokenError, match="expired"):
            each.check(BOB, 1_900_000_000.0)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"group": b"short"}, "group's id"),
        ({"sponsor": b""}, "sponsor's key"),
        ({"invitation_id": b"123456789"}, "id is not 8"),
        ({"expires_at": -1}, "expiry"),
        ({"expires_at": invitation_text.EXPIRY_MAX + 1}, "expiry"),
        ({"secret": bytes(16)}, "and not both"),
        ({"bound_key": None}, "and not both"),
        ({"bound_key": b"short"}, "invited key"),
        ({"bound_key": None, "secret": b"short"}, "secret is not"),
        ({"name": ""}, "no name"),
        ({"name": "a\x1b[31mb"}, "not printable"),
        ({"name": "\ud800"}, "name is not"),
        ({"name": "ä" * 33}, "longer than 64"),
        ({"addresses": ()}, "one to 4 addresses"),
        ({"addresses": (("192.0.2.1", 1),) * 5}, "one to 4 addresses"),
    ],
)
def test_fields_are_bounded(changes: dict[str, object], what: str) -> None:
    with pytest.raises(TokenError, match=what):
        invitation(**changes)


@pytest.mark.parametrize(
    "address", [("example.org", 1), ("192.0.2.1", 0), ("192.0.2.1", 65536), ("fe80::1%eth0", 5)]
)
def test_addresses_that_mean_nothing_elsewhere_are_refused(address: tuple[str, int]) -> None:
    with pytest.raises(TokenError):
        invitation(addresses=(address,)).text(sign)


def test_what_is_wrong_is_said() -> None:
    text = invitation().text(sign)
    cases = {
        "": "does not begin with quorate1:",
        "quorate2:abc": "does not begin with quorate1:",
        text + "a" * invitation_text.TEXT_SIZE_MAX: "too long",
        "quorate1:": "truncated",
        text[:-8]: "truncated",
        text[:-1]: "truncated",
        text[: len(text) // 2]: "truncated",
        text[:40] + "1" + text[41:]: "characters that do not belong",
        text[:40] + ("a" if text[40] != "a" else "b") + text[41:]: "checksum",
        text + "aaaaaaaa": "checksum",
    }
    for broken, what in cases.items():
        with pytest.raises(TokenError, match=what):
            parse_untrusted(broken, verify)


def test_an_invitation_that_its_sponsor_did_not_sign_is_refused() -> None:
    _, stranger = crypto_sign_seed_keypair(b"x" * 32)
    forged = invitation().text(lambda label, content: crypto_sign(label + content, stranger)[:64])
    with pytest.raises(TokenError, match="not signed by its sponsor"):
        parse_untrusted(forged, verify)


def wrapped(content: bytes) -> str:
    """Content with length and checksum as they should be."""
    body = len(content).to_bytes(2, "big") + content
    return invitation_text.PREFIX + invitation_text._base32(body + invitation_text._checksum(body))


@given(st.data())
def test_one_error_whatever_the_content(data: st.DataObject) -> None:
    """Below the checksum: the content flipped, cut or made up, and signed all the same."""
    good = invitation()._content(BOB)
    content = data.draw(
        st.one_of(
            st.binary(max_size=200),
            st.integers(0, len(good)).map(lambda end: good[:end]),
            st.tuples(st.integers(0, len(good) - 1), st.integers(1, 255)).map(
                lambda flip: good[: flip[0]]
                + bytes((good[flip[0]] ^ flip[1],))
                + good[flip[0] + 1 :]
            ),
        )
    )
    try:
        read = parse_untrusted(wrapped(content + bytes(64)), lambda *_: True)
    except TokenError:
        return
    assert read._content(read.bound_key or read.secret or b"") == content


@given(st.text(max_size=80))
@example("quorate1:" + "a" * 8)
@example("quorate1:aaaaaaaaaa")
def test_one_error_whatever_the_text(text: str) -> None:
    with pytest.raises(TokenError):
        parse_untrusted(invitation_text.PREFIX + text, verify)


@given(st.integers(0, 10_000), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_no_single_mistyped_character_is_accepted(at: int, character: str) -> None:
    text = invitation().text(sign)
    at = len(invitation_text.PREFIX) + at % (len(text) - len(invitation_text.PREFIX))
    broken = text[:at] + character + text[at + 1 :]
    if broken != text:
        with pytest.raises(TokenError):
            parse_untrusted(broken, verify)
