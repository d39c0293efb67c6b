"""How far something travels through the code: files, and moves between files, on four trips.

A trip is all that one callback of the event loop does between the socket and whoever waits: the
vote that commits a proposal, up to its caller; a proposal, from its caller to the socket; a
stranger's P1, to the P2 that answers it; the P3 that is admitted, to its P4. Three real nodes on
loopback make them, and the interpreter's profile hook writes down each function of the project that
is entered and left. These figures count; they take no time, and are the same on every machine.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import anyio

from benchmarks.report import options, row
from quorate import Group, Node, NodeConfig, accept

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(str(ROOT / name) + "/" for name in ("consensus", "transport", "utp_native"))


class Step(NamedTuple):
    """A function of the project that was entered, and the file that was left for it."""

    file: str
    function: str


class Trip:
    """Everything between the entry into the project's code and the return to the event loop."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.moves = 0
        """How often reading on means turning to another file: calls and returns alike."""

    @property
    def files(self) -> list[str]:
        """Without repeats, as they are first entered."""
        return list(dict.fromkeys(step.file for step in self.steps))

    def enters(self, file: str, function: str = "") -> bool:
        """Whether it passes a function (or any, of a file)."""
        return any(s.file == file and function in ("", s.function) for s in self.steps)


class Recorder:
    """The profile hook: cuts what runs into trips."""

    def __init__(self) -> None:
        self.trips: list[Trip] = []
        self._stack: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """See `sys.setprofile`."""
        file = frame.f_code.co_filename
        if not file.startswith(PACKAGES):
            return
        if event == "call":
            if not self._stack:
                self.trips.append(Trip())
            trip = self.trips[-1]
            trip.moves += bool(self._stack) and self._stack[-1] != file
            self._stack.append(file)
            trip.steps.append(Step(file.removeprefix(f"{ROOT}/"), frame.f_code.co_qualname))
        elif event == "return" and self._stack:
            self._stack.pop()
            self.trips[-1].moves += bool(self._stack) and self._stack[-1] != file


@contextmanager
def recording() -> Iterator[list[Trip]]:
    """All trips of what is done inside."""
    recorder = Recorder()
    before = sys.getprofile()
    sys.setprofile(recorder)
    try:
        yield recorder.trips
    finally:
        sys.setprofile(before)


ATTEMPTS = 20
VOTE, PROPOSAL, P1, P3 = "a committing vote", "a proposal outward", "a P1", "an admitted P3"
_FROM_SOCKET = Step("transport/endpoint.py", "Endpoint._readable")
_IS: dict[str, Callable[[Trip], bool]] = {
    VOTE: lambda t: (
        t.steps[0] == _FROM_SOCKET and t.enters("consensus/groups/waiters.py", "Waiters.settle")
    ),
    PROPOSAL: lambda t: (
        t.enters("consensus/groups/handle.py", "Group.propose")
        and t.enters("transport/core/peer/transmit.py")
    ),
    P1: lambda t: (
        t.steps[0] == _FROM_SOCKET
        and t.enters("transport/core/responder/challenge.py")
        and not t.enters("transport/core/responder/authentication.py")
    ),
    P3: lambda t: (
        t.steps[0] == _FROM_SOCKET
        and t.enters("transport/core/responder/incoming.py", "Admitted.accept")
    ),
}


async def _gathered(stack: AsyncExitStack) -> Group:
    """A group of three, at its founder."""
    config = NodeConfig(attention_s=0.0)  # who stays awake takes what comes in the same callback
    nodes = [await stack.enter_async_context(Node.open(config=config)) for _ in range(3)]
    for node in nodes:
        node.on("trip")(lambda proposal: accept())
    founder, *joiners = nodes
    group = await founder.found("trips")
    for node in joiners:
        await node.join(group.invite(node.key))
    await group.propose("trip")  # what is worked out once has been
    return group


async def _met(stack: AsyncExitStack) -> tuple[Node, Node]:
    """Two nodes of which one knows where the other is."""
    first, second = [await stack.enter_async_context(Node.open()) for _ in range(2)]
    first.know(second.key, [second.address])
    return first, second


async def walked() -> dict[str, Trip]:
    """The four trips, by name: of each the usual one.

    On a busy machine a datagram may be read in a callback that was about something else. That is
    another trip, so they are made until each was made from where it begins.
    """
    found: dict[str, list[Trip]] = {name: [] for name in _IS}
    for _ in range(ATTEMPTS):
        for trip in await _made():
            for name, is_it in _IS.items():
                if is_it(trip):
                    found[name].append(trip)
        if all(found.values()):
            return {name: _usual(trips) for name, trips in found.items()}
    never = ", ".join(name for name, trips in found.items() if not trips)
    raise LookupError(f"never made: {never}")


async def _made() -> list[Trip]:
    """All trips of a few decisions and of a first contact."""
    async with AsyncExitStack() as stack:
        group = await _gathered(stack)
        with recording() as deciding:
            for _ in range(5):  # what else came with a vote is dealt with in the same callback
                await group.propose("trip")
        first, second = await _met(stack)
        with recording() as meeting:
            await first.connect(second.key)
    return deciding + meeting


def _usual(trips: list[Trip]) -> Trip:
    """The one of middle length."""
    return sorted(trips, key=lambda trip: len(trip.steps))[len(trips) // 2]


def main() -> None:
    """Print a row for each trip and count; `--quick` changes nothing."""
    options(__doc__)
    walk: dict[str, Any] = anyio.run(walked)
    for name, trip in walk.items():
        row("trips", "quorate", f"{name}: files", [len(trip.files)], "")
        row("trips", "quorate", f"{name}: moves between files", [trip.moves], "")
        row("trips", "quorate", f"{name}: functions entered", [len(trip.steps)], "")


if __name__ == "__main__":
    main()
