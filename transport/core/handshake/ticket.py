"""Tickets and meetings: what lets a known initiator in with one round trip and no cookie.

An invitation is a secret both sides hold in memory, named by an id that travels in clear and is
used once. Three kinds:

* a *ticket* the responder itself gave its peer: the secret alone keys the run (`NNpsk0`);
* a *voucher* of a third party, who knows the secret too: it only authorises, and static keys and
  the transient authenticate (`KK1psk2`); with the secret alone the third party could sit in the
  middle;
* the token of a *simultaneous open*, which an introducer gave both (`KK1`).

The MAC under the secret goes over all of P3, so that whoever saw the id cannot make the responder
compute.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b

from transport.core.constants import (
    INVITATION_ID_SIZE,
    INVITATION_LIFE_S,
    INVITATION_MAC_SIZE,
    INVITATIONS_MAX,
    KEY_SIZE,
    MEETING_TOKEN_SIZE,
)
from transport.core.crypto.keys import equal
from transport.core.errors import LocalError, WireError
from transport.core.frames import TICKET_SIZE
from transport.core.handshake.variants import MET, TICKET, VOUCHED, Variant
from transport.core.types import RandomBytes

_MAC_LABEL = b"quorate invitation mac"
_PSK_LABEL = b"quorate invitation psk"
_MEETING_LABEL = b"quorate meeting"
_ENCODED = struct.Struct(f">B{INVITATION_ID_SIZE}s{KEY_SIZE}sI")
_KINDS = {1: TICKET, 2: VOUCHED}
_NUMBERS = {variant: number for number, variant in _KINDS.items()}
ENCODED_SIZE = _ENCODED.size
assert ENCODED_SIZE == TICKET_SIZE


@dataclass(frozen=True, slots=True)
class Invitation:
    """One invitation, as either side holds it: in memory only."""

    variant: Variant
    """`TICKET`, `VOUCHED` or `MET`."""
    holder: bytes
    """Ed25519 key of the one who may use it."""
    id: bytes
    """16 bytes, in clear on the wire."""
    secret: bytes = field(repr=False)
    """32 bytes."""
    expires_at: float
    """On this side's clock."""
    context: bytes = b""
    """What both sides bind it to: for a ticket the hash of the handshake it was issued in."""

    def __post_init__(self) -> None:
        if len(self.id) != INVITATION_ID_SIZE or len(self.secret) != KEY_SIZE:
            raise LocalError("an invitation has an id of 16 bytes and a secret of 32")

    @property
    def psk(self) -> bytes:
        """What enters the Noise run."""
        return blake2b(_PSK_LABEL, digest_size=KEY_SIZE, key=self.secret).digest()

    def mac(self, initiate: bytes) -> bytes:
        """Proof of the secret over all the rest of P3."""
        return blake2b(
            _MAC_LABEL + initiate, digest_size=INVITATION_MAC_SIZE, key=self.secret
        ).digest()

    def check_untrusted(self, initiate: bytes, mac: bytes) -> None:
        """Raises `WireError` unless the MAC is right."""
        if not equal(self.mac(initiate), mac):
            raise WireError("not who was invited")

    def encode(self, now: float) -> bytes:
        """For the other side, inside a presence. Raises `LocalError` for a meeting's token."""
        number = _NUMBERS.get(self.variant)
        if number is None:
            raise LocalError("a meeting's token is not handed on")
        life_ms = max(0, int((self.expires_at - now) * 1000))
        return _ENCODED.pack(number, self.id, self.secret, life_ms)


def issue(
    variant: Variant, holder: bytes, context: bytes, random: RandomBytes, now: float
) -> Invitation:
    """A fresh ticket or voucher, good for `INVITATION_LIFE_S`."""
    if variant not in _NUMBERS:
        raise LocalError("only tickets and vouchers are issued")
    return Invitation(
        variant,
        holder,
        random(INVITATION_ID_SIZE),
        random(KEY_SIZE),
        now + INVITATION_LIFE_S,
        context,
    )


def decode_invitation_untrusted(
    data: bytes, holder: bytes, context: bytes, now: float
) -> Invitation:
    """What `Invitation.encode` made, as its receiver holds it. Raises `WireError`."""
    if len(data) != _ENCODED.size:
        raise WireError("not an invitation")
    number, name, secret, life_ms = _ENCODED.unpack(data)
    variant = _KINDS.get(number)
    if variant is None or life_ms > INVITATION_LIFE_S * 1000:
        raise WireError("not an invitation")
    return Invitation(variant, holder, name, secret, now + life_ms / 1000, context)


def meeting(token: bytes, holder: bytes, context: bytes, expires_at: float) -> Invitation:
    """The invitation a meeting's token of 16 bytes stands for. Raises `LocalError`."""
    if len(token) != MEETING_TOKEN_SIZE:
        raise LocalError("a meeting's token has 16 bytes")
    derived = blake2b(_MEETING_LABEL + context, digest_size=48, key=token).digest()
    name, secret = derived[:INVITATION_ID_SIZE], derived[INVITATION_ID_SIZE:]
    return Invitation(MET, holder, name, secret, expires_at, context)


class Invitations:
    """What a responder has given out and nobody has used yet; at most `INVITATIONS_MAX`."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: OrderedDict[bytes, Invitation] = OrderedDict()

    def add(self, invitation: Invitation, now: float) -> None:
        """Expect its holder. Raises `LocalError` if there are too many, or its id is out."""
        if len(self._by_id) >= INVITATIONS_MAX:
            for name in [n for n, one in self._by_id.items() if one.expires_at <= now]:
                del self._by_id[name]
        if len(self._by_id) >= INVITATIONS_MAX:
            raise LocalError("too many invitations at once")
        if invitation.id in self._by_id:
            raise LocalError("an invitation with this id is out")
        self._by_id[invitation.id] = invitation

    def find(self, name: bytes, now: float) -> Invitation | None:
        """The invitation of this id, while it is good."""
        found = self._by_id.get(name)
        if found is not None and found.expires_at <= now:
            del self._by_id[name]
            return None
        return found

    def use(self, name: bytes) -> bool:
        """True once: from here on the id is spent."""
        return self._by_id.pop(name, None) is not None

    def __len__(self) -> int:
        return len(self._by_id)
