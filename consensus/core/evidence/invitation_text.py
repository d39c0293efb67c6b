"""Invitations as text: what a sponsor gives a joiner by mail, by voice or as a QR code.

Layout: `quorate1:` and then RFC 4648 base32 of

    length (2) | content | sponsor's signature (64) | checksum (4)

    content = flags (1) | group (32) | sponsor (32) | invitation id (8) | expiry (8)
              | bound key (32) or bearer secret (16)
              | name length (1) | name | number of addresses (1) | addresses

An address is `4 | IPv4 (4) | port (2)` or `6 | IPv6 (16) | port (2)`. Numbers are big-endian. The
alphabet is the one that QR codes store densely; case, spaces and line breaks do not matter.

What the signature shows: the sponsor named in the invitation made all of it, so damage and changes
by anybody who does not sign anew are noticed before anything of the content is shown. What it does
not show: that this sponsor is the one the joiner expects. Whoever carries the text can put another
in its place, of a group and a sponsor of his own; where the way is not trusted, compare the
sponsor's key by another one (`Node.join(token, sponsor=...)`). The signature covers a commitment
to the bearer secret and not the secret itself, so an invitation can be shown to the group without
giving it away. A bearer secret admits whoever holds the text: treat such a text as a password.
"""

import base64
import ipaddress
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

from consensus.core.errors import ConsensusError

PREFIX = "quorate1:"
GROUP_ID_SIZE = 32
KEY_SIZE = 32
INVITATION_ID_SIZE = 8
SECRET_SIZE = 16
SIGNATURE_SIZE = 64
CHECKSUM_SIZE = 4
ADDRESSES_MAX = 4
NAME_SIZE_MAX = 64
EXPIRY_MAX = (1 << 63) - 1
TEXT_SIZE_MAX = 2048
"""Characters looked at, spaces and line breaks included; a token has at most 529 of its own."""

SIGNATURE_LABEL = b"quorate invitation 1"

Address = tuple[str, int]
Sign = Callable[[bytes, bytes], bytes]
"""`sign(label, content)`: the sponsor's Ed25519 signature."""
Verify = Callable[[bytes, bytes, bytes, bytes], bool]
"""`verify(key, label, content, signature)`."""

_ALPHABET = frozenset("abcdefghijklmnopqrstuvwxyz234567")
_FLAG_BOUND = 1
_FIXED = struct.Struct("!B32s32s8sQ")
_LENGTH = struct.Struct("!H")
_PORT = struct.Struct("!H")


class TokenError(ConsensusError):
    """The invitation cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A sponsor's word that a joiner may ask to be admitted to a group.

    Exactly one of `bound_key` and `secret` is given. Raises TokenError when a field is out of
    bounds.
    """

    group: bytes
    """The group's id, 32 bytes."""
    name: str
    """The group's name, at most 64 bytes of UTF-8, printable."""
    sponsor: bytes
    """The key of the member that will sponsor the joiner."""
    addresses: tuple[Address, ...]
    """Where the sponsor is reached: one to four numeric addresses."""
    invitation_id: bytes
    """8 bytes by which the sponsor knows this invitation again."""
    expires_at: int
    """Unix time in seconds, the first at which the invitation is void."""
    bound_key: bytes | None = None
    """The only key that may use the invitation."""
    secret: bytes | None = field(default=None, repr=False)
    """16 bytes that admit whoever shows them."""

    def __post_init__(self) -> None:
        _require(len(self.group) == GROUP_ID_SIZE, "the group's id is not 32 bytes")
        _require(len(self.sponsor) == KEY_SIZE, "the sponsor's key is not 32 bytes")
        _require(len(self.invitation_id) == INVITATION_ID_SIZE, "the id is not 8 bytes")
        _require(0 <= self.expires_at <= EXPIRY_MAX, "the expiry is out of range")
        _require(
            (self.bound_key is None) != (self.secret is None),
            "an invitation names a key or carries a secret, and not both",
        )
        _require(
            self.bound_key is None or len(self.bound_key) == KEY_SIZE,
            "the invited key is not 32 bytes",
        )
        _require(
            self.secret is None or len(self.secret) == SECRET_SIZE, "the secret is not 16 bytes"
        )
        _require(bool(self.name), "the group has no name")
        _require(self.name.isprintable(), "the group's name is not printable")
        try:
            size = len(self.name.encode())
        except UnicodeEncodeError:
            raise TokenError("the group's name is not Unicode text") from None
        _require(size <= NAME_SIZE_MAX, f"the group's name is longer than {NAME_SIZE_MAX} bytes")
        _require(
            1 <= len(self.addresses) <= ADDRESSES_MAX,
            f"an invitation has one to {ADDRESSES_MAX} addresses",
        )

    @property
    def statement(self) -> bytes:
        """What the sponsor signs: the content, the secret in it replaced by its commitment."""
        who = self.bound_key if self.bound_key is not None else commitment(self.secret or b"")
        return self._content(who)

    def check(self, key: bytes, wall_s: float) -> None:
        """Raise TokenError if `key` may not use the invitation at unix time `wall_s`."""
        if wall_s >= self.expires_at:
            raise TokenError("the invitation has expired: ask for a new one")
        if self.bound_key is not None and self.bound_key != key:
            raise TokenError("the invitation is for another key")

    def _content(self, who: bytes) -> bytes:
        flags = _FLAG_BOUND if self.bound_key is not None else 0
        name = self.name.encode()
        parts = [
            _FIXED.pack(flags, self.group, self.sponsor, self.invitation_id, self.expires_at),
            who,
            bytes((len(name),)),
            name,
            bytes((len(self.addresses),)),
        ]
        parts += [_encode_address(address) for address in self.addresses]
        return b"".join(parts)

    def text(self, sign: Sign) -> str:
        """The invitation as text, signed. Raises TokenError for an address that cannot be sent."""
        signature = sign(SIGNATURE_LABEL, self.statement)
        _require(len(signature) == SIGNATURE_SIZE, "the signature is not 64 bytes")
        content = self._content(self.bound_key or self.secret or b"") + signature
        body = _LENGTH.pack(len(content)) + content
        return PREFIX + _base32(body + _checksum(body))


