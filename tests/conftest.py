"""What all tests share."""

import signal

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run on both of anyio's backends."""
    return str(request.param)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Processes that tests start can be interrupted, also when a shell that runs the suite in the
    background has had SIGINT ignored, which they would inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
