"""The wheel, installed into an empty environment of each interpreter that is found, where there is
neither a compiler nor npm, and none of the project's folders."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import consensus
from tests.install.building import ROOT, files_below, succeed
from tests.install.conftest import MARK, NESTED
from tests.test_examples import EXPECTED

pytestmark = pytest.mark.timeout(900)

PACKAGES = ("quorate", "consensus", "transport", "utp_native", "scenarios")
MODULES = ("utp_native/_native.abi3.so", "scenarios/native/_worlds.abi3.so")


def python(environment: Path, *arguments: str | Path, cwd: Path) -> str:
    """What it prints; `-I`: neither the working directory nor a variable leads to other modules."""
    command = [environment / "bin" / "python", "-I", *arguments]
    return succeed(command, path=str(cwd / "nowhere"), cwd=cwd, HOME=str(cwd))


def test_its_tag_is_that_of_its_modules(wheel: Path) -> None:
    name = f"quorate-{consensus.__version__}-cp311-abi3-"
    assert wheel.name.startswith(name)
    with zipfile.ZipFile(wheel) as archive:
        assert {one for one in archive.namelist() if one.endswith(".so")} == set(MODULES)


def test_it_carries_every_module_and_every_source_of_the_native_one(
    wheel: Path, project_files: set[str]
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert MARK.encode() in archive.read(MODULES[0])
    assert held == {n for n in project_files if n.split("/")[0] in PACKAGES} | set(MODULES)
    assert NESTED in held


def test_it_passes_on_every_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        headers = Parser().parsestr(archive.read(metadata).decode())
        folder = metadata.replace("METADATA", "licenses/")
        texts = {name: archive.read(folder + name) for name in headers.get_all("License-File", [])}
    assert set(texts) == {"LICENSE", "NOTICE", "third_party/libutp/LICENSE"}
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"BitTorrent" in texts["third_party/libutp/LICENSE"]


def test_everything_imported_comes_from_it(environment: Path, tmp_path: Path) -> None:
    packages = [name for name in PACKAGES if (ROOT / name).is_dir()]
    names = [*packages, "utp_native._native", "scenarios.native._worlds"]
    program = f"""
import sys, {", ".join(names)}
for name, module in sys.modules.items():
    if name.split(".")[0] in {packages} and hasattr(module, "__file__"):
        print(module.__file__)
"""
    said = python(environment, "-c", program, cwd=tmp_path).split()
    assert len(said) > 50
    assert not [file for file in said if not Path(file).is_relative_to(environment)]


def test_the_command_says_its_version(environment: Path, tmp_path: Path) -> None:
    command = environment / "bin" / "quorate"
    said = succeed([command, "--version"], path=str(tmp_path / "nowhere"), cwd=tmp_path)
    assert said == f"quorate {consensus.__version__}\n"


@pytest.mark.parametrize("example", ["blob", "stream"])
def test_two_nodes_decide_and_move_bytes(environment: Path, tmp_path: Path, example: str) -> None:
    """A proposal with a blob, and a channel of a service: both through the native module."""
    script = ROOT / "docs" / "examples" / f"{example}.py"
    assert python(environment, script, cwd=tmp_path).endswith(EXPECTED[example])


def test_the_explorer_needs_no_compiler(environment: Path, tmp_path: Path) -> None:
    said = python(
        environment, "-m", "scenarios", "explore", "two-proposals", "--states", "50", cwd=tmp_path
    )
    assert "two-proposals" in said
    assert not files_below(tmp_path), "something was built"
