"""Certificates: what shows to anybody, without a network, that a group decided something.

A certificate holds, from the founding on, why each view followed from the one before, then a
quorum's signatures over one head of the chain (see `chain`), and how the decision is part of it.

    file       = "quorate certificate 1\\n" | msgpack of
                 [founding, [link, ...], view, position, head, [[rank, signature], ...],
                  head before, record, [leaf, ...]]
    link       = [ballot, kept, joiner or nil, end, head, [[rank, signature], ...]]
    link's     = group (32) | view (8) | ballot (8) | end (8) | head (32) | next view's leaf (32)
    head's     = group (32) | view (8) | position (8) | head (32)

Threats: a file that claims a decision nobody made, or another outcome, place, body or membership;
one with too few signatures; one put together from true pieces of other views, groups or places.
Property: who accepts a certificate of group G knows that a quorum of each view vouched for the
next, and a quorum of the last one for everything up to the head, having delivered it. It holds as
long as no quorum of a view has given its keys away. Construction: every signature is over a label
of its own and names the group and the view; a link is signed by those who accepted its value in
one ballot of the synod, which is what it means that the value was chosen, and chosen ones are
unique; a head commits to every record before it; the group's id commits to the founding.

A signature in a ballot that was not chosen proves nothing, for it takes a quorum in one ballot.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgpack

from consensus.core.errors import MessageError
from consensus.core.evidence.chain import HASH_SIZE, KEPT_MAX, extended, leaf_of, view_record
from consensus.core.evidence.founding import CertificateError, decode_founding_untrusted, group_id
from consensus.core.messages import LINK_SIZE_MAX, LINKS_MAX, link_untrusted, signatures_untrusted
from consensus.core.numbers import BallotNumber, Index, Mask, Rank, ViewNumber
from consensus.core.types import Member
from consensus.core.view import VIEW_SIZE_MAX, View

MAGIC = b"quorate certificate 1\n"
LINK_LABEL = b"quorate view change 1"
HEAD_LABEL = b"quorate chain head 1"
RECORD_SIZE_MAX = 96 * 1024
"""Bytes of one record: a body, names of blobs, everybody's answers."""
CERTIFICATE_SIZE_MAX = LINKS_MAX * LINK_SIZE_MAX + KEPT_MAX * (HASH_SIZE + 2) + 2 * RECORD_SIZE_MAX

_LINK = struct.Struct("!32sQQQ32s32s")
_HEAD = struct.Struct("!32sQQ32s")

Verify = Callable[[bytes, bytes, bytes, bytes], bool]
"""`verify(key, label, content, signature)`: whether it is that key's Ed25519 signature."""
Signatures = tuple[tuple[Rank, bytes], ...]
"""(rank, signature), most senior first."""


class Link(NamedTuple):
    """Why a view followed from the one before."""

    ballot: BallotNumber
    """The ballot of the synod in which the signers accepted it."""
    kept: Mask
    """The mask of the ranks that went on."""
    joiner: Member | None
    end: Index
    """The index of the last decision of the view that ended."""
    head: bytes
    """The head of the chain after it."""
    signatures: Signatures


class Certificate(NamedTuple):
    """The parts of a certificate; nothing of it is verified."""

    founding: bytes
    links: tuple[Link, ...]
    view: ViewNumber
    """The view in which the head was signed."""
    position: Index
    """The index of the last decision before or at the head."""
    head: bytes
    signatures: Signatures
    before: bytes
    """The head before the decision."""
    record: bytes
    """The decision, as it is hashed."""
    leaves: tuple[bytes, ...]
    """The leaves of what came after it, up to the head."""

    def encode(self) -> bytes:
        """The bytes of a file."""
        data: bytes = msgpack.packb(tuple(self))
        return MAGIC + data


def link_statement(group: bytes, view: View, link: Link) -> bytes:
    """What accepting a value amounts to: what is signed of it."""
    following = leaf_of(view_record(view.following(link.kept, link.joiner)))
    return _LINK.pack(group, view.number, link.ballot, link.end, link.head, following)


def head_statement(group: bytes, view: int, position: int, head: bytes) -> bytes:
    """What a member signs that has delivered everything up to a head."""
    return _HEAD.pack(group, view, position, head)


