"""The demonstration, step by step. Whatever does not come out as said raises StepFailed."""

import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from quorate.cli.demo.process import MemberProcess, StepFailed
from quorate.cli.demo.timeline import Timeline

NAMES = (
    "alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi",
    "ivan", "judy", "kim", "leo", "mia", "nina", "oscar", "peggy",
)  # fmt: skip
MEMBERS_MIN, MEMBERS_MAX = 3, len(NAMES)
BLOB_MIB_MAX = 1024
STEP_TIMEOUT_S = 20.0
BUDGET_EUR, EXCESSIVE_EUR = 500, 5000


@dataclass(frozen=True)
class DemoConfig:
    """What to show."""

    members: int = 4
    blob_mib: int = 64

    def __post_init__(self) -> None:
        if not MEMBERS_MIN <= self.members <= MEMBERS_MAX:
            raise ValueError(f"--members takes {MEMBERS_MIN} to {MEMBERS_MAX}")
        if not 1 <= self.blob_mib <= BLOB_MIB_MAX:
            raise ValueError(f"--blob-mib takes 1 to {BLOB_MIB_MAX}")


def check(condition: bool, what: str) -> None:
    """Raise StepFailed unless it came out as said."""
    if not condition:
        raise StepFailed(what)


class Story:
    """The running demonstration."""

    def __init__(self, config: DemoConfig, timeline: Timeline, directory: Path) -> None:
        self._config = config
        self._timeline = timeline
        self._directory = directory
        self._members: list[MemberProcess] = []
        self._views: dict[str, dict[str, Any]] = {}
        self._decisions: dict[str, list[dict[str, Any]]] = {}
        self._ended: dict[str, dict[str, Any]] = {}
        self._changed = anyio.Event()
        self._blob_started = 0.0
        self.facts: dict[str, Any] = {"views": 0, "decisions": 0}

    def _take(self, name: str, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "view":
            self._views[name] = event
            self.facts["views"] = max(self.facts["views"], event["number"])
        elif kind == "decision":
            self._decisions.setdefault(name, []).append(event)
            self.facts["decisions"] = max(self.facts["decisions"], event["index"])
        elif kind == "ended":
            self._ended[name] = event
        self._timeline.take(name, event)
        self._changed.set()
        self._changed = anyio.Event()

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        with anyio.move_on_after(STEP_TIMEOUT_S):
            while not condition():
                await self._changed.wait()
            return
        raise StepFailed(f"not within {STEP_TIMEOUT_S:.0f} s: {what}")

    async def run(self) -> None:
        """All steps, then the processes are ended."""
        async with anyio.create_task_group() as tasks:
            try:
                for name in NAMES[: self._config.members]:  # They start side by side.
                    member = await MemberProcess.start(name, self._directory / name, self._take)
                    self._members.append(member)
                    tasks.start_soon(member.read)
                    tasks.start_soon(member.read_errors)
                for step in (
                    self._start, self._gather, self._ask, self._commit, self._veto,
                    self._publish, self._remove,
                ):  # fmt: skip
                    await self._within(step)
            finally:
                for member in self._members:
                    await member.end()
                tasks.cancel_scope.cancel()

    async def _within(self, step: Callable[[], Any]) -> None:
        try:
            with anyio.fail_after(2 * STEP_TIMEOUT_S):
                await step()
        except TimeoutError as error:
            raise StepFailed(f"step {step.__name__.strip('_')} took too long") from error

    async def _start(self) -> None:
        self._timeline.title(f"{len(self._members)} processes, one identity and one socket each")
        for member in self._members:
            await member.ready()
            self._timeline.know(member.key, member.name)

    async def _gather(self) -> None:
        founder, *others = self._members
        self._timeline.title(f"{founder.name} founds a group and invites the others")
        await founder.do("found", name="board")
        for count, member in enumerate(others, start=2):
            token = await founder.do("invite", key=member.key)
            self._timeline.say(founder.name, f"invites {member.name}: {token}", token=token)
            view = await member.do("join", token=token)
            check(
                len(view["members"]) == count and member.key in view["members"],
                f"{member.name} joined, but its view is {view}",
            )
            members = self._members[:count]
            await self._until(
                lambda members=members, count=count: all(  # type: ignore[misc]
                    len(self._views.get(m.name, {"members": ()})["members"]) == count
                    for m in members[:-1]
                ),
                f"everybody has {member.name} in view",
            )

    async def _ask(self) -> None:
        *_, asker = self._members
        asked = self._members[1]
        self._timeline.title("one peer asks another: a decision of two, one round trip")
        reply = await asker.do("ask", peer=asked.key, kind="price", body={"of": "tea"})
        check(reply["answer"] == 3, f"asked for the price of tea, got {reply['answer']!r}")
        self._timeline.say(
            asker.name,
            f"asks {asked.name}: the price of tea? {reply['answer']} EUR, in {reply['ms']} ms",
            **reply,
        )
        self.facts["ask_ms"] = reply["ms"]

    async def _decide(self, by: MemberProcess, kind: str, body: Any, **more: Any) -> dict[str, Any]:
        decision: dict[str, Any] = await by.do("propose", kind=kind, body=body, **more)
        self._timeline.say(by.name, f"proposed {kind}; outcome known after {decision['ms']} ms")
        return decision

    async def _everywhere(self, decision: dict[str, Any], members: list[MemberProcess]) -> None:
        index = decision["index"]

        def all_have_it() -> bool:
            for member in members:
                found = [d for d in self._decisions.get(member.name, ()) if d["index"] == index]
                if not found:
                    return False
                same = all(found[0][key] == decision[key] for key in ("outcome", "kind", "body"))
                check(same, f"{member.name} holds another decision at #{index}: {found[0]}")
            return True

        await self._until(all_have_it, f"decision #{index} reaches everybody")

    async def _commit(self) -> None:
        self._timeline.title("a proposal is committed by all, with everybody's answers")
        decision = await self._decide(self._members[0], "budget", {"eur": BUDGET_EUR})
        check(decision["outcome"] == "committed", f"the budget was {decision['outcome']}")
        others = {member.key for member in self._members[1:]}
        answered = {key for key, answer in decision["answers"].items() if answer is not None}
        check(answered >= others, f"answers came from {len(answered)} members only")
        await self._everywhere(decision, self._members)
        self.facts["propose_ms"] = decision["ms"]

    async def _veto(self) -> None:
        self._timeline.title("another is vetoed, with the reason shown")
        decision = await self._decide(self._members[1], "budget", {"eur": EXCESSIVE_EUR})
        check(decision["outcome"] == "rejected", f"the excess was {decision['outcome']}")
        check(bool(decision["reasons"]), "the veto has no reason")
        await self._everywhere(decision, self._members)

    async def _publish(self) -> None:
        size = self._config.blob_mib << 20
        mib = self._config.blob_mib
        self._timeline.title(f"a third names a {mib} MiB blob: fetch, verify, vote")
        path = self._directory / "report.bin"
        with path.open("wb") as file:
            for _ in range(self._config.blob_mib):
                file.write(os.urandom(1 << 20))
        sharer = self._members[0]
        blob = await sharer.do("share", path=str(path))
        before = time.monotonic()
        decision = await self._decide(
            sharer, "publish", {"title": "annual report"}, blobs=[blob]
        )
        took_s = time.monotonic() - before
        check(
            decision["outcome"] == "committed",
            f"publishing was {decision['outcome']}: {decision['reasons']}",
        )
        for member in self._members[1:]:
            answer = decision["answers"].get(member.key)
            check(
                answer == {"verified_bytes": size},
                f"{member.name} voted without holding the blob: {answer}",
            )
        await self._everywhere(decision, self._members)
        fetched_mib = self._config.blob_mib * (len(self._members) - 1)
        self.facts["blob_mib_per_s"] = round(fetched_mib / took_s, 1)

    async def _remove(self) -> None:
        *staying, leaving = self._members
        self._timeline.title(f"{leaving.name} is stopped (SIGSTOP): the others remove it and go on")
        before = time.monotonic()
        leaving.stop()
        try:
            await self._until(
                lambda: all(
                    leaving.key not in self._views[member.name]["members"] for member in staying
                ),
                f"{leaving.name} is removed",
            )
            self.facts["removed_after_s"] = round(time.monotonic() - before, 3)
            decision = await self._decide(staying[-1], "budget", {"eur": BUDGET_EUR - 1})
            check(decision["outcome"] == "committed", f"afterwards: {decision['outcome']}")
            check(leaving.key not in decision["answers"], "the stopped member has answered")
            await self._everywhere(decision, staying)
        finally:
            leaving.resume()
        self._timeline.title(f"{leaving.name} is continued and learns of it")
        await self._until(lambda: leaving.name in self._ended, f"{leaving.name} learns of it")
        check(self._ended[leaving.name]["expelled"], f"{leaving.name} was not told: expelled")


def _ending_signals() -> list[signal.Signals]:
    """What ends the demonstration early, unless whoever started it has it ignored."""
    both = (signal.SIGINT, signal.SIGTERM)
    return [number for number in both if signal.getsignal(number) is not signal.SIG_IGN]


def _texts(group: BaseExceptionGroup[StepFailed]) -> Iterator[str]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _texts(error)
        else:
            yield str(error)


async def run_demo(config: DemoConfig, timeline: Timeline) -> bool:
    """Run all of it. True when everything came out as said; the summary says what did not.

    Raises SystemExit with 128 plus the number of the signal that ended it, after the processes
    (a stopped one too) and the temporary directory are gone.
    """
    why, ended_by = None, 0
    with tempfile.TemporaryDirectory(prefix="quorate-demo-") as directory:
        story = Story(config, timeline, Path(directory))
        try:
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    nonlocal ended_by
                    with anyio.open_signal_receiver(*_ending_signals()) as signals:
                        async for number in signals:
                            ended_by = number
                            tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                await story.run()
                tasks.cancel_scope.cancel()
        except* StepFailed as group:
            why = "; ".join(_texts(group))
    if ended_by:
        raise SystemExit(128 + ended_by)
    facts = dict(story.facts)
    facts["total_s"] = round(timeline.elapsed_s(), 3)
    facts["ok"] = why is None
    if why is not None:
        facts["why"] = why
    timeline.summary(facts)
    return why is None
