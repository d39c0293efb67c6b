"""Evidence: whatever happens to a group, its members can show how it came to be what it is."""

import pytest

from consensus.core.engine.group import Group
from consensus.core.evidence.chain import KEPT_MAX
from consensus.core.evidence.founding import CertificateError, Founding, group_id
from consensus.core.evidence.notary import EVIDENCE_MAX, Notary
from consensus.core.evidence.verify import verify_certificate_untrusted
from consensus.core.message_kinds import CHAIN, LINK, VOUCH
from consensus.core.messages import LINKS_MAX
from consensus.core.outputs import Decided, Installed
from consensus.core.types import Content, Decision, Member, Outcome, ProposalId
from consensus.core.view import View
from tests.support.certificates.certified import IDENTITIES, CertifiedSchedule
from tests.support.messages import message as said
from tests.support.scripts.reported import Violation
from transport.core.crypto.keys import verify

FOUNDER = Member(IDENTITIES[1].key, 1)

# (members, casting vote, many changes, schedules, steps)
BLOCKS = [
    (2, True, False, 25, 120),
    (3, True, False, 25, 120),
    (3, False, True, 40, 40),
    (4, True, True, 40, 50),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: "-".join(str(part) for part in b))
def test_who_is_left_can_certify_everything_it_remembers(block):
    """Crashes, partitions, kicks, leaves and joins: those at rest in the newest view have one
    head, know every view's proof, and make certificates that verify."""
    size, casting_vote, changes, count, steps = block
    certified = views = 0
    for seed in range(count):
        schedule = CertifiedSchedule(seed, casting_vote=casting_vote, changes=changes)
        try:
            schedule.grow(size)
            schedule.run(steps)
        except Violation as error:
            raise AssertionError(f"seed {seed} of {block}") from error
        active = schedule.active()
        assert len({schedule.notaries[m].head() and schedule.notaries[m].head().head
                    for m in active}) <= 1, f"seed {seed}"  # fmt: skip
        for member in active:
            assert schedule.notaries[member].whole, f"seed {seed}"
            own = schedule.decisions[member]
            for decision in own[1:2] + own[-1:]:
                shown = verify_certificate_untrusted(schedule.certificate(member, decision), verify)
                assert shown.group == group_id(schedule.founding)
                assert (shown.index, shown.outcome) == (decision.index, decision.outcome)
                assert (shown.kind, shown.body) == (decision.kind, decision.body)
                assert shown.view.members == schedule.reported.views.get(shown.view.number)
                certified += 1
        views += len(schedule.reported.views)
    assert certified > count  # the schedules do leave somebody who can certify,
    assert views > size * count  # after changes


def notary(own=True, identity=IDENTITIES[1]):
    founding = Founding("group", bytes(32), FOUNDER, True, 256).encode()
    return Notary(
        Member(identity.key, 1), group_id(founding), founding if own else None,
        identity.sign, verify,
    )  # fmt: skip


def decision(index, view=1):
    content = Content("app", b"%d" % index)
    return Decision(ProposalId(view, index, FOUNDER), index, content, Outcome.COMMITTED)


def alone(decisions):
    """The notary of a founder alone after that many decisions."""
    found = notary()
    found.accompany([Installed(View(1, (FOUNDER,)))])
    found.accompany([Decided(decision(index), None) for index in range(1, decisions + 1)])
    return found


def test_a_member_signs_only_what_it_has_delivered():
    found = alone(3)
    head = found.head()
    assert found.sign_head(1, 3, head.head) is not None
    assert found.sign_head(1, 4, head.head) is None
    assert found.sign_head(2, 3, head.head) is None
    with pytest.raises(CertificateError, match="something else"):
        found.sign_head(1, 2, head.head)


def test_a_joiner_signs_nothing_of_views_it_was_not_in():
    schedule = CertifiedSchedule(1)
    schedule.grow(2)
    joiner = schedule.active()[1]
    place = schedule.notaries[joiner].head()
    assert schedule.notaries[joiner].sign_head(place.view, place.position, place.head)
    first = schedule.notaries[schedule.active()[0]]
    before = first._chain.at(1, 1)
    assert first.sign_head(1, 1, before.head) is not None
    assert schedule.notaries[joiner].sign_head(1, 1, before.head) is None


def test_what_is_too_old_is_not_certified():
    found = alone(KEPT_MAX + 1)
    with pytest.raises(CertificateError, match="too old"):
        found.draft(decision(1))
    draft = found.draft(decision(2))
    signature = found.sign_head(1, 2, draft.certificate.head)
    assert verify_certificate_untrusted(draft.signed(((0, signature),)), verify).index == 2
    assert found.draft(decision(KEPT_MAX + 1)).certificate.position == KEPT_MAX + 1
    with pytest.raises(CertificateError, match="outcome"):
        found.draft(decision(3)._replace(outcome=Outcome.UNKNOWN))


def test_a_joiner_without_evidence_says_so():
    found = notary(own=False, identity=IDENTITIES[2])
    found.accompany([Installed(View(2, (FOUNDER, Member(IDENTITIES[2].key, 1))))])
    assert not found.whole
    with pytest.raises(CertificateError, match="not known here"):
        found.draft(decision(1, view=2))


def test_what_others_send_is_bounded():
    """Vouches and links of later views are kept for two views of members and no more."""
    found = alone(1)
    link = (16, 1, None, 1, bytes(32), ())
    for number in range(2 * EVIDENCE_MAX):
        stranger = Member(bytes([number]) * 32, number)
        found.receive(stranger, said(VOUCH, 1, 0, 0, 16, bytes(64)))
        found.receive(stranger, said(LINK, 1, 0, 0, link))
    assert len(found._vouches) <= EVIDENCE_MAX
    assert len(found._offered) <= EVIDENCE_MAX


def test_garbage_in_vouches_does_not_hide_a_quorum_of_good_ones():
    schedule = CertifiedSchedule(2)
    schedule.grow(3)
    first, second, third = schedule.active()
    view = schedule.lives[first].group.view
    schedule.notaries[first].receive(third, said(VOUCH, view.number, 0, 0, 1 << 20, bytes(64)))
    schedule.lives[second].group.leave()
    schedule.drain(second)
    schedule.heal()
    assert schedule.lives[first].group.view.number == view.number + 1
    assert schedule.notaries[first].whole


def test_a_false_chain_is_no_evidence():
    """A sponsor that sends another group's founding leaves its joiner without evidence."""
    schedule = CertifiedSchedule(3)
    schedule.grow(2)
    other = Founding("other", bytes(32), FOUNDER, True, 256).encode()
    joiner = schedule.name()
    sponsor = schedule.active()[0]
    schedule.add(joiner, Group.joining(joiner, sponsor, schedule.config))
    real = schedule.notaries[joiner].receive

    def altered(sender, message):
        real(sender, message._replace(founding=other) if message.kind == CHAIN else message)

    schedule.notaries[joiner].receive = altered
    schedule.lives[sponsor].group.sponsor(joiner, b"")
    schedule.drain(sponsor)
    schedule.heal()
    assert joiner in schedule.active()
    assert not schedule.notaries[joiner].whole


def test_evidence_ends_with_its_bound(monkeypatch):
    monkeypatch.setattr("consensus.core.evidence.notary.LINKS_MAX", 2)
    schedule = CertifiedSchedule(4)
    schedule.grow(3)
    assert all(schedule.notaries[m].whole for m in schedule.active())
    schedule.grow(4)
    assert not any(schedule.notaries[m].whole for m in schedule.active())
    assert LINKS_MAX == 4096
