"""The pages of docs/decisions have one form, are numbered without a gap, and stand in the index."""

import re
from itertools import count
from pathlib import Path

DECISIONS = Path(__file__).parents[1] / "docs" / "decisions"
PARTS = ["Context", "Decision", "Consequences", "What would change our mind"]
OPTIONAL = {"Figures"}
WORDS_MAX = 600
"""A page: what takes longer to say belongs where it is explained."""


def pages() -> list[Path]:
    return sorted(DECISIONS.glob("0*.md"))


def test_every_page_says_what_was_decided_why_and_what_would_change_it() -> None:
    found = {page.name: re.findall(r"(?m)^## (.+)$", page.read_text()) for page in pages()}
    assert found
    wrong = {
        name: parts
        for name, parts in found.items()
        if [part for part in parts if part not in OPTIONAL] != PARTS
    }
    assert wrong == {}


def test_every_page_is_short() -> None:
    assert [page.name for page in pages() if len(page.read_text().split()) > WORDS_MAX] == []


def test_the_index_lists_every_page_in_its_order_by_its_title() -> None:
    listed = re.findall(
        r"(?m)^\| (\d+) \| \[(.+)\]\((.+)\) \|$", (DECISIONS / "index.md").read_text()
    )
    written = []
    for number, page in zip(count(1), pages(), strict=False):
        title = re.match(r"# (\d+)\. (.+)\n", page.read_text())
        assert title, page.name
        assert page.name.startswith(f"{number:04}-")
        assert title[1] == str(number), page.name
        written.append((title[1], title[2], page.name))
    assert listed == written
