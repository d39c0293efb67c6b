"""Every command that CONTRIBUTING.md names is there: targets, files, modules, options, tests."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from quorate.cli.main import main as quorate
from scenarios.cases import CASES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "CONTRIBUTING.md"
LINES_MAX = 90
"""A page."""


def commands() -> list[list[str]]:
    """Each line of the page's blocks as the shell takes it apart, without its comment."""
    blocks = re.findall(r"```\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [shlex.split(line, comments=True) for line in "".join(blocks).splitlines() if line]


COMMANDS = commands()


def of(*begin: str) -> list[list[str]]:
    """What follows in those commands that begin so, variables left out."""
    plain = [[word for word in one if not re.match(r"[A-Z_]+=", word)] for one in COMMANDS]
    return [one[len(begin) :] for one in plain if one[: len(begin)] == list(begin)]


PYTHON = ".venv/bin/python"


def test_every_command_is_of_a_kind_that_is_held_here() -> None:
    held = [*of("make"), *of(PYTHON), *of(".venv/bin/quorate")]
    assert len(held) == len(COMMANDS) > 15
    assert len(PAGE.read_text().splitlines()) <= LINES_MAX


def test_make_has_the_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"(?m)^\.PHONY: ((?:.*\\\n)*.*)$", makefile)
    assert declared
    assert {target for target, *_ in of("make")} <= set(declared[1].split())
    told = re.findall(r'@echo "make (\w+)', makefile)
    assert {*told, "setup-dev"} >= {target for target, *_ in of("make")}


@pytest.mark.parametrize(
    "words", [w for w in of(PYTHON) if w[0] != "-m"], ids=lambda words: " ".join(words)
)
def test_a_script_is_there(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file()


MODULES = [words[1:] for words in of(PYTHON) if words[0] == "-m"]


@pytest.mark.parametrize("words", MODULES, ids=lambda words: " ".join(words))
def test_a_module_is_there_and_has_the_options(words: list[str]) -> None:
    if words[0] == "cProfile":
        assert words[1:4] == ["-s", "tottime", "-m"]
        words = words[4:]
    if words[0] == "pytest":
        return
    spec = importlib.util.find_spec(words[0])
    assert spec
    assert spec.origin
    assert "__main__" in Path(spec.origin).read_text()
    for option in (word for word in words[1:] if word.startswith("--")):
        assert f'"{option}"' in options_of(Path(spec.origin).read_text()), option


def options_of(source: str) -> str:
    """A command's options stand in its module, or in the one it takes them from."""
    return source + (ROOT / "benchmarks/report.py").read_text()


@pytest.mark.parametrize(
    "words", [w for w in MODULES if w[0] == "pytest"], ids=lambda words: " ".join(words)
)
def test_a_test_that_is_named_can_be_collected(words: list[str]) -> None:
    files = [ROOT / word for word in words if word.startswith("tests/")]
    assert files
    assert all(file.is_file() for file in files)
    if "-k" in words:
        assert f"def test_{words[words.index('-k') + 1]}(" in files[0].read_text()


@pytest.mark.parametrize("words", of(".venv/bin/quorate"), ids=lambda words: " ".join(words))
def test_the_command_has_the_verb_and_the_options(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for word in words if word.startswith("--")]
    verbs = words[:2]
    with pytest.raises(SystemExit):
        quorate([*verbs, "--help"])
    told = capsys.readouterr().out
    assert not [option for option in options if option not in told]
    assert words[1] != "explore" or words[2] in CASES


@pytest.mark.parametrize("variable", ["REWRITE_SCRIPTS", "REWRITE_DOCS"])
def test_what_is_rewritten_reads_the_variable(variable: str) -> None:
    assert [one for one in COMMANDS if one[0] == f"{variable}=1"]
    readers = [*ROOT.glob("tests/support/scripts/*.py"), ROOT / "tests/test_docs.py"]
    assert [path for path in readers if f'"{variable}"' in path.read_text()]
