"""What looks for citations finds each that is wrong: tried on made-up texts, with prefixes of their
own, so that nothing here is taken for a citation.
"""

from pathlib import Path

import pytest

from tests.support.house.citations import cited, complaints

# Put together here so that this file does not hold what it looks for.
NUMBERED, ON_TWO_LINES, UNPROVED = f"rule {1}", f"Rules\n# {2} to 4", f"an invariant {8}"
ELSEWHERE, BACKWARDS = f"the design, {'section'} 3", f"section 3 of the transport {'design'}"

PREFIXES = {"Z": "docs/z.md", "ZZ": "docs/zz.md"}
TABLES = {
    "docs/z.md": "\n| `Z1` to `Z2` | rules |\n\n- **Z1.** One.\n- **Z2. Two.** More, see ZZ1.\n",
    "docs/zz.md": "\n| `ZZ1` to `ZZ1` | more |\n## 7. It\n| **ZZ1.** Three | why |\n",
}
CODE = {
    "engine/a.py": f"# Counts (Z1): docs/zz.md, {'section'} 7.\n",
    "engine/b.cpp": "// It waits (Z2).\n",
}


def complaints_about(**changes: str) -> list[str]:
    """What is said of the made-up texts; a change replaces a file's text, found by its stem."""
    texts = TABLES | CODE
    texts |= {path: changes[stem] for path in texts if (stem := Path(path).stem) in changes}
    return complaints(texts, PREFIXES, {"Z": "engine/"})


def test_sound_texts_are_sound() -> None:
    assert complaints_about() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"a": '"""Counts (Z1), and Z3."""'}, "engine/a.py:1: Z3 is not defined"),
        ({"zz": TABLES["docs/zz.md"] + "See Z9."}, "docs/zz.md:5: Z9 is not defined"),
        ({"b": "// It waits."}, "engine/: nothing cites Z2"),
        ({"z": TABLES["docs/z.md"] + "- **Z1.** Again.\n"}, "docs/z.md:6: Z1 is defined twice"),
        ({"zz": TABLES["docs/zz.md"] + "**Z3. Astray.**"}, "docs/zz.md:5: Z3 belongs on docs/z.md"),
        (
            {"z": TABLES["docs/z.md"] + "* **Z5.** Far.\n* **Z4.** Late.\n"},
            "docs/z.md:7: Z4 comes after Z5",
        ),
        (
            {"z": TABLES["docs/z.md"] + "- **Z3.** New.\n"},
            "docs/z.md: its table of ids lacks Z1 to Z3",
        ),
        (
            {"a": f"# Z1: docs/zz.md, {'section'} 8"},
            "engine/a.py:1: docs/zz.md has no section 8",
        ),
        (
            {"a": f"# Z1: docs/none.md,\n# {'sections'} 7 to 8"},
            "engine/a.py:1: docs/none.md has no section 7",
        ),
        (
            {"a": f"# Z1, and {NUMBERED} of something"},
            f"engine/a.py:1: {NUMBERED!r} is a number without its prefix",
        ),
        (
            {"a": f"# Z1, and {ON_TWO_LINES}"},
            f"engine/a.py:1: 'Rules # {2}' is a number without its prefix",
        ),
        (
            {"zz": TABLES["docs/zz.md"] + UNPROVED},
            f"docs/zz.md:5: 'invariant {8}' is a number without its prefix",
        ),
        (
            {"a": f"# Z1: {ELSEWHERE}"},
            f"engine/a.py:1: 'design, {'section'}' is a text that is not here",
        ),
        (
            {"a": f"# Z1: {BACKWARDS}"},
            f"engine/a.py:1: {BACKWARDS!r} is a text that is not here",
        ),
    ],
)
def test_what_is_wrong_is_found(changes: dict[str, str], said: str) -> None:
    assert said in complaints_about(**changes)


@pytest.mark.parametrize(
    "text",
    ["0xZ3", "Z3x", "-Z3", "fooZ3", "Z/3", "Z3/4", "Z30a", "Z0", "Z03", "a.Z3", "ruled 3 by", "z3"],
)
def test_what_only_looks_like_a_citation_is_none(text: str) -> None:
    assert [found.id for found in cited({"a.py": text}, PREFIXES)] == []
    assert complaints_about(a=f"# Z1 {text}") == []


def test_ids_are_found_in_prose_and_told_apart() -> None:
    text = "Z1, (ZZ1) and `Z2`: Z1-like, Z2.\nZZ12"
    found = [(one.id, one.line) for one in cited({"a.py": text}, PREFIXES)]
    assert found == [("Z1", 1), ("ZZ1", 1), ("Z2", 1), ("Z1", 1), ("Z2", 1), ("ZZ12", 2)]
