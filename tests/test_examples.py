"""The README's samples and the examples of the documentation run, and say what they should."""

import ast
import contextlib
import io
import re
import runpy
from pathlib import Path

import anyio
import pytest

from quorate import Node, Outcome, accept
from tests.support.waiting import PATIENCE_S, until

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = {
    "ask": "tea: 3\ncoffee: no coffee here\n",
    "blob": "COMMITTED 1200000 bytes held by bob\n"
    "fetched anew: 0 bytes, as bob holds it already\nthe same bytes: True\n",
    "certificate": "this group's: True\nCOMMITTED at 2 of 2 members\n"
    "one bit of it changed: refused\n",
    "stream": "ALL IS WELL\n",
    "ledger": "bob reads: 100\n30 to bob: done\nonce more: done\ntoo much: not enough\n"
    "carol has: {'alice': 70, 'bob': 30}\n10 to carol: done\n5 to alice: done\n"
    "alice reads: 75 15\n",
    "reach": "in the circle: up\na stranger: silence\nintroduced, the same number: True\n"
    "reply to 1: Good day, and who are you?\nlate, whoever you are\n",
    "board": "REJECTED at 4 ['too much']\n",
}


EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_example(path: Path, backend: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        module = runpy.run_path(str(path), run_name="example")
        anyio.run(module["main"], backend=backend)
    assert printed.getvalue().endswith(EXPECTED[path.stem])


def samples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.anyio
async def test_both_sides_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two samples, as they stand, against each other; only what they do not say is added."""
    monkeypatch.chdir(tmp_path)
    alice_side, bob_side = samples()
    async with Node.open("bob.db") as node:
        bob_key = node.key
    passed: dict[str, object] = {}
    invited, decided = anyio.Event(), anyio.Event()
    seen: list[object] = []

    async def meet(alice: Node, token: str) -> None:
        passed.update(alice_key=alice.key, token=token)
        alice.on("budget")(lambda proposal: accept())
        invited.set()
        await until(lambda: bob_key in alice.groups[0].view.members)

    async def here(decision: object) -> None:
        passed["decision"] = decision
        await until(lambda: seen)
        decided.set()

    alice_side = alice_side.replace("    ...\n", "    await meet(alice, token)\n")
    alice = _function(alice_side + "    await here(decision)\n", "bob_key, meet, here")
    loop = "group.decisions():"
    bob_side = bob_side.replace(f"{loop} ...", f"{loop}\n        await seen(decision)")
    bob = _function(bob_side, "alice_key, token, seen")

    async def see(decision: object) -> None:
        seen.append(decision)

    async def run_bob(scope: anyio.CancelScope) -> None:
        await invited.wait()

        async def watch() -> None:
            await decided.wait()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await bob(passed["alice_key"], passed["token"], see)

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alice, bob_key, meet, here)
            tasks.start_soon(run_bob, tasks.cancel_scope)
    decision = seen[0]
    assert decision.outcome is Outcome.COMMITTED  # type: ignore[attr-defined]
    assert decision.body == {"eur": 500}  # type: ignore[attr-defined]


def _function(sample: str, parameters: str):  # type: ignore[no-untyped-def]
    imports = "from quorate import Node, accept, reject\n"
    body = sample.replace(imports, "")
    source = f"{imports}async def side({parameters}):\n" + "".join(
        f"    {line}\n" if line else "\n" for line in body.splitlines()
    )
    ast.parse(source)
    space: dict[str, object] = {}
    exec(compile(source, "README.md", "exec"), space)
    return space["side"]
