"""What a sponsor refuses to a joiner that checks nothing itself."""

import time
from dataclasses import replace

import pytest

from consensus import Node, Rejected
from consensus.codec import pack
from consensus.core.evidence.invitation_text import parse_untrusted
from consensus.core.message_kinds import FORMAT
from consensus.groups.invitations import ENQUIRE, JOIN
from tests.support.nodes.nodes import PATIENCE_S, open_nodes
from transport.core.crypto.keys import verify

pytestmark = pytest.mark.anyio


async def ask_in(joiner: Node, sponsor: Node, token: str, question: str) -> object:
    """One of the two questions of a join, without the joiner's own look at the token."""
    joiner.know(sponsor.key, [sponsor.address])
    body = pack({"token": token, "addresses": [list(joiner.address)], "format": FORMAT})
    return await joiner._context.ask_framework(sponsor.key, question, body, PATIENCE_S, PATIENCE_S)


@pytest.mark.parametrize("question", [ENQUIRE, JOIN])
async def test_an_invitation_for_somebody_else(question: str) -> None:
    async with open_nodes(3) as (alice, bob, eve):
        group = await alice.found("board")
        token = group.invite(bob.key)
        with pytest.raises(Rejected, match="another key"):
            await ask_in(eve, alice, token, question)
        assert await ask_in(bob, alice, token, ENQUIRE)
        assert len(group.view.members) == 1


@pytest.mark.parametrize("question", [ENQUIRE, JOIN])
async def test_an_invitation_that_is_over(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_nodes(2) as (alice, eve):
        group = await alice.found("board")
        token = group.invite(expires_in_s=60.0)
        later = time.time() + 61.0
        monkeypatch.setattr("transport.surroundings.time.time", lambda: later)
        with pytest.raises(Rejected, match="expired"):
            await ask_in(eve, alice, token, question)
        assert len(group.view.members) == 1


@pytest.mark.parametrize("question", [ENQUIRE, JOIN])
async def test_an_invitation_with_a_longer_life_written_into_it(question: str) -> None:
    """Signed by whoever shows it, and not by the sponsor."""
    async with open_nodes(2) as (alice, eve):
        group = await alice.found("board")
        mine = parse_untrusted(group.invite(uses=1), verify)
        forged = replace(mine, expires_at=mine.expires_at + 1000).text(eve._context.sign)
        with pytest.raises(Rejected, match="sign"):
            await ask_in(eve, alice, forged, question)
        assert len(group.view.members) == 1
