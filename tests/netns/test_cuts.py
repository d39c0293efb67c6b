"""Members in network namespaces whose links are cut, one way or both, and healed."""

from pathlib import Path

import anyio
import pytest

from tests.e2e.accounts import tally
from tests.e2e.fleet import Fleet
from tests.e2e.nemesis import haunt
from tests.e2e.report import Report
from tests.e2e.test_nemesis import STEADY
from tests.support.network.namespaces import Namespaces, available
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(not available(), reason="needs root and network namespaces")


def test_members_whose_links_are_cut(tmp_path: Path) -> None:
    def enough(report: Report, fleet: Fleet) -> bool:
        views = max(child.view for child in fleet.past)
        return report.cuts >= 3 and views >= 4 and tally(fleet.acts(), "reported") >= 30

    with Namespaces(4) as network:
        report = anyio.run(haunt, 2, PATIENCE_S, tmp_path, network, 4, STEADY, enough)
    print(report)
    assert report.cuts >= 3
    assert report.views >= 4
    assert report.committed >= 30
