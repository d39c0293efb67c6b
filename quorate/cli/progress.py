"""How far a transfer has come, for people: a bar on a terminal, a line for each tenth elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

BAR_WIDTH = 24
REDRAW_S = 0.1
RATE_SMOOTHING_S = 3.0
"""The rate shown is that of about so many last seconds."""
_UNITS = ("bytes", "KiB", "MiB", "GiB")


def drawn(share: float) -> str:
    """A bar of BAR_WIDTH characters, filled by `share` (0 to 1)."""
    filled = round(BAR_WIDTH * share)
    return "█" * filled + "░" * (BAR_WIDTH - filled)


def size_text(size: float) -> str:
    """A number of bytes for people."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


class Bar:
    """Written to `out` whenever there is something new to see. `now` gives seconds."""

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._now = now
        self._live = out.isatty()
        self._drawn_at = float("-inf")
        self._tenths = 0
        self._last: tuple[float, int] | None = None
        self._rate: float | None = None
        self._open = False

    def show(self, done: int, total: int) -> None:
        """So many bytes of `total` are here."""
        now = self._now()
        share = done / total if total else 1.0
        if self._live and (now >= self._drawn_at + REDRAW_S or done == total):
            self._measure(now, done)
            self._drawn_at = now
            self._open = True
            # The rest of a longer line before it is wiped.
            self._out.write(f"\r{drawn(share)} {self._text(share, done, total)}\x1b[K")
            self._out.flush()
        elif not self._live and int(10 * share) > self._tenths:
            self._measure(now, done)
            self._tenths = int(10 * share)
            self._out.write(self._text(share, done, total) + "\n")
            self._out.flush()

    def end(self) -> None:
        """What is written next begins on a line of its own."""
        if self._open:
            self._out.write("\n")
            self._out.flush()
            self._open = False

    def _measure(self, now: float, done: int) -> None:
        if self._last is not None and now > self._last[0]:
            passed_s = now - self._last[0]
            rate = (done - self._last[1]) / passed_s
            weight = min(1.0, passed_s / RATE_SMOOTHING_S)
            before = rate if self._rate is None else self._rate
            self._rate = before + weight * (rate - before)
        self._last = (now, done)

    def _text(self, share: float, done: int, total: int) -> str:
        text = f"{share:4.0%}  {size_text(done)} of {size_text(total)}"
        if self._rate:
            left_s = round((total - done) / self._rate)
            text += f"  {size_text(self._rate)}/s  {left_s // 60}:{left_s % 60:02} left"
        return text
