"""Has every group of this process write its history to a file, before anything it says leaves."""

from pathlib import Path
from typing import Any, cast

from consensus import machine
from consensus.core.outputs import Output
from scenarios.history import Wedged, write_line
from scenarios.recorder import Recorder

SAID_KEPT = 512
"""Votes remembered so that none is written twice."""


def record_groups(path: Path) -> None:
    """From now on; views of two of `ask` are left out."""
    log = path.open("a", encoding="utf-8")
    shipped = machine.Group

    class RecordedGroup(shipped):  # type: ignore[misc, valid-type]
        """The shipped engine; what it puts out passes by here on its way to the machine."""

        def poll(self) -> list[Output]:
            outputs = cast(list[Output], super().poll())
            if outputs and self.config.ordered:
                if "history_recorder" not in self.__dict__:
                    self.history_recorder = Recorder(self.me)
                self.write_history(outputs)
            return outputs

        def write_history(self, outputs: list[Output]) -> None:
            recorder = self.history_recorder
            lines = [write_line(recorder.member, event) for event in recorder.take(outputs)]
            if lines:
                # One write to the kernel: it outlives the process, however that ends.
                log.write("\n".join(lines) + "\n")
                log.flush()
            recorder.reports = ()
            if len(recorder.said) > SAID_KEPT:
                here = max(recorder.views, default=0)
                recorder.said = frozenset(e for e in recorder.said if _is_of(e, here))

    machine.Group = RecordedGroup  # type: ignore[misc]


def _is_of(event: Any, view: int) -> bool:
    if isinstance(event, Wedged):
        return event.view >= view
    return bool(event.id.view == view)
