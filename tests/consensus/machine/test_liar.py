"""One member of four lies, in every way that the messages allow, over its real presence."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from consensus.core.message_kinds import NAMES
from tests.support.liar import ordinary, rare
from tests.support.liar.attack import Attack
from tests.support.liar.liar import SIZE, Liar
from tests.support.liar.ordinary import BYTES, HEAD

ATTACKS = [*ordinary.ATTACKS, *rare.ATTACKS]
PAGE = Path(__file__).resolve().parents[3] / "docs/protocol/attacks.md"
TAKEN_AT_ITS_WORD = "GONE"
"""Who says that it is gone is out, and accused of nothing."""
AS_A_WHOLE = {"VOUCH", "LINK", "CHAIN"}
"""Messages to notaries, which no group acts upon."""


def table() -> str:
    """As the page has it."""
    rows = ["| Message | What the liar sends | What becomes of it |", "| --- | --- | --- |"]
    for each in ATTACKS:
        rows.append(f"| {each.kind} | {each.what} | {outcome(each)} |")
    return "\n".join(rows)


def outcome(attack: Attack) -> str:
    if not attack.out:
        return f"it stays: {attack.because}"
    return "it is out" if attack.kind == TAKEN_AT_ITS_WORD else f"it is out: “{attack.because}”"


def test_the_page_has_the_attacks_that_are_made_here() -> None:
    assert table() in PAGE.read_text(), table()


def test_every_message_is_among_them() -> None:
    kinds = [kind for kind, _ in groupby(ATTACKS, lambda each: each.kind)]
    assert len(kinds) == len(set(kinds)), "those of a kind stand together"
    assert {HEAD, BYTES, *NAMES.values()} - AS_A_WHOLE - {"INSTALL", "EXPELLED"} == set(kinds)
    assert len(ATTACKS) == len({(each.kind, each.what) for each in ATTACKS}) >= 30


@pytest.mark.parametrize("rank", [0, SIZE - 1], ids=["senior", "junior"])
@pytest.mark.parametrize("attack", ATTACKS, ids=[f"{a.kind}: {a.what}" for a in ATTACKS])
def test_the_honest_go_on_together(attack: Attack, rank: int) -> None:
    liar = Liar(rank)
    attack.carry_out(liar)
    assert liar.go_on(out=attack.out), "in time"
    liar.wait(1.0)
    assert liar.stand_together(), "and that lasts"
    assert liar.is_out() == attack.out
    assert liar.wronged() == []
    assert liar.contradictions() == []
    accused = liar.accused()
    assert {name for name, _ in accused} <= {liar.host.name}, "nobody honest is"
    if attack.out and attack.kind != TAKEN_AT_ITS_WORD:
        assert any(attack.because in what for _, what in accused)
    else:
        assert accused == []
