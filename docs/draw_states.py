"""Draws the state tables of `transport.core.handshake.states` into `docs/protocol/handshake.md`.

`python docs/draw_states.py` writes them; with `--check` it only says whether they are up to date.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from transport.core.handshake.states import (
    INITIATOR,
    PROBING_INITIATOR,
    PROBING_RESPONDER,
    REKEYING,
    RESPONDER,
    Step,
)

PAGE = Path(__file__).parent / "protocol" / "handshake.md"
BEGIN = "<!-- drawn by docs/draw_states.py: do not edit -->\n"
END = "<!-- end of what is drawn -->\n"


def diagram(steps: Iterable[Step]) -> str:
    """One machine, in the notation of Mermaid; what is sent comes after the slash."""
    steps = tuple(steps)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {steps[0].state}"]
    for step in steps:
        sends = f" / {step.sends}" if step.sends else ""
        lines.append(f"    {step.state} --> {step.next}: {step.on}{sends}")
    return "\n".join([*lines, "```"])


def grouped(machines: dict[str, tuple[Step, ...]]) -> Iterable[tuple[str, tuple[Step, ...]]]:
    """Machines that are the same step for step are drawn once, under all their names."""
    names: dict[tuple[Step, ...], list[str]] = {}
    for name, steps in machines.items():
        names.setdefault(steps, []).append(name)
    return ((", ".join(group), steps) for steps, group in names.items())


def drawn() -> str:
    """All tables, as they stand between the two marks."""
    parts = []
    for name, steps in grouped(INITIATOR):
        parts.append(f"**Initiator: {name}**\n\n{diagram(steps)}\n")
    for name, steps in grouped(RESPONDER):
        parts.append(f"**Responder, each P3: {name}**\n\n{diagram(steps)}\n")
    parts.append(f"**Simultaneous open, initiator's part**\n\n{diagram(PROBING_INITIATOR)}\n")
    parts.append(f"**Simultaneous open, responder's part**\n\n{diagram(PROBING_RESPONDER)}\n")
    parts.append(f"**Rekeying, the side that starts**\n\n{diagram(REKEYING)}\n")
    return "\n".join(parts)


def redrawn(page: str) -> str:
    """The page with the tables of today. Raises `ValueError` if it lacks the marks."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{drawn()}\n{END}{after}"


def main() -> int:
    """Write, or check."""
    page = PAGE.read_text()
    fresh = redrawn(page)
    if "--check" in sys.argv[1:]:
        return int(fresh != page)
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
