"""Verifying certificates: from bytes of any origin to what a group is shown to have decided."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from consensus.core.errors import MessageError
from consensus.core.evidence.certificate import (
    HEAD_LABEL,
    Certificate,
    Verify,
    check_signatures,
    decode_certificate_untrusted,
    follow,
    head_after,
    head_statement,
)
from consensus.core.evidence.chain import decision_record
from consensus.core.evidence.founding import (
    CertificateError,
    Founding,
    decode_founding_untrusted,
    group_id,
)
from consensus.core.messages import decision_untrusted
from consensus.core.types import Decision, Member, Outcome, ProposalId
from consensus.core.view import View


@dataclass(frozen=True, slots=True)
class CertifiedDecision:
    """What a certificate shows. Whether `group` is the group that is meant, the reader has to
    know: anybody can found one and certify its decisions."""

    group: bytes
    """The group's id, 32 bytes."""
    founding: Founding
    view: View
    """The view it was decided in."""
    index: int
    """Its place among all decisions of the group, from 1."""
    outcome: Outcome
    kind: str
    body: bytes
    proposer: Member
    answers: tuple[tuple[Member, bytes], ...]
    blobs: tuple[tuple[bytes, int], ...]
    subject: Member | None
    """Who joined, left or was removed, in a decision on that."""
    vouched_by: tuple[Member, ...]
    """Who signed, having delivered it: a quorum of the view numbered `vouched_in`."""
    vouched_in: int
    signed_members: int
    """How many members that view had."""


def verify_certificate_untrusted(data: bytes, verify: Verify) -> CertifiedDecision:
    """What a certificate shows. Raises CertificateError, which says what is wrong with it.

    `verify(key, label, content, signature)` checks an Ed25519 signature. The time it takes grows
    with the group's view changes, by a quorum's signatures each.
    """
    certificate = decode_certificate_untrusted(data)
    founding = decode_founding_untrusted(certificate.founding)
    group = group_id(certificate.founding)
    views, ends = follow(certificate.founding, certificate.links, verify)
    signing = views[-1]
    if certificate.view != signing.number:
        raise CertificateError(
            f"signed in view {certificate.view}, but the view changes lead to view {signing.number}"
        )
    statement = head_statement(group, certificate.view, certificate.position, certificate.head)
    check_signatures(signing, certificate.signatures, HEAD_LABEL, statement, verify)
    head = head_after(certificate.before, certificate.record, certificate.leaves)
    if head != certificate.head:
        raise CertificateError("the decision is not part of what was signed")
    decision = _decision_untrusted(certificate.record)
    _check_place(certificate, decision, views, ends)
    content = decision.content
    return CertifiedDecision(
        group,
        founding,
        views[decision.id.view - 1],
        decision.index,
        decision.outcome,
        content.kind,
        content.body,
        decision.proposer,
        decision.answers,
        content.blobs,
        content.subject,
        tuple(signing.members[rank] for rank, _ in certificate.signatures),
        signing.number,
        len(signing.members),
    )


def _decision_untrusted(record: bytes) -> Decision:
    try:
        fields = decision_untrusted(msgpack.unpackb(record, use_list=False, raw=False))
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError, MessageError) as error:
        raise CertificateError("what was signed is no decision") from error
    (view, clock, proposer), index, content, outcome, answers = fields
    decision = Decision(
        ProposalId(view, clock, proposer), index, content, Outcome(outcome), answers
    )
    if decision_record(decision) != record:
        raise CertificateError("what was signed is no decision, but reads like one")
    return decision


def _check_place(
    certificate: Certificate, decision: Decision, views: list[View], ends: list[int]
) -> None:
    """A signed chain has each decision where its views put it; check it all the same, so that a
    quorum that lies is at least bound to lie consistently."""
    number, index = decision.id.view, decision.index
    if not 1 <= number <= len(views):
        raise CertificateError("the decision is of a view that there was not")
    first = ends[number - 2] if number > 1 else 0
    last = ends[number - 1] if number <= len(ends) else certificate.position
    if not first < index <= last or certificate.position < index:
        raise CertificateError(f"view {number} had no decision {index}")
    if len(certificate.leaves) != certificate.position - index + len(views) - number:
        raise CertificateError("decisions are missing between this one and what was signed")
    members = views[number - 1].members
    if decision.proposer not in members or any(m not in members for m, _ in decision.answers):
        raise CertificateError(f"proposed or answered by somebody who was not in view {number}")
