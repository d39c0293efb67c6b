"""What a group begins with, and the id that commits to it.

    founding = msgpack of [name, nonce (32), founder's key (32), founder's incarnation,
                           casting vote, window]
    group id = BLAKE2b-256 of the founding, personalised "quorate group 1"

Threat: somebody shows a certificate of a group of his own making and says it is yours. Property:
the id names the first view and the rules by which every later one follows from it. Construction:
a collision-resistant hash over all of them and a nonce, so that two groups of one founder differ.
Encoders of msgpack differ in what they emit for one value, so a founding travels as its bytes and
is hashed as it came.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgpack

from consensus.core.config import WINDOW_TOTAL_MAX
from consensus.core.errors import ConsensusError
from consensus.core.messages import FOUNDING_SIZE_MAX
from consensus.core.numbers import ViewNumber
from consensus.core.types import Member
from consensus.core.view import View

GROUP_ID_SIZE = 32
NONCE_SIZE = 32
NAME_SIZE_MAX = 64
_PERSON = b"quorate group 1"

assert FOUNDING_SIZE_MAX >= NAME_SIZE_MAX + NONCE_SIZE + 32 + 9 + 32


class CertificateError(ConsensusError):
    """Evidence that proves nothing, or cannot be had; the message says what is wrong."""


class Founding(NamedTuple):
    """The first view of a group and its rules."""

    name: str
    nonce: bytes
    """32 random bytes."""
    founder: Member
    casting_vote: bool
    window_total: int

    def encode(self) -> bytes:
        """The bytes that the group's id is a hash of. Raises CertificateError out of bounds."""
        size = len(self.name.encode("utf-8", "surrogatepass"))
        if not 0 < size <= NAME_SIZE_MAX:
            raise CertificateError(f"a group's name has 1 to {NAME_SIZE_MAX} bytes")
        data: bytes = msgpack.packb(
            (self.name, self.nonce, *self.founder, self.casting_vote, self.window_total)
        )
        decode_founding_untrusted(data)
        return data

    @property
    def view(self) -> View:
        """View 1."""
        return View(ViewNumber(1), (self.founder,), self.casting_vote)


def group_id(founding: bytes) -> bytes:
    """The id of the group with these (encoded) beginnings, 32 bytes."""
    return blake2b(founding, digest_size=GROUP_ID_SIZE, person=_PERSON).digest()


def decode_founding_untrusted(data: bytes) -> Founding:
    """What `Founding.encode` made. Raises CertificateError."""
    if len(data) > FOUNDING_SIZE_MAX:
        raise CertificateError("the founding is too large")
    try:
        fields = msgpack.unpackb(data, use_list=False, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise CertificateError("the founding is not msgpack") from error
    match fields:
        case (
            str() as name,
            bytes() as nonce,
            bytes() as key,
            int() as life,
            bool() as casting_vote,
            int() as window_total,
        ) if (
            0 < len(name.encode("utf-8", "surrogatepass")) <= NAME_SIZE_MAX
            and len(nonce) == NONCE_SIZE
            and len(key) == 32
            and 0 <= life < 1 << 64
            and type(life) is int
            and type(window_total) is int
            and 1 <= window_total <= WINDOW_TOTAL_MAX
        ):
            return Founding(name, nonce, Member(key, life), casting_vote, window_total)
    raise CertificateError("the founding has the wrong fields")
