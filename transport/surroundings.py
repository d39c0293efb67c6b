"""What a node takes from the machine it runs on, as one object.

A node that runs in a simulated world is given another one, and so is a test that wants a clock of
its own. Whoever opens a node chooses it by a context variable, which tasks, timers and worker
threads inherit: nothing has to be handed through a program that knows nothing of it. Nothing else
in `transport` and `consensus` asks the system for randomness or the time.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from transport.core.types import RandomBytes
from transport.udp_socket import bind
from utp_native import Pump
from utp_native.native import has_aes

__all__ = ["REAL", "ClockReader", "MakePump", "Surroundings", "current", "using"]

ClockReader = Callable[[], tuple[float, float, float]]
"""Reads three clocks, in seconds: one that runs on while the machine sleeps, one that does not, and
one that nobody adjusts."""


class MakePump(Protocol):
    """Makes the pump of a bound socket."""

    def __call__(self, fd: int, *, random: RandomBytes, now: float) -> Pump:
        """`fd`: the socket's; `now`: the endpoint's clock, in seconds."""


def _unix_time() -> float:
    return time.time()


def _clock_reader() -> ClockReader | None:
    names = ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC", "CLOCK_MONOTONIC_RAW")
    numbers: list[int | None] = [getattr(time, name, None) for name in names]
    boot, awake, raw = numbers
    if boot is None or awake is None or raw is None:
        return None
    read = time.clock_gettime

    def clocks() -> tuple[float, float, float]:
        return read(boot), read(awake), read(raw)

    try:
        clocks()
    except OSError:
        return None
    return clocks


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The defaults are the real ones. The clock by which a node waits is its event loop's."""

    random: RandomBytes = os.urandom
    """As many bytes as asked for, which nobody can foretell."""
    unix_time: Callable[[], float] = _unix_time
    """Seconds since 1970, as this machine believes."""
    clock_reader: Callable[[], ClockReader | None] = _clock_reader
    """What leases are counted by; None where the system lacks one of the clocks, as all but Linux
    do."""
    bind: Callable[[str], socket.socket] = bind
    """As `transport.udp_socket.bind`."""
    pump: MakePump = Pump
    stays_awake: bool = True
    """Whether an endpoint may look into its socket for a moment instead of sleeping."""
    has_aes: Callable[[], bool] = has_aes
    """Whether this machine has the instructions for AES."""


REAL = Surroundings()
_current: ContextVar[Surroundings] = ContextVar("quorate_surroundings", default=REAL)


def current() -> Surroundings:
    """Those of whoever asks."""
    return _current.get()


@contextmanager
def using(surroundings: Surroundings) -> Iterator[None]:
    """What is opened and started inside has these surroundings."""
    token = _current.set(surroundings)
    try:
        yield
    finally:
        _current.reset(token)
