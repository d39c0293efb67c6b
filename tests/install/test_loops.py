"""Every way of starting a loop with the lowest and the newest anyio that the package allows.

What is installed beside it is left as it is; pip gets these two from wherever it is set up for.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.install.building import ROOT, pip, succeed
from tests.support.loops.program import STARTERS

pytestmark = pytest.mark.timeout(900)


def allowed() -> dict[str, str]:
    """What to ask pip for, by what it is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (named,) = (one for one in project["dependencies"] if one.startswith("anyio"))
    lowest = re.search(r">=([\d.]+)", named)
    assert lowest is not None, named
    return {"lowest": f"anyio=={lowest[1]}", "newest": named}


@pytest.fixture(scope="module", params=["lowest", "newest"])
def anyio_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with that version alone. The lowest needs sniffio, which the tests have."""
    folder = tmp_path_factory.mktemp("anyio")
    command = pip("install", "--quiet", "--no-deps", "--target", folder, allowed()[request.param])
    succeed(command, path=os.environ["PATH"], cwd=folder)
    return folder


@pytest.mark.parametrize("starter", STARTERS)
def test_a_node_runs(starter: str, anyio_folder: Path) -> None:
    (metadata,) = anyio_folder.glob("anyio-*.dist-info")
    version = metadata.name.removeprefix("anyio-").removesuffix(".dist-info")
    command = [sys.executable, "-m", "tests.support.loops.program", starter]
    said = succeed(command, path=os.environ["PATH"], cwd=ROOT, PYTHONPATH=str(anyio_folder))
    assert said.startswith(f"anyio {version}, ")
    assert said.endswith(": all went well\n")