def check_signatures(
    view: View, signatures: Signatures, label: bytes, statement: bytes, verify: Verify
) -> None:
    """Raise CertificateError unless a quorum of the view signed, each member once and in order."""
    size = len(view.members)
    signers = [rank for rank, _ in signatures]
    if any(rank >= size for rank in signers):
        raise CertificateError(f"a signature of somebody who is not in view {view.number}")
    if signers != sorted(set(signers)):
        raise CertificateError(f"the signatures of view {view.number} are doubled or not in order")
    if not view.is_quorum(sum(1 << rank for rank in signers)):
        raise CertificateError(
            f"{len(signers)} of {size} members of view {view.number} signed: no quorum"
        )
    for rank, signature in signatures:
        if not verify(view.members[rank].key, label, statement, signature):
            who = view.members[rank].key.hex()[:16]
            raise CertificateError(
                f"the signature of {who} (rank {rank} of view {view.number}) is not over this"
            )


def follow(
    founding: bytes, links: Iterable[Link], verify: Verify | None
) -> tuple[list[View], list[int]]:
    """The views from the founding on, and the index each of them but the last ended with.

    With `verify` every link's signatures are checked. Raises CertificateError.
    """
    group = group_id(founding)
    view = decode_founding_untrusted(founding).view
    views, ends = [view], [0]
    for link in links:
        members = len(view.members)
        if not 0 < link.kept <= view.full or link.joiner in view.members:
            raise CertificateError(f"what follows view {view.number} is no view")
        if link.kept.bit_count() + (link.joiner is not None) > VIEW_SIZE_MAX or members == 0:
            raise CertificateError(f"what follows view {view.number} has too many members")
        if link.end < ends[-1]:
            raise CertificateError(f"view {view.number} ends before it begins")
        if verify is not None:
            statement = link_statement(group, view, link)
            check_signatures(view, link.signatures, LINK_LABEL, statement, verify)
        view = view.following(link.kept, link.joiner)
        views.append(view)
        ends.append(link.end)
    return views, ends[1:]


def head_after(before: bytes, record: bytes, leaves: Iterable[bytes]) -> bytes:
    """The head of the chain after a record and what followed it."""
    head = extended(before, leaf_of(record))
    for leaf in leaves:
        head = extended(head, leaf)
    return head


def _fields_untrusted(data: bytes) -> tuple[Any, ...]:
    """As many fields as a certificate has, of any kind. Raises CertificateError."""
    if not data.startswith(MAGIC):
        raise CertificateError("this is no certificate of quorate")
    if len(data) > CERTIFICATE_SIZE_MAX:
        raise CertificateError("the certificate is too large")
    try:
        fields = msgpack.unpackb(data[len(MAGIC) :], use_list=False, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise CertificateError("the certificate is cut off or damaged") from error
    if type(fields) is not tuple or len(fields) != len(Certificate._fields):
        raise CertificateError("the certificate has the wrong fields")
    return fields


def decode_certificate_untrusted(data: bytes) -> Certificate:
    """The parts of a certificate, none of them verified. Raises CertificateError."""
    fields = _fields_untrusted(data)
    founding, links, view, position, head, signatures, before, record, leaves = fields
    if type(links) is not tuple or len(links) > LINKS_MAX:
        raise CertificateError("the certificate has too many view changes")
    if type(leaves) is not tuple or len(leaves) > KEPT_MAX or not all(map(_is_hash, leaves)):
        raise CertificateError("the certificate's leaves are not hashes, or too many")
    if not (
        type(founding) is bytes
        and type(record) is bytes
        and len(record) <= RECORD_SIZE_MAX
        and _is_hash(head)
        and _is_hash(before)
        and type(view) is int
        and type(position) is int
        and 1 <= view <= LINKS_MAX + 1
        and 0 <= position < 1 << 48
    ):
        raise CertificateError("the certificate has the wrong fields")
    try:
        return Certificate(
            founding,
            tuple([Link(*link_untrusted(link)) for link in links]),
            ViewNumber(view),
            Index(position),
            head,
            signatures_untrusted(signatures),
            before,
            record,
            leaves,
        )
    except MessageError as error:
        raise CertificateError(f"the certificate has the wrong fields: {error}") from error


def _is_hash(value: object) -> bool:
    return type(value) is bytes and len(value) == HASH_SIZE
