"""The pages of docs/changing are followed, each in a copy of the tree, as they are written.

Before a step, with all earlier ones done, each test that it names fails; after the last step all of
them pass, and the linter has nothing to say.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.house.steps import Step, apply, steps_of

ROOT = Path(__file__).parents[2]
CHANGING = ROOT / "docs" / "changing"
PAGES = sorted(path for path in CHANGING.glob("*.md") if path.stem != "index")
COPIED = (
    "benchmarks", "consensus", "docs", "fuzz", "quorate", "scenarios", "tests", "third_party",
    "transport", "utp_native",
)  # fmt: skip
FAILED = {1, 2, 4}
"""pytest's status where a test failed, where its file could not be imported, and where neither it
nor therefore the test was found."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the tests need of the tree, with the native module as it was built."""
    leave = shutil.ignore_patterns("__pycache__", "found", "build")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=leave)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, tmp_path)
    return tmp_path


def run(copy: Path, *arguments: str) -> tuple[int, str]:
    """Python in the copy, with the interpreter that runs this."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def trial(copy: Path, *tests: str) -> tuple[int, str]:
    return run(copy, "-B", "-m", "pytest", "-x", *tests)


def do(copy: Path, step: Step) -> None:
    for edit in step.edits:
        apply(copy, edit)
    for command in step.commands:
        program, *arguments = shlex.split(command)
        assert program == ".venv/bin/python", command
        status, said = run(copy, *arguments)
        assert status == 0, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_who_follows_the_page_arrives(page: Path, copy: Path) -> None:
    status, said = run(copy, "-c", "import consensus; print(consensus.__file__)")
    assert Path(said.strip()).is_relative_to(copy), "the copy is what is tried"
    steps = steps_of(page.read_text())
    assert len(steps) >= 3
    for step in steps:
        for test in step.tests:
            status, said = trial(copy, test)
            assert status in FAILED, f"{test} passes before {step.title!r}:\n{said}"
        do(copy, step)
    status, said = trial(copy, *dict.fromkeys(test for step in steps for test in step.tests))
    assert status == 0, said
    status, said = run(copy, "-m", "ruff", "check", ".")
    assert status == 0, said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_step_but_the_first_names_a_test(page: Path) -> None:
    first, *steps = steps_of(page.read_text())
    assert first.edits
    assert not first.tests, "tests of what is to be done come first, and nothing else"
    assert not [step.title for step in steps if not step.tests]
    assert [int(re.match(r"\d+", step.title)[0]) for step in (first, *steps)] == [  # type: ignore[index]
        *range(1, len(steps) + 2)
    ]


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\]\((.+?)\.md\)", (CHANGING / "index.md").read_text())
    assert sorted(listed) == [page.stem for page in PAGES]
