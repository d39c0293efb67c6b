"""The documentation says what is: the list of modules, and every link between pages.

`REWRITE_DOCS=1 pytest tests/test_docs.py` writes docs/modules.md anew.
"""

import ast
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "transport/core", "transport", "consensus/core", "consensus", "consensus/demo",
    "utp_native", "scenarios", "scenarios/cases", "benchmarks",
)  # fmt: skip
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])


def module_list() -> str:
    said = "What each module holds, in its own words. A test keeps this true."
    lines = ["# Modules", "", said, ""]
    for package in PACKAGES:
        lines += [f"## `{package.replace('/', '.')}`", "", "| Module | Holds |", "| --- | --- |"]
        for path in sorted((ROOT / package).glob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text())) or ""
            if path.stem != "__init__":
                lines.append(f"| `{path.stem}` | {said.splitlines()[0].replace('|', '/')} |")
        lines.append("")
    return "\n".join(lines)


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
