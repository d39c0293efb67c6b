"""The documentation says what is: the list of modules, and every link between pages.

`REWRITE_DOCS=1 pytest tests/test_docs.py` writes docs/modules.md anew.
"""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("quorate", "consensus", "transport", "utp_native", "scenarios", "benchmarks")
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])


def module_list() -> str:
    said = "What each room and each module in it holds, in their own words. A test keeps this true."
    lines = ["# Modules", "", said, ""]
    for room in (room for package in PACKAGES for room in rooms(package)):
        lines += [f"## `{'.'.join(room.relative_to(ROOT).parts)}`", ""]
        lines += [first_line(room / "__init__.py"), "", "| Module | Holds |", "| --- | --- |"]
        for path in sorted(room.glob("*.py")):
            if path.stem != "__init__":
                lines.append(f"| `{path.stem}` | {first_line(path).replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)


def rooms(package: str) -> list[Path]:
    """The folders of a package that are packages themselves, from the top down."""
    return sorted(path.parent for path in (ROOT / package).rglob("__init__.py"))


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def test_the_list_of_modules_is_true() -> None:
    page = ROOT / "docs/modules.md"
    if os.environ.get("REWRITE_DOCS"):
        page.write_text(module_list())
    assert page.read_text() == module_list(), "REWRITE_DOCS=1 pytest tests/test_docs.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
