"""Every script in tests/testdata gives the trace written in it."""

import pytest

from tests.support.scripts.script import TESTDATA, run_script

SCRIPTS = sorted(TESTDATA.glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_script(path):
    expected, result = run_script(path)
    assert result == expected
