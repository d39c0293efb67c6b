"""What all tests share."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.upright import all_upright

# By default an example fails that takes a fifth of a second, and a test whose examples are made
# slowly: neither says anything of the code on a machine that others use.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run on both of anyio's backends."""
    return str(request.param)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Processes that tests start can be interrupted, also when a shell that runs the suite in the
    background has had SIGINT ignored, which they would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def upright() -> Iterator[None]:
    """No group of any test sends what an honest receiver would accuse it of."""
    with all_upright():
        yield
