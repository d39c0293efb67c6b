"""Certificates of any origin: what is true is shown, everything else is refused and told why."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.core.evidence.certificate import (
    CERTIFICATE_SIZE_MAX,
    HEAD_LABEL,
    LINK_LABEL,
    MAGIC,
    Certificate,
    Link,
    decode_certificate_untrusted,
    head_after,
    head_statement,
    link_statement,
)
from consensus.core.evidence.chain import KEPT_MAX, decision_record, extended, leaf_of, view_record
from consensus.core.evidence.founding import (
    FOUNDING_SIZE_MAX,
    CertificateError,
    Founding,
    decode_founding_untrusted,
    group_id,
)
from consensus.core.evidence.verify import verify_certificate_untrusted
from consensus.core.messages import LINKS_MAX
from consensus.core.types import Content, Decision, Member, Outcome, ProposalId
from consensus.core.view import View
from tests.support.certificates.certified import IDENTITIES
from transport.core.crypto.keys import verify

MEMBERS = [Member(identity.key, number) for number, identity in enumerate(IDENTITIES)]
A, B, C = MEMBERS[:3]
FOUNDING = Founding("ledger", bytes(32), A, True, 256).encode()
GROUP = group_id(FOUNDING)


def sign(number, label, statement):
    return IDENTITIES[number].sign(label, statement)


def decided(view, index, members, body=b"\x05"):
    proposal = ProposalId(view, 10 + index, members[0])
    answers = ((members[-1], b"\xa2ok"),)
    return Decision(proposal, index, Content("work", body), Outcome.COMMITTED, answers)


class Story:
    """A founds, B joins, C joins; decision 3 is of view 3, decisions 1 and 2 admitted them."""

    def __init__(self, group=GROUP):
        self.views = [View(1, (A,)), View(2, (A, B)), View(3, (A, B, C))]
        self.decisions = [decided(v, v, self.views[v - 1].members) for v in (1, 2, 3)]
        self.heads = [group]
        self.leaves = []
        self.links = []
        for view, decision in zip(self.views, self.decisions, strict=True):
            self.extend(view_record(view))
            self.extend(decision_record(decision))
            if view.number < 3:
                end = self.heads[-1]
                link = Link(16, view.full, self.views[view.number].members[-1], decision.index,
                            end, ())  # fmt: skip
                statement = link_statement(group, view, link)
                signatures = tuple(
                    (rank, sign(rank, LINK_LABEL, statement)) for rank in range(view.number)
                )
                self.links.append(link._replace(signatures=signatures))

    def extend(self, record):
        self.leaves.append(leaf_of(record))
        self.heads.append(extended(self.heads[-1], self.leaves[-1]))

    def certificate(self, index=3, signers=(0, 1), group=GROUP):
        at = 2 * index  # every view has one record before its only decision
        head = self.heads[-1]
        statement = head_statement(group, 3, 3, head)
        return Certificate(
            FOUNDING,
            tuple(self.links),
            3,
            3,
            head,
            tuple((rank, sign(rank, HEAD_LABEL, statement)) for rank in signers),
            self.heads[at - 1],
            decision_record(self.decisions[index - 1]),
            tuple(self.leaves[at:]),
        )


STORY = Story()
GOOD = STORY.certificate()


def check(certificate):
    return verify_certificate_untrusted(certificate.encode(), verify)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_true_certificate_shows_the_decision(index):
    shown = check(STORY.certificate(index))
    assert shown.group == GROUP
    assert shown.founding.name == "ledger"
    assert (shown.index, shown.view) == (index, STORY.views[index - 1])
    assert (shown.kind, shown.body, shown.outcome) == ("work", b"\x05", Outcome.COMMITTED)
    assert shown.proposer == A
    assert shown.answers == ((STORY.views[index - 1].members[-1], b"\xa2ok"),)
    assert (shown.vouched_by, shown.vouched_in, shown.signed_members) == ((A, B), 3, 3)


def refused(certificate, why):
    with pytest.raises(CertificateError, match=why):
        check(certificate)


def test_less_than_a_quorum_is_refused():
    refused(STORY.certificate(signers=(1,)), "1 of 3 members of view 3 signed: no quorum")
    refused(STORY.certificate(signers=()), "0 of 3 members")
    first, second = STORY.links
    partial = second._replace(signatures=second.signatures[1:])
    refused(GOOD._replace(links=(first, partial)), "1 of 2 members of view 2 signed: no quorum")


def test_a_quorum_by_the_casting_vote_is_one_only_where_the_rules_say_so():
    first, second = STORY.links
    casting = second._replace(signatures=second.signatures[:1])
    assert check(GOOD._replace(links=(first, casting))).index == 3
    strict = Founding("ledger", bytes(32), A, False, 256).encode()
    refused(GOOD._replace(founding=strict), "not over this")


def test_a_signature_of_another_is_refused():
    swapped = tuple((rank, other) for (rank, _), (_, other) in
                    zip(GOOD.signatures, GOOD.signatures[::-1], strict=True))  # fmt: skip
    refused(GOOD._replace(signatures=swapped), "rank 0 of view 3. is not over this")
    refused(GOOD._replace(signatures=GOOD.signatures[::-1]), "not in order")
    refused(GOOD._replace(signatures=GOOD.signatures[:1] * 2), "doubled")
    refused(GOOD._replace(signatures=((0, bytes(64)), (3, bytes(64)))), "not in view 3")
    link = STORY.links[1]
    swapped = link._replace(signatures=((0, link.signatures[1][1]), (1, link.signatures[0][1])))
    refused(GOOD._replace(links=(STORY.links[0], swapped)), "rank 0 of view 2")


def test_a_forged_decision_is_refused():
    for forged in (
        STORY.decisions[2]._replace(outcome=Outcome.REJECTED),
        STORY.decisions[2]._replace(index=4),
        STORY.decisions[2]._replace(answers=()),
        STORY.decisions[2]._replace(content=Content("work", b"\x06")),
        STORY.decisions[2]._replace(id=ProposalId(3, 13, B)),
    ):
        refused(GOOD._replace(record=decision_record(forged)), "not part of what was signed")
    forged = GOOD._replace(record=decision_record(decided(3, 3, (A, B, C), b"\x06")))
    head = head_after(forged.before, forged.record, ())
    refused(forged._replace(head=head), "not over this")


def test_reordered_or_left_out_pieces_are_refused():
    early = STORY.certificate(1)
    for leaves in (early.leaves[::-1], early.leaves[1:], (*early.leaves, bytes(32))):
        refused(early._replace(leaves=leaves), "not part of what was signed")
    refused(GOOD._replace(links=tuple(STORY.links[::-1])), "follows view 1")
    refused(GOOD._replace(links=tuple(STORY.links[:1])), "lead to view 2")
    refused(GOOD._replace(links=()), "lead to view 1")
    refused(GOOD._replace(links=(*STORY.links, STORY.links[1])), "view 3")


def test_a_membership_of_ones_own_is_refused():
    """Eve gives herself a view: nobody of the view before has signed it."""
    eve = MEMBERS[9]
    link = STORY.links[0]._replace(joiner=eve, signatures=())
    own = ((0, sign(9, LINK_LABEL, link_statement(GROUP, STORY.views[0], link))),)
    refused(GOOD._replace(links=(link._replace(signatures=own), STORY.links[1])), "view 1")


def test_signatures_for_another_group_view_place_or_purpose_are_refused():
    refused(STORY.certificate(group=bytes(32)), "not over this")
    for statement, label in (
        (head_statement(GROUP, 2, 3, GOOD.head), HEAD_LABEL),
        (head_statement(GROUP, 3, 2, GOOD.head), HEAD_LABEL),
        (head_statement(GROUP, 3, 3, GOOD.head), LINK_LABEL),
    ):
        signatures = tuple((rank, sign(rank, label, statement)) for rank in (0, 1))
        refused(GOOD._replace(signatures=signatures), "not over this")


def test_accepting_in_two_ballots_is_no_quorum():
    """One accepted in ballot 16, another in 32: neither was chosen."""
    first, second = STORY.links
    strict = second._replace(ballot=32)
    other = sign(1, LINK_LABEL, link_statement(GROUP, STORY.views[1], strict))
    mixed = second._replace(signatures=(second.signatures[0], (1, other)))
    refused(GOOD._replace(links=(first, mixed)), "rank 1 of view 2")


def test_another_founding_is_another_group():
    other = Founding("ledger", b"\x01" * 32, A, True, 256).encode()
    refused(GOOD._replace(founding=other), "not over this")
    assert group_id(other) != GROUP


def lying(decision, position=3, view=3, before=None):
    """A certificate that a lying quorum signed, over a chain that makes no sense."""
    record = decision_record(decision)
    head = head_after(before or GOOD.before, record, ())
    statement = head_statement(GROUP, view, position, head)
    signatures = tuple((rank, sign(rank, HEAD_LABEL, statement)) for rank in (0, 1))
    return GOOD._replace(record=record, head=head, position=position, signatures=signatures)


def test_even_a_quorum_that_lies_must_lie_consistently():
    good = STORY.decisions[2]
    refused(lying(good._replace(id=ProposalId(9, 13, A))), "a view that there was not")
    refused(lying(good._replace(id=ProposalId(2, 13, A))), "view 2 had no decision 3")
    refused(lying(good._replace(index=2)), "view 3 had no decision 2")
    refused(lying(good, position=4), "decisions are missing")
    refused(lying(good._replace(id=ProposalId(3, 13, MEMBERS[7]))), "not in view 3")
    refused(lying(good._replace(answers=((MEMBERS[7], b""),))), "not in view 3")


def test_what_is_no_decision_is_refused():
    for record in (b"", b"\xc1", msgpack.packb([1, 2]), view_record(STORY.views[2])):
        head = head_after(GOOD.before, record, ())
        statement = head_statement(GROUP, 3, 3, head)
        signatures = tuple((rank, sign(rank, HEAD_LABEL, statement)) for rank in (0, 1))
        forged = GOOD._replace(record=record, head=head, signatures=signatures)
        refused(forged, "no decision")
    longer = msgpack.packb(msgpack.unpackb(GOOD.record), use_single_float=True)
    assert longer == GOOD.record
    # The same values in a longer form of msgpack: 3 as a 16-bit number.
    record = GOOD.record.replace(b"\x93\x03\x0d", b"\x93\xcd\x00\x03\x0d", 1)
    assert record != GOOD.record
    head = head_after(GOOD.before, record, ())
    statement = head_statement(GROUP, 3, 3, head)
    signatures = tuple((rank, sign(rank, HEAD_LABEL, statement)) for rank in (0, 1))
    refused(GOOD._replace(record=record, head=head, signatures=signatures), "reads like one")


def test_views_that_cannot_be_are_refused():
    first, second = STORY.links
    refused(GOOD._replace(links=(first._replace(kept=0), second)), "no view")
    refused(GOOD._replace(links=(first._replace(kept=2), second)), "no view")
    refused(GOOD._replace(links=(first._replace(joiner=A), second)), "no view")
    refused(GOOD._replace(links=(first, second._replace(end=0))), "ends before it begins")


def test_bounds_of_a_file():
    refused(GOOD._replace(leaves=(bytes(32),) * (KEPT_MAX + 1)), "too many")
    refused(GOOD._replace(links=(STORY.links[0],) * (LINKS_MAX + 1)), "too many view changes")
    refused(GOOD._replace(founding=bytes(FOUNDING_SIZE_MAX + 1)), "too large")
    with pytest.raises(CertificateError, match="too large"):
        decode_certificate_untrusted(MAGIC + bytes(CERTIFICATE_SIZE_MAX))
    with pytest.raises(CertificateError, match="no certificate"):
        decode_certificate_untrusted(b"quorate certificate 2\n")
    with pytest.raises(CertificateError, match="1 to 64 bytes"):
        Founding("n" * 65, bytes(32), A, True, 256).encode()
    with pytest.raises(CertificateError, match="wrong fields"):
        Founding("n", bytes(31), A, True, 256).encode()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_altered_byte_goes_unnoticed(data):
    """A certificate with any byte altered is refused, by the one error there is, unless msgpack
    reads the very same values."""
    good = bytearray(GOOD.encode())
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    try:
        shown = verify_certificate_untrusted(bytes(good), verify)
    except CertificateError:
        return
    assert decode_certificate_untrusted(bytes(good)) == GOOD, shown


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_bytes_of_any_kind_raise_one_error(data, with_magic):
    with pytest.raises(CertificateError):
        verify_certificate_untrusted(MAGIC * with_magic + data, verify)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_a_founding_of_any_bytes_raises_one_error(data):
    try:
        founding = decode_founding_untrusted(data)
    except CertificateError:
        return
    assert founding.view.members == (founding.founder,)
