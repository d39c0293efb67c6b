"""Master keys: pseudonyms derived from one, operating keys signed by one.

Threat: responders, or groups, that compare notes to find that two of their peers are one person;
and the loss of a key that is in daily use. Property: names for different scopes look independent
to all who do not have the master seed, which need not be on the machine; the holder can show, to
whom it wishes, that a name is its own; and an operating key can be replaced without anybody having
to trust a new name. Construction: a pseudonym's seed is keyed BLAKE2b of the scope under the master
seed; certificates and showings are signatures of the master's. Lifetime: each carries its expiry.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from nacl import bindings

from transport.core.constants import KEY_SIZE, SIGNATURE_SIZE
from transport.core.crypto.keys import Identity, static_of_key_untrusted, verify
from transport.core.errors import LocalError, WireError

_SEED_LABEL = b"quorate pseudonym"
_CERTIFICATE_LABEL = b"quorate operating key"
_SHOWING_LABEL = b"quorate pseudonym showing"
# master, operating key or pseudonym, expiry in Unix seconds
_HEAD = struct.Struct(f">{KEY_SIZE}s{KEY_SIZE}sQ")
_TRIES = 128
SCOPE_ID_SIZE_MAX: Final = 64
MASTERS_MAX: Final = 2**16
CERTIFICATE_SIZE: Final = _HEAD.size + SIGNATURE_SIZE
SHOWING_SIZE_MAX: Final = _HEAD.size + 2 + SCOPE_ID_SIZE_MAX + SIGNATURE_SIZE

_RESPONDER = 1
_GROUP = 2


class Scope(NamedTuple):
    """Where a pseudonym is used: towards one responder, or in one group."""

    kind: int
    id: bytes

    @classmethod
    def responder(cls, key: bytes) -> Scope:
        """Towards the holder of this key. Raises `LocalError` for an impossible length."""
        return cls._checked(_RESPONDER, key)

    @classmethod
    def group(cls, group_id: bytes) -> Scope:
        """In the group of this id, of 1 to 64 bytes. Raises `LocalError`."""
        return cls._checked(_GROUP, group_id)

    @classmethod
    def _checked(cls, kind: int, name: bytes) -> Scope:
        if not 1 <= len(name) <= SCOPE_ID_SIZE_MAX:
            raise LocalError(f"a scope's id has 1 to {SCOPE_ID_SIZE_MAX} bytes")
        return cls(kind, name)

    def encode(self) -> bytes:
        """Kind, length, id."""
        return bytes((self.kind, len(self.id))) + self.id


class MasterKey:
    """A key that signs and from which others derive; it takes part in no handshake."""

    __slots__ = ("_identity", "key")

    key: bytes
    """Ed25519 public key: the name behind the names."""

    def __init__(self, identity: Identity) -> None:
        """`identity` is kept on disk as any other, and used for nothing else."""
        self._identity = identity
        self.key = identity.key

    def pseudonym(self, scope: Scope) -> Identity:
        """The identity for a scope: the same each time, and linked to no other."""
        for number in range(_TRIES):
            seed = blake2b(
                _SEED_LABEL + bytes([number]) + scope.encode(),
                digest_size=KEY_SIZE,
                key=self._identity.seed,
            ).digest()
            # Half of all seeds have a public key with sign bit 1, which is no name.
            if not bindings.crypto_sign_seed_keypair(seed)[0][31] & 0x80:
                return Identity(seed)
        raise LocalError("no seed of this scope has a name")

    def certify(self, operating_key: bytes, expires_unix_s: int) -> bytes:
        """A certificate: until then, `operating_key` acts for this master."""
        return self._signed(_CERTIFICATE_LABEL, operating_key, expires_unix_s, b"")

    def show(self, scope: Scope, expires_unix_s: int) -> bytes:
        """A showing: until then, whoever reads this may know whose this scope's pseudonym is."""
        pseudonym = self.pseudonym(scope).key
        return self._signed(_SHOWING_LABEL, pseudonym, expires_unix_s, scope.encode())

    def _signed(self, label: bytes, key: bytes, expires_unix_s: int, tail: bytes) -> bytes:
        if len(key) != KEY_SIZE or not 0 <= expires_unix_s < 2**64:
            raise LocalError("a key has 32 bytes, and an expiry is in Unix seconds")
        content = _HEAD.pack(self.key, key, expires_unix_s) + tail
        return content + self._identity.sign(label, content)

    def __repr__(self) -> str:
        return f"MasterKey({self.key.hex()[:16]})"


