"""The tables of rules in docs/protocol name tests that are there, and say so in one form."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGES = TESTS.parents[1] / "docs" / "protocol"
HEADING = "Rules and the tests that show them"


def rules(page: str) -> list[tuple[str, str, str]]:
    """Rule, what it prevents, and its test: the rows of the page's table."""
    _, _, section = (PAGES / page).read_text().partition(f". {HEADING}\n")
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert [cell.strip() for cell in rows[0]] == ["Rule", "Prevents", "Test"]
    return [(rule.strip(), prevents.strip(), test.strip()) for rule, prevents, test in rows[2:]]


def named_in(path: Path) -> set[str]:
    """The test functions of a file."""
    return {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    }


@pytest.mark.parametrize(("page", "least"), [("handshake.md", 45), ("presence.md", 35)])
def test_every_test_that_a_rule_names_is_there(page: str, least: int) -> None:
    found = rules(page)
    assert len(found) >= least
    missing = []
    for rule, prevents, test in found:
        assert rule
        assert prevents
        named = re.fullmatch(r"`([\w/]+\.py)::(\w+)`", test)
        assert named, test
        path = TESTS / named[1]
        if not path.exists() or named[2] not in named_in(path):
            missing.append(test)
    assert missing == []


def test_every_attack_without_its_rule_is_named() -> None:
    named = {test for page in ("handshake.md", "presence.md") for _, _, test in rules(page)}
    for path in TESTS.rglob("test_attacks*.py"):
        for name in named_in(path):
            if "_would_" in name:
                assert f"`{path.relative_to(TESTS)}::{name}`" in named, name
