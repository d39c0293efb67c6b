"""What a person sees of the demonstration: a coloured timeline, or one JSON object a line."""

import json
import sys
import time
from typing import Any, TextIO

from quorate.cli.progress import drawn

COLOURS = (36, 33, 35, 32, 34, 31, 96, 93, 95, 92, 94, 91)
OUTCOME_COLOURS = {"committed": 32, "rejected": 31, "abandoned": 33, "unknown": 33}


class Timeline:
    """Prints events as they come. Times are seconds since the demonstration began."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None) -> None:
        self._as_json = as_json
        self._out = out if out is not None else sys.stdout
        self._coloured = not as_json and self._out.isatty()
        self._started = time.monotonic()
        self._names: dict[str, str] = {}
        self._bars: dict[str, float] = {}
        self._bar_shown = False

    def know(self, key: str, name: str) -> None:
        """Show `key` as `name` from now on."""
        self._names[key] = name

    def name(self, key: str) -> str:
        """The name of a key, or its beginning."""
        return self._names.get(key, key[:8])

    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def title(self, text: str) -> None:
        """A step begins."""
        if self._as_json:
            self._write_json({"event": "step", "text": text})
        else:
            self._end_bar()
            self._out.write(f"\n{self._paint(text, 1)}\n")
            self._out.flush()

    def say(self, member: str, text: str, **fields: Any) -> None:
        """A line of a member's."""
        if self._as_json:
            self._write_json({"event": "note", "member": member, "text": text, **fields})
        else:
            self._line(member, text)

    def take(self, member: str, event: dict[str, Any]) -> None:
        """An event of a member's process."""
        if self._as_json:
            self._write_json({**event, "member": member})
            return
        match event["event"]:
            case "view":
                names = ", ".join(self.name(key) for key in event["members"])
                self._line(member, f"view {event['number']}: {names}")
            case "decision":
                self._line(member, self._decision(event))
            case "progress":
                self._progress(member, event["done"], event["total"])
            case "ended":
                what = "expelled" if event["expelled"] else "ended"
                self._line(member, self._paint(f"{what}: {event['reason']}", 31))
            case "suspended":
                self._line(member, "suspended" if event["suspended"] else "goes on")
            case "ready":
                self._line(member, f"listens on {event['address']}, key {event['key'][:16]}…")

    def summary(self, fields: dict[str, Any]) -> None:
        """The last line."""
        if self._as_json:
            self._write_json({"event": "summary", **fields})
            return
        self._end_bar()
        text = "  ".join(f"{name}={value}" for name, value in fields.items())
        self._out.write(f"\n{self._paint(text, 32 if fields['ok'] else 31)}\n")
        self._out.flush()

    def _decision(self, event: dict[str, Any]) -> str:
        outcome = self._paint(event["outcome"], OUTCOME_COLOURS[event["outcome"]])
        kind = event["kind"].removeprefix("@")
        if event["subject"] is not None:
            body = f" of {self.name(event['subject'])}"
        else:
            body = " " + json.dumps(event["body"], ensure_ascii=False)
        answers = event["answers"].items()
        votes = [f"{self.name(key)}: {answer}" for key, answer in answers if answer]
        votes += [f"{self.name(key)} said: {why}" for key, why in event["reasons"].items()]
        shown = f"  [{'; '.join(votes)}]" if votes else ""
        return f"#{event['index']} {kind}{body} {outcome}{shown}"

    def _line(self, member: str, text: str) -> None:
        self._end_bar()
        colour = COLOURS[sum(member.encode()) % len(COLOURS)]
        self._out.write(f"{self.elapsed_s():7.3f}  {self._paint(f'{member:<8}', colour)} {text}\n")
        self._out.flush()

    def _progress(self, member: str, done: int, total: int) -> None:
        self._bars[member] = done / total if total else 1.0
        if not self._coloured:
            if done == total:
                self._line(member, f"holds and has verified {total >> 20} MiB")
            return
        share = sum(self._bars.values()) / len(self._bars)
        each = " ".join(f"{name} {part:4.0%}" for name, part in self._bars.items())
        self._out.write(f"\r{self.elapsed_s():7.3f}  {drawn(share)} {each} ")
        self._out.flush()
        self._bar_shown = True

    def _end_bar(self) -> None:
        if self._bar_shown:
            self._out.write("\n")
            self._bar_shown = False
            self._bars.clear()

    def _paint(self, text: str, colour: int) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._coloured else text

    def _write_json(self, fields: dict[str, Any]) -> None:
        self._end_bar()
        row = {"t": round(self.elapsed_s(), 4), **fields}
        self._out.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._out.flush()