class Certificate(NamedTuple):
    """A verified certificate."""

    master: bytes
    operating_key: bytes
    expires_unix_s: int


def verify_certificate_untrusted(data: bytes, unix_s: float) -> Certificate:
    """What a certificate says. Raises `WireError` if it is malformed, unsigned or expired."""
    if len(data) != CERTIFICATE_SIZE:
        raise WireError("not a certificate")
    return Certificate(*_verified_untrusted(_CERTIFICATE_LABEL, data, unix_s))


def verify_showing_untrusted(data: bytes, pseudonym: bytes, scope: Scope, unix_s: float) -> bytes:
    """The master key behind `pseudonym`, whose presence this showing came through.

    Raises `WireError` if it shows another pseudonym or scope, is unsigned or expired: a showing
    passed on proves nothing in a presence with somebody else.
    """
    tail = scope.encode()
    if len(data) != _HEAD.size + len(tail) + SIGNATURE_SIZE:
        raise WireError("not a showing")
    master, shown, _ = _verified_untrusted(_SHOWING_LABEL, data, unix_s)
    if shown != pseudonym or data[_HEAD.size : -SIGNATURE_SIZE] != tail:
        raise WireError("a showing of something else")
    return master


def _verified_untrusted(label: bytes, data: bytes, unix_s: float) -> tuple[bytes, bytes, int]:
    content, signature = data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
    master, key, expires_unix_s = _HEAD.unpack_from(content)
    static_of_key_untrusted(master)
    static_of_key_untrusted(key)
    if expires_unix_s <= unix_s:
        raise WireError("expired")
    if not verify(master, label, content, signature):
        raise WireError("nobody signed it")
    return master, key, expires_unix_s


class KnownMasters:
    """The masters this node knows, and the operating key each was last known by.

    Pure: `rows` and the constructor carry it to and from a disk. At most `MASTERS_MAX`.
    """

    __slots__ = ("_by_master",)

    def __init__(self, rows: Iterable[tuple[bytes, bytes, int]] = ()) -> None:
        self._by_master = {master: (key, expires) for master, key, expires in rows}

    def remember(self, master: bytes, operating_key: bytes) -> None:
        """The caller vouches for it: from a contact list, or two people who compared numbers.

        Raises `LocalError` if there are too many.
        """
        if master not in self._by_master and len(self._by_master) >= MASTERS_MAX:
            raise LocalError("too many masters")
        self._by_master[master] = (operating_key, 0)

    def accept_untrusted(self, data: bytes, unix_s: float) -> Certificate:
        """Take a certificate, and remember its operating key in place of the one before.

        Raises `WireError` for a master nobody vouched for, or for a certificate that is not newer
        than the last: the stolen key of an old one must not come back. Newer is a later expiry, so
        a master signs the successor of a key for longer than the key.
        """
        certificate = verify_certificate_untrusted(data, unix_s)
        known = self._by_master.get(certificate.master)
        if known is None:
            raise WireError("a master nobody vouched for")
        key, expires_unix_s = known
        if certificate.expires_unix_s <= expires_unix_s:
            if key == certificate.operating_key and certificate.expires_unix_s == expires_unix_s:
                return certificate
            raise WireError("an older certificate than the last")
        self._by_master[certificate.master] = (
            certificate.operating_key,
            certificate.expires_unix_s,
        )
        return certificate

    def operating_key(self, master: bytes) -> bytes | None:
        """The key to reach this master's holder by; None for an unknown master."""
        known = self._by_master.get(master)
        return None if known is None else known[0]

    def rows(self) -> list[tuple[bytes, bytes, int]]:
        """Master, operating key and expiry of each, to keep."""
        return [(master, key, expires) for master, (key, expires) in self._by_master.items()]

    def __len__(self) -> int:
        return len(self._by_master)