def commitment(secret: bytes) -> bytes:
    """What the group may see of a bearer secret: 32 bytes from which it cannot be found."""
    return blake2b(secret, digest_size=32, person=b"quorate bearer 1").digest()


def parse_untrusted(text: str, verify: Verify) -> Invitation:
    """The invitation that `text` holds, its signature verified.

    Raises TokenError that says what is wrong. Expiry and the bound key are `Invitation.check`'s.
    """
    if not isinstance(text, str):
        raise TokenError("an invitation is text")
    if len(text) > TEXT_SIZE_MAX:
        raise TokenError("this is no invitation: it is too long")
    compact = "".join(text.split())
    if compact[: len(PREFIX)].lower() != PREFIX:
        raise TokenError(f"this is no invitation: it does not begin with {PREFIX}")
    content, signature = _unwrap_untrusted(_unbase32_untrusted(compact[len(PREFIX) :]))
    invitation = _Reader(content).invitation()
    if not verify(invitation.sponsor, SIGNATURE_LABEL, invitation.statement, signature):
        raise TokenError("the invitation was not signed by its sponsor")
    return invitation


def _unbase32_untrusted(text: str) -> bytes:
    folded = text.lower()
    if not _ALPHABET.issuperset(folded):
        raise TokenError("the invitation has characters that do not belong in one")
    if len(folded) % 8 in (1, 3, 6):  # no number of whole bytes has this many characters
        raise TokenError("the invitation is truncated")
    body = base64.b32decode(folded.upper() + "=" * (-len(folded) % 8))
    if _base32(body) != folded:  # bits that no checksum covers
        raise TokenError("the invitation is truncated or mistyped at its end")
    return body


def _unwrap_untrusted(body: bytes) -> tuple[bytes, bytes]:
    """Content and signature, by the length and the checksum around them."""
    if len(body) < _LENGTH.size:
        raise TokenError("the invitation is truncated")
    (length,) = _LENGTH.unpack_from(body)
    whole = _LENGTH.size + length + CHECKSUM_SIZE
    if len(body) < whole:
        raise TokenError("the invitation is truncated")
    if len(body) > whole or _checksum(body[:-CHECKSUM_SIZE]) != body[-CHECKSUM_SIZE:]:
        raise TokenError("the invitation was mistyped or damaged: its checksum does not match")
    if length < SIGNATURE_SIZE:
        raise TokenError("the invitation has no signature")
    content = body[_LENGTH.size : -CHECKSUM_SIZE]
    return content[:-SIGNATURE_SIZE], content[-SIGNATURE_SIZE:]


class _Reader:
    """Reads content from the front; anything amiss is a TokenError."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def invitation(self) -> Invitation:
        flags, group, sponsor, invitation_id, expires_at = _FIXED.unpack(self.take(_FIXED.size))
        if flags not in (0, _FLAG_BOUND):
            raise TokenError("the invitation is of a kind this version does not know")
        bound_key = self.take(KEY_SIZE) if flags else None
        secret = None if flags else self.take(SECRET_SIZE)
        try:
            name = self.take(self.take(1)[0]).decode()
        except UnicodeDecodeError:
            raise TokenError("the group's name is not Unicode text") from None
        number = self.take(1)[0]
        if number > ADDRESSES_MAX:
            raise TokenError(f"an invitation has one to {ADDRESSES_MAX} addresses")
        addresses = tuple(self.address() for _ in range(number))
        if self._at != len(self._content):
            raise TokenError("the invitation has bytes left over")
        return Invitation(
            group, name, sponsor, addresses, invitation_id, expires_at, bound_key, secret
        )

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._content):
            raise TokenError("the invitation ends in the middle of a field")
        piece = self._content[self._at : end]
        self._at = end
        return piece

    def address(self) -> Address:
        family = self.take(1)[0]
        host: str
        if family == 4:
            host = str(ipaddress.IPv4Address(self.take(4)))
        elif family == 6:
            host = str(ipaddress.IPv6Address(self.take(16)))
        else:
            raise TokenError("the invitation has an address of an unknown family")
        (port,) = _PORT.unpack(self.take(_PORT.size))
        if port == 0:
            raise TokenError("the invitation has an address without a port")
        return host, port


def _encode_address(address: Address) -> bytes:
    host, port = address
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        raise TokenError(f"not a numeric address: {host}") from None
    _require(0 < port < 1 << 16, f"not a port: {port}")
    _require(getattr(ip, "scope_id", None) is None, f"an address of one link only: {host}")
    return bytes((ip.version,)) + ip.packed + _PORT.pack(port)


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _checksum(body: bytes) -> bytes:
    return blake2b(body, digest_size=CHECKSUM_SIZE, person=b"quorate token 1").digest()


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise TokenError(otherwise)
