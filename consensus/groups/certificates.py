"""Certificates of a node's groups: asking the members for signatures, and giving one's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
from anyio import to_thread

from consensus.codec import pack, unpack_untrusted
from consensus.core import types as core
from consensus.core.errors import ConsensusError
from consensus.core.evidence.certificate import HEAD_LABEL
from consensus.core.evidence.founding import CertificateError
from consensus.core.evidence.notary import Draft
from consensus.core.evidence.verify import CertifiedDecision
from consensus.core.evidence.verify import verify_certificate_untrusted as verify_with
from consensus.core.numbers import Index, ViewNumber
from consensus.decision import Accept, Proposal, Reject, accept, reject
from consensus.groups.handle import CERTIFY_TIMEOUT_S, Group
from consensus.node_context import NodeContext
from transport.core.crypto.keys import verify

SIGN = "quorate.sign"
SIGN_DEADLINE_S = 5.0
"""What a member that is behind is granted to deliver what it is to sign."""


def verify_certificate_untrusted(data: bytes) -> CertifiedDecision:
    """What a certificate of any origin shows, without any network.

    Raises CertificateError, which says what is wrong. It is the caller who knows which `group` he
    means: the certificate shows that this one decided it.
    """
    return verify_with(data, verify)


def described(shown: CertifiedDecision) -> dict[str, Any]:
    """What a certificate shows as plain values; keys and ids in hexadecimal digits."""
    return {
        "group": shown.group.hex(),
        "name": shown.founding.name,
        "founder": shown.founding.founder.key.hex(),
        "view": shown.view.number,
        "members": [member.key.hex() for member in shown.view.members],
        "index": shown.index,
        "outcome": shown.outcome.name.lower(),
        "kind": shown.kind,
        "body": _plain(shown.body),
        "proposer": shown.proposer.key.hex(),
        "answers": {member.key.hex(): _plain(answer) for member, answer in shown.answers},
        "blobs": [{"root": root.hex(), "size": size} for root, size in shown.blobs],
        "subject": None if shown.subject is None else shown.subject.key.hex(),
        "vouched_in": shown.vouched_in,
        "vouched_by": [member.key.hex() for member in shown.vouched_by],
        "vouched_of": shown.signed_members,
    }


def in_words(shown: CertifiedDecision) -> str:
    """What a certificate shows, for reading. Text of others is shown escaped."""
    facts = described(shown)
    lines = [
        f"group     {facts['name']!r} {facts['group']}",
        f"founded   by {facts['founder']}",
        f"decision  {shown.index}, in view {shown.view.number} ({len(shown.view.members)} members)",
        f"outcome   {facts['outcome']}",
        f"kind      {shown.kind!r}",
        f"body      {json.dumps(facts['body'])}",
        f"proposer  {facts['proposer']}",
    ]
    lines += [f"answer    {who}: {json.dumps(said)}" for who, said in facts["answers"].items()]
    lines += [f"blob      {blob['root']} ({blob['size']} bytes)" for blob in facts["blobs"]]
    if facts["subject"] is not None:
        lines.append(f"subject   {facts['subject']}")
    vouched = f"{len(shown.vouched_by)} of {shown.signed_members} members of view"
    lines.append(f"vouched   by {vouched} {shown.vouched_in}, a quorum:")
    lines += [f"          {key}" for key in facts["vouched_by"]]
    return "\n".join(lines)


def _plain(data: bytes) -> Any:
    """A value that JSON can carry; bytes become text in hexadecimal digits."""
    try:
        value = unpack_untrusted(data)
        json.dumps(value, default=_hex, allow_nan=False)
    except (ConsensusError, TypeError, ValueError, RecursionError):
        return {"packed": data.hex()}
    return json.loads(json.dumps(value, default=_hex))


def _hex(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(type(value).__name__)


class Certificates:
    """One node's part in certificates."""

    def __init__(self, context: NodeContext, groups: Mapping[int, Group]) -> None:
        self._context = context
        self._groups = groups

    async def gather(
        self, group: Group, decision: core.Decision, timeout_s: float
    ) -> bytes:
        """The certificate of a decision of the group: asks all members, needs a quorum of them.

        Raises CertificateError when it cannot be shown how the group's views came about, the
        decision is too old, or fewer than a quorum sign in time.
        """
        notary = group.notary
        if notary is None:
            raise CertificateError("this group keeps no evidence")
        draft = notary.draft(decision)
        signatures: dict[int, bytes] = {}
        refusals: list[str] = []
        with anyio.move_on_after(timeout_s):
            async with anyio.create_task_group() as tasks:

                async def one(rank: int, member: core.Member) -> None:
                    try:
                        signature = await self._signature(draft, member)
                    except (ConsensusError, TimeoutError) as error:
                        refusals.append(f"{member.key.hex()[:16]}: {error}")
                        return
                    signatures[rank] = signature
                    if draft.members.is_quorum(sum(1 << r for r in signatures)):
                        tasks.cancel_scope.cancel()

                for rank, member in enumerate(draft.members.members):
                    tasks.start_soon(one, rank, member)
        if not draft.members.is_quorum(sum(1 << r for r in signatures)):
            size = len(draft.members.members)
            what = f"{len(signatures)} of {size} members signed: no quorum"
            raise CertificateError("; ".join([what, *refusals]))
        data = draft.signed(tuple(sorted(signatures.items())))
        # Checked as a stranger will check it; thousands of view changes take a while.
        await to_thread.run_sync(verify_certificate_untrusted, data)
        return data

    async def _signature(self, draft: Draft, member: core.Member) -> bytes:
        statement = draft.statement()
        if member.key == self._context.key:
            return self._context.sign(HEAD_LABEL, statement)
        wanted = draft.certificate
        question = pack([draft.group, wanted.view, wanted.position, wanted.head])
        answer = await self._context.ask_framework(
            member.key, SIGN, question, SIGN_DEADLINE_S, CERTIFY_TIMEOUT_S
        )
        if type(answer) is not bytes or not verify(member.key, HEAD_LABEL, statement, answer):
            raise CertificateError("the answer is not its signature")
        return answer

    async def sign(self, proposal: Proposal) -> Accept | Reject:
        """Handler: a member of a group of this node wants a head signed. What was not delivered
        yet is waited for until shortly before the deadline."""
        match proposal.body:
            case [bytes() as group_id, int() as view, int() as index, bytes() as head]:
                pass
            case _:
                return reject("no question")
        group = self._group(group_id, proposal.proposer)
        if group is None or group.notary is None:
            return reject("not a group of both of us")
        try:
            with anyio.move_on_after(SIGN_DEADLINE_S * 0.8):
                while True:
                    signature = group.notary.sign_head(ViewNumber(view), Index(index), head)
                    if signature is not None:
                        return accept(signature)
                    if group.ended is not None or group.notary.index > index + 1:
                        break
                    await group.changed()
        except CertificateError as error:
            return reject(str(error))
        return reject("not delivered here as a member of that view")

    def _group(self, group_id: bytes, asker: bytes) -> Group | None:
        for group in self._groups.values():
            if group.ended is None and group.id == group_id and asker in group.peers():
                return group
        return None
