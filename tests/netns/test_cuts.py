"""Members in network namespaces whose links are cut, one way or both, and healed."""

from pathlib import Path

import anyio
import pytest

from tests.e2e.nemesis import haunt
from tests.support.network.namespaces import Namespaces, available

pytestmark = pytest.mark.skipif(not available(), reason="needs root and network namespaces")


def test_members_whose_links_are_cut(tmp_path: Path) -> None:
    with Namespaces(4) as network:
        report = anyio.run(haunt, 2, 5.0, tmp_path, network, 4)
    print(report)
    assert report.cuts >= 1
    assert report.views >= 4
    assert report.committed >= 30
