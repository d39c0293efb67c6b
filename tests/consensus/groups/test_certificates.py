"""Certificates of groups of real nodes, and `quorate verify`."""

import json

import anyio
import pytest

from consensus import Node, accept
from consensus.codec import pack
from consensus.core.evidence.certificate import decode_certificate_untrusted
from consensus.core.evidence.founding import CertificateError, group_id
from consensus.core.types import Outcome
from consensus.decision import Accept, reject
from consensus.groups.certificates import Certificates, verify_certificate_untrusted
from quorate.cli.main import main
from tests.support.nodes.nodes import PATIENCE_S, gather_group, open_nodes

pytestmark = pytest.mark.anyio


async def delivered(group, index):
    """Wait until this member has delivered so much: the proposer is the first to know."""
    with anyio.fail_after(PATIENCE_S):
        while group.notary.index < index:
            await group.changed()


async def test_every_member_certifies_what_was_decided():
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        decision = await groups[1].propose("work", {"pay": 5})
        for group in groups:
            await delivered(group, decision.index)
            shown = verify_certificate_untrusted(await group.certificate(decision.index))
            assert shown.group == group.id
            assert (shown.index, shown.outcome) == (decision.index, Outcome.COMMITTED)
            assert shown.proposer.key == nodes[1].key
            assert {member.key for member, _ in shown.answers} == {nodes[0].key, nodes[2].key}
            assert len(shown.vouched_by) >= 2


async def test_a_rejected_decision_is_certified_as_rejected():
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        groups[1].on("work")(lambda proposal: reject("no"))
        decision = await groups[0].propose("work", 1)
        shown = verify_certificate_untrusted(await decision.certificate())
        assert shown.outcome is Outcome.REJECTED


async def test_what_was_decided_in_earlier_views_is_vouched_for_by_the_present_one():
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        decision = await groups[1].propose("work", 1)
        with anyio.fail_after(PATIENCE_S):
            await groups[0].leave()
            while len(groups[2].view.members) > 2:
                await groups[2].changed()
        late = await groups[2].propose("work", 2)
        for group, index in ((groups[1], decision.index), (groups[2], late.index)):
            await delivered(group, index)
            shown = verify_certificate_untrusted(await group.certificate(index))
            assert shown.index == index
            assert shown.vouched_in == 4
            assert {m.key for m in shown.vouched_by} <= {nodes[1].key, nodes[2].key}


async def test_without_a_quorum_there_is_no_certificate():
    """Two of three members refuse to sign: the group's rules ask for two."""
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        decision = await groups[0].propose("work", 1)

        async def refuse(self: Certificates, proposal: object) -> Accept:
            return reject("not today")

        for node in nodes[1:]:
            node._context.handlers["quorate.sign"] = refuse.__get__(node._certificates)
        with pytest.raises(CertificateError, match=r"1 of 3 members signed: no quorum.*not today"):
            await decision.certificate()


async def test_a_false_signature_is_not_taken_for_one():
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes)
        decision = await groups[0].propose("work", 1)
        nodes[1]._context.handlers["quorate.sign"] = lambda proposal: accept(bytes(64))
        shown = verify_certificate_untrusted(await decision.certificate())
        assert {m.key for m in shown.vouched_by} == {nodes[0].key, nodes[2].key}


async def test_strangers_get_no_signatures():
    async with open_nodes(3) as nodes:
        groups = await gather_group(nodes[:2])
        await groups[1].propose("work", 1)
        await delivered(groups[0], 2)
        notary = groups[0].notary
        head = notary.head()
        question = [groups[0].id, head.view, head.position, head.head]
        for body, asker, said in (
            (question, nodes[2], "not a group of both"),
            ([1, 2], nodes[2], "no question"),
            ([groups[0].id, head.view, head.position, bytes(32)], nodes[1], "something else"),
            ([groups[0].id, head.view - 1, 1 << 40, bytes(32)], nodes[1], "not delivered"),
        ):
            with pytest.raises(Exception, match=said):
                await asker._context.ask_framework(
                    nodes[0].key, "quorate.sign", pack(body), 5.0, PATIENCE_S
                )  # fmt: skip


async def test_what_is_not_of_the_group_is_refused():
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        await groups[0].propose("work", 1)
        other = await nodes[0].found("other")
        other.on("work")(lambda proposal: accept())
        decision = await other.propose("work", 1)
        with pytest.raises(CertificateError, match="not a decision of this group"):
            await groups[0].certificate(decision)
        with pytest.raises(CertificateError, match="not known here"):
            await groups[0].certificate(99)


async def test_the_id_of_a_group_commits_to_its_founding():
    async with Node.open(None) as node:
        group = await node.found("board")
        group.on("work")(lambda proposal: accept())
        decision = await group.propose("work", 1)
        founding = decode_certificate_untrusted(await decision.certificate()).founding
        assert group_id(founding) == group.id


@pytest.fixture
async def certificate(tmp_path):
    async with open_nodes(2) as nodes:
        groups = await gather_group(nodes)
        decision = await groups[0].propose("work", {"pay": b"\x01"})
        path = tmp_path / "decision.cert"
        path.write_bytes(await decision.certificate())
        return path, groups[0].id


async def test_verify_shows_a_true_certificate(certificate, capsys):
    path, group = certificate
    assert main(["verify", str(path)]) == 0
    said = capsys.readouterr().out
    assert group.hex() in said
    assert "committed" in said
    assert main(["verify", str(path), "--json", "--group", group.hex()]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["outcome"], shown["body"]) == ("committed", {"pay": "01"})


async def test_verify_refuses_what_is_not_true_and_says_why(certificate, capsys, tmp_path):
    path, _ = certificate
    data = path.read_bytes()
    parts = decode_certificate_untrusted(data)
    forged = {
        "is not over this": parts._replace(head=bytes(32)).encode(),
        "no quorum": parts._replace(signatures=()).encode(),
        "lead to view 1": parts._replace(links=()).encode(),
        "cut off or damaged": data[:-7],
        "no certificate": b"hello",
    }
    for why, altered in forged.items():
        path.write_bytes(altered)
        assert main(["verify", str(path)]) == 1
        assert why in capsys.readouterr().err
    path.write_bytes(data)
    assert main(["verify", str(path), "--group", "00" * 32]) == 1
    assert "another group" in capsys.readouterr().err
    assert main(["verify", str(path), "--group", "xyz"]) == 2
    assert main(["verify", str(tmp_path / "none")]) == 1
