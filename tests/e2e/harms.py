"""What the nemesis does to members: stops, sleeps, kills, cuts, disks that hang or are full, and
files that are put back."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from tests.e2e.fleet import Child, Fleet
from tests.e2e.report import Report
from tests.support.network.namespaces import Namespaces

STOP_S = (0.05, 4.0)
FALLING_ASLEEP_S = 0.02
"""Until a process that was sent SIGSTOP has surely stopped."""
CUT_S = (0.2, 6.0)
HANG_S = (0.2, 8.0)
FULL_S = (0.2, 3.0)
AGE_S = (0.1, 3.0)
"""How much older than the last one a file is that is put back."""
PAUSE_S = (0.1, 0.8)
ALL_PAUSE_S = (5.0, 10.0)

Deed = Callable[[int, Child], Coroutine[Any, Any, None]]
"""What is done to a member, for a while."""


class Harms:
    """Two members at a time are harmed, of those whose harm leaves a quorum unharmed."""

    def __init__(
        self, drawn: random.Random, fleet: Fleet, network: Namespaces | None, report: Report
    ) -> None:
        self.harmed: set[int] = set()
        """Members that are harmed at the moment."""
        self._random = drawn
        self._fleet = fleet
        self._network = network
        self._report = report
        self._healing = False
        deeds: list[Deed] = [self._stop, self._stop, self._sleep, self._kill]
        if network is not None:
            deeds += [self._cut, self._cut, self._unplug]
        if fleet.mode.durable:
            deeds += [self._hang, self._put_back]
            if fleet.can_fill:
                deeds.append(self._fill)
        self._deeds = deeds

    def jobs(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What is to run until it is enough."""
        return [self._harm, self._harm, *([self._harm_all] if self._fleet.mode.durable else [])]

    def heal(self) -> None:
        """Nobody is harmed from here on, and who is stopped goes on."""
        self._healing = True
        self.harmed.clear()
        for child in self._fleet.lives:
            if child is not None and child.stopped:
                child.signal(signal.SIGCONT)

    def _victim(self) -> int | None:
        """Somebody whose harm leaves more than half of the newest view unharmed."""
        standing = self._fleet.standing()
        if not standing or self._healing:
            return None
        view = standing[0].members
        sound = [
            member
            for member, child in enumerate(self._fleet.lives)
            if member not in self.harmed and child is not None
            and child.in_group and child.key in view
        ]  # fmt: skip
        if 2 * (len(sound) - 1) <= len(view):
            return None
        return self._random.choice(sound)

    async def _harm(self) -> None:
        while True:
            await anyio.sleep(self._random.uniform(*PAUSE_S))
            victim = self._victim()
            if victim is None:
                continue
            child = self._fleet.lives[victim]
            assert child is not None
            self.harmed.add(victim)
            try:
                await self._random.choice(self._deeds)(victim, child)
            finally:
                self.harmed.discard(victim)

    async def _stop(self, _: int, child: Child) -> None:
        self._report.stops += 1
        child.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(self._random.uniform(*STOP_S))
        finally:
            child.signal(signal.SIGCONT)

    async def _sleep(self, _: int, child: Child) -> None:
        """As `_stop`, but the clock that the member goes by has not counted it."""
        self._report.sleeps += 1
        child.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(FALLING_ASLEEP_S)
            before = time.monotonic()
            await anyio.sleep(self._random.uniform(*STOP_S))
            child.clocks.sleep(time.monotonic() - before)
        finally:
            child.signal(signal.SIGCONT)

    async def _kill(self, _: int, child: Child) -> None:
        self._report.kills += 1
        child.signal(signal.SIGKILL)
        await anyio.sleep(self._random.uniform(0.0, 2.0))

    async def _harm_all(self) -> None:
        """All at once, whatever they are doing."""
        while True:
            await anyio.sleep(self._random.uniform(*ALL_PAUSE_S))
            self._report.kills_of_all += 1
            everybody = set(range(self._fleet.number)) - self.harmed
            self.harmed |= everybody
            for child in self._fleet.lives:
                if child is not None:
                    child.signal(signal.SIGKILL)
            await anyio.sleep(self._random.uniform(0.0, 0.5))
            self.harmed -= everybody

    async def _cut(self, victim: int, _: Child) -> None:
        assert self._network is not None
        others = [member for member in range(self._fleet.number) if member != victim]
        other, both = self._random.choice(others), self._random.random() < 0.5
        self._report.cuts += 1
        self._network.cut(victim, other)
        if both:
            self._network.cut(other, victim)
        try:
            await anyio.sleep(self._random.uniform(*CUT_S))
        finally:
            self._network.mend(victim, other)
            self._network.mend(other, victim)

    async def _unplug(self, victim: int, _: Child) -> None:
        assert self._network is not None
        self._report.cuts += 1
        self._network.unplug(victim)
        try:
            await anyio.sleep(self._random.uniform(*CUT_S))
        finally:
            self._network.plug(victim)

    # Disks.

    async def _hang(self, victim: int, _: Child) -> None:
        """Whoever waits for the disk waits for as long as this."""
        self._report.hangs += 1
        with self._fleet.hanging_disk(victim):
            await anyio.sleep(self._random.uniform(*HANG_S))

    async def _fill(self, victim: int, child: Child) -> None:
        """Somebody else has taken all the room. The node ends, and can begin again once there is
        some."""
        self._report.fills += 1
        with self._fleet.full_disk(victim):
            child.is_full = True
            await anyio.sleep(self._random.uniform(*FULL_S))

    async def _put_back(self, victim: int, child: Child) -> None:
        """A copy is made, the member goes on and is killed, and its next process has the copy."""
        self._report.files_put_back += 1
        child.signal(signal.SIGSTOP)
        try:
            await anyio.sleep(FALLING_ASLEEP_S)
            self._fleet.copy_files(victim)
        finally:
            child.signal(signal.SIGCONT)
        await anyio.sleep(self._random.uniform(*AGE_S))
        if child is not self._fleet.lives[victim]:
            return  # All were killed meanwhile.
        await child.end()
        self._fleet.put_files_back(victim)
