"""Space-time diagrams: a column for each member, time downwards, messages as arrows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Moment", "as_svg", "as_text"]

COLUMN = 190
ROW = 34
MARGIN = 60


@dataclass(frozen=True)
class Moment:
    """One thing that happened at one member."""

    member: str
    what: str
    """What happened, in a few words."""
    sender: str | None = None
    """Whose message it was that was received."""
    sent_at: int | None = None
    """At which moment (its place in the sequence) that message was sent."""
    outcome: str = ""
    """What it led the member to do or report."""
    time_s: float | None = None


def as_text(members: Sequence[str], moments: Iterable[Moment], width: int = 30) -> str:
    """A table: one row a moment, in the column of its member, with what came of it below."""
    lines = ["".join([" " * 8, *(name.ljust(width) for name in members)]).rstrip()]
    for number, moment in enumerate(moments, 1):
        column = members.index(moment.member)
        label = f"{moment.time_s:.3f}" if moment.time_s is not None else str(number)
        cells = ["·".ljust(width)] * len(members)
        what = f"{moment.sender} → {moment.what}" if moment.sender else f"* {moment.what}"
        parts = [what[at : at + width - 2] for at in range(0, len(what), width - 2)] or [""]
        cells[column] = parts[0].ljust(width)
        lines.append((label.rjust(6) + "  " + "".join(cells)).rstrip())
        rest = parts[1:] + [
            f"  ⇒ {moment.outcome}"[at : at + width * 2]
            for at in range(0, len(moment.outcome) and len(moment.outcome) + 4, width * 2)
        ]
        for more in rest:
            lines.append((" " * (8 + column * width) + more).rstrip())
    return "\n".join(lines) + "\n"


def as_svg(members: Sequence[str], moments: Sequence[Moment]) -> str:
    """The diagram as an SVG document."""
    height = MARGIN + ROW * (len(moments) + 1)
    width = MARGIN * 2 + COLUMN * len(members)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="monospace" font-size="11">',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="3" orient="auto">'
        '<path d="M0,0 L7,3 L0,6 z" fill="#3366aa"/></marker></defs>',
    ]

    def x(member: str) -> int:
        return MARGIN + COLUMN * members.index(member)

    def y(place: int) -> int:
        return MARGIN + ROW * place

    for member in members:
        out.append(
            f'<text x="{x(member)}" y="24" text-anchor="middle" font-weight="bold">'
            f"{escape(member)}</text>"
            f'<line x1="{x(member)}" y1="34" x2="{x(member)}" y2="{height}" stroke="#bbb"/>'
        )
    for place, moment in enumerate(moments):
        if moment.sender is not None and moment.sent_at is not None:
            out.append(
                f'<line x1="{x(moment.sender)}" y1="{y(moment.sent_at)}" x2="{x(moment.member)}" '
                f'y2="{y(place)}" stroke="#3366aa" marker-end="url(#tip)"/>'
            )
        out.append(
            f'<circle cx="{x(moment.member)}" cy="{y(place)}" r="3"/>'
            f'<text x="{x(moment.member) + 6}" y="{y(place) + 4}">{escape(moment.what)}'
            f'<tspan fill="#a33">{escape(" ⇒ " + moment.outcome if moment.outcome else "")}'
            "</tspan></text>"
        )
    out.append("</svg>\n")
    return "\n".join(out)
