"""No test depends on who else is on the machine.

Held over the source of all tests, and of the programs in their strings: nothing compares or asserts
what a real clock says, nothing sleeps for a while, and nobody waits with a limit of his own making:
`tests.support.waiting` has the one there is. Who has to is named here, with the reason.
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLOCKS = {
    "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
    "process_time_ns", "thread_time", "thread_time_ns", "time_ns", "current_time", "utcnow",
}  # fmt: skip
"""Functions that read one, whatever they are called on."""
WITHOUT_ARGUMENTS = {"time", "now", "clock", "_clock"}
"""The same if they are given nothing: there are others of these names."""
KEEPS_TIME = {"min", "max", "abs", "round", "float", "int", "sum", "sorted", "approx"}
"""What these make of a time is one."""
SLEEPS = {"sleep", "sleep_until"}
SLEEP_IN = {"time", "anyio", "asyncio", "trio"}
LIMITS = {"fail_after", "move_on_after"}
LIMIT_ARGUMENTS = {"timeout", "timeout_s", "connect_timeout_s", "reply_timeout_s"}
"""The first of whatever is called, the others of what is awaited: there are machines in a time of
their own."""
ALLOWED = {
    "support/waiting.py until": "looks again and again, with patience",
    "support/waiting.py until_true": "looks again and again, with patience",
    "support/nodes/durable_member.py Member.load": "proposes again where it was refused, until"
    " killed",
    "support/network/roaming.py write": "sends at a steady pace, while the network changes under"
    " it",
    "consensus/network/test_letters.py test_a_handler_that_fails_is_nobody_elses_fault": "no reply"
    " comes, however long it is waited for",
    "e2e/fleet.py Child.close": "whoever does not end in order is killed, which is no failure",
    "e2e/harms.py Harms": "harms at moments drawn by lot; what comes of it holds at any",
    "e2e/nemesis.py Nemesis": "looks now and then who is out, and lets all of it heal",
    "e2e/nemesis_member.py Member": "a load with pauses drawn by lot, until it is told to rest",
    "e2e/test_sharing.py HALTING": "gives no more until a file is there",
    "e2e/test_sharing.py SLOW": "a copy that is still going on when the signals come",
    "house/test_real_clock.py CAUGHT": "examples of what is found",
    "quorate/test_loop.py passed": "virtual time, which no machine is slow in",
    "utp_native/fuzz.py main": "a command that is given its seconds by who calls it",
    "utp_native/without.py fails_without": "a command for developers: a guard against hanging",
    "utp_native/test_socket.py test_kernel_receive_time": "the kernel's clock is what it is about."
    " The least of three measures counts, so that a machine would have to stop this process for an"
    " eighth of a second at the same instruction three times in a row",
}


class Finding(NamedTuple):
    """What must not be, and where."""

    where: str
    line: int
    what: str


def name_of(node: ast.expr) -> str:
    """The last part of a dotted name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


class Times:
    """Which names and attributes of a module hold what a clock said, which are clocks, and which
    are numbers."""

    def __init__(self, tree: ast.AST) -> None:
        self._clocks = set(CLOCKS)
        self.numbers: set[str] = set()
        self._held: set[str] = set()
        before = -1
        while before != len(self._held) + len(self._clocks):
            before = len(self._held) + len(self._clocks)
            for node in ast.walk(tree):
                self._learn(node)

    def _learn(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.AugAssign(target=target, value=value) | ast.NamedExpr(
                target=target, value=value
            ):
                self._assign(target, value)
            case ast.Call(func=ast.Attribute(value=kept, attr="append"), args=[value]):
                self._assign(kept, value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._assign(one, other)
        elif self.is_time(value):
            self._held.add(name_of(target))
        elif name_of(value) in CLOCKS or ast.unparse(value) == "time.time":
            self._clocks.add(name_of(target))
        elif self.is_number(value):
            self.numbers.add(name_of(target))

    def is_number(self, node: ast.expr) -> bool:
        """Whether this is a number that the module says itself."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, int | float)
        return isinstance(node, ast.Name) and node.id in self.numbers

    def is_time(self, node: ast.expr) -> bool:
        """Whether this is a time that a real clock said, or is made of one."""
        match node:
            case ast.Call(func=func, args=args):
                name = name_of(func)
                if name in self._clocks or (name in WITHOUT_ARGUMENTS and not args):
                    return True
                return name in KEEPS_TIME and any(map(self.is_time, args))
            case ast.Name() | ast.Attribute():
                return name_of(node) in self._held
            case ast.BinOp(left=left, right=right):
                return self.is_time(left) or self.is_time(right)
            case ast.UnaryOp(operand=inner) | ast.Starred(value=inner) | ast.Subscript(value=inner):
                return self.is_time(inner)
            case ast.IfExp(body=one, orelse=other):
                return self.is_time(one) or self.is_time(other)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                return any(map(self.is_time, parts))
            case ast.ListComp(elt=inner) | ast.GeneratorExp(elt=inner):
                return self.is_time(inner)
        return False


class Check(ast.NodeVisitor):
    """Finds what must not be in one module."""

    def __init__(self, tree: ast.AST) -> None:
        self.found: list[Finding] = []
        self._times = Times(tree)
        self._path: list[str] = []
        self._refused = 0
        """So many `pytest.raises` around this: how soon it fails is not said by that."""
        self._awaited: ast.expr | None = None
        self.visit(tree)

    def _tell(self, node: ast.expr | ast.stmt, what: str) -> None:
        self.found.append(Finding(".".join(self._path), node.lineno, what))

    def _inside(self, name: str, node: ast.AST) -> None:
        self._path.append(name)
        self.generic_visit(node)
        self._path.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside(node.name, node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._inside(node.name, node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._inside(node.name, node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        refused = any(
            isinstance(item.context_expr, ast.Call) and name_of(item.context_expr.func) == "raises"
            for item in node.items
        )
        self._refused += refused
        self.generic_visit(node)
        self._refused -= refused

    visit_AsyncWith = visit_With  # noqa: N815

    def visit_Assign(self, node: ast.Assign) -> None:
        if self._path:
            self.generic_visit(node)
        else:
            self._inside(name_of(node.targets[0]), node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and "import" in node.value and "\n" in node.value:
            try:
                program = ast.parse(textwrap.dedent(node.value))
            except SyntaxError:
                return
            for each in Check(program).found:
                self._tell(node, f"{each.what}, in a program")

    def visit_Compare(self, node: ast.Compare) -> None:
        if any(map(self._times.is_time, [node.left, *node.comparators])):
            self._tell(node, "compares what a clock says")
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        if self._times.is_time(node.test):
            self._tell(node, "asserts what a clock says")
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self._awaited = node.value
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if _sleeps(node.func) and [ast.unparse(each) for each in node.args] != ["0"]:
            self._tell(node, "sleeps for a while")
        is_number = self._times.is_number
        limits = node.args[:1] if name_of(node.func) in LIMITS else []
        if not self._refused:
            limits += [
                each.value for each in node.keywords
                if each.arg in LIMIT_ARGUMENTS and (each.arg == "timeout" or node is self._awaited)
            ]  # fmt: skip
        if any(map(is_number, limits)):
            self._tell(node, "waits with a limit of its own")
        self.generic_visit(node)


def _sleeps(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute) and name_of(function.value) not in SLEEP_IN:
        return False
    return name_of(function) in SLEEPS


def findings(source: str) -> list[Finding]:
    return Check(ast.parse(source)).found


def forbidden() -> Iterator[tuple[str, Finding]]:
    for path in sorted(ROOT.rglob("*.py")):
        for found in findings(path.read_text()):
            yield f"{path.relative_to(ROOT)} {found.where}", found


def reason_for(where: str) -> str | None:
    """The name in `ALLOWED` by which this may be."""
    return next((n for n in ALLOWED if where == n or where.startswith(f"{n}.")), None)


def test_no_test_depends_on_how_fast_this_machine_is() -> None:
    wrong = [f"{where}:{found.line} {found.what}" for where, found in forbidden()
             if reason_for(where) is None]  # fmt: skip
    assert wrong == []


def test_nobody_is_named_without_need() -> None:
    needed = {reason_for(where) for where, _ in forbidden()}
    assert ALLOWED.keys() - needed == set()


CAUGHT = {
    "compares what a clock says": (
        "began = time.monotonic()\nassert time.monotonic() - began < 0.5",
        "from time import perf_counter as read\nread = time.perf_counter\nread() > 3",
        "class A:\n def f(self): self.at = 2 * anyio.current_time()\ndef g(a): return a.at >= 1",
        "real = time.time\ndef f(): assert 5 == pytest.approx(real() - 1)",
        "took = []\ntook.append(clock() - 1)\nassert max(took) < 1",
        "at, other = loop.time(), 1\nif at < other: pass",
        "assert any(t > 1 for t in [1]) or process_time() < 2",
        "worst = 0\nworst = max(worst, end.endpoint.clock() - 7)\nassert 1 > worst",
    ),
    "asserts what a clock says": ("assert time.monotonic()",),
    "sleeps for a while": (
        "async def f(): await anyio.sleep(0.05)",
        "time.sleep(pause_s)",
        "from time import sleep\nsleep(1)",
        "tasks.start_soon(anyio.sleep(1))",
    ),
    "sleeps for a while, in a program": ('P = """\n  import time\n  time.sleep(1)\n"""',),
    "waits with a limit of its own": (
        "with anyio.fail_after(10): pass",
        "LIMIT_S = 5.0\nwith anyio.move_on_after(LIMIT_S): pass",
        "process.communicate(timeout=5)",
        "async def f(): await node.join(token, timeout_s=12.0)",
        "SOON_S = 1\nasync def f(): await letters.send(reply_timeout_s=SOON_S)",
    ),
}
PASSED = (
    "async def f(): await anyio.sleep(0); await anyio.sleep_forever()",
    "with anyio.fail_after(PATIENCE_S): pass",
    "later = time.time() + 61\nmonkeypatch.setattr(clock, lambda: later)",
    "with pytest.raises(TimeoutError):\n async def f(): await node.join(token, timeout_s=0.5)",
    "peers = Peers(time.monotonic())\nassert peers.number == 1",
    "assert link.now - started < 0.1 and world.now > 3",
    "known = transient.clock(5.0)\nassert known == 7",
    "machine.ask(peer, timeout_s=2.0)",
    "self.sleep(member)",
    'TEXT = """\nthis is no program, import and time.sleep(1) or not\n"""',
)


@pytest.mark.parametrize(
    ("what", "source"), [(what, source) for what in CAUGHT for source in CAUGHT[what]]
)
def test_what_must_not_be_is_found(what: str, source: str) -> None:
    assert {found.what for found in findings(source)} == {what}


@pytest.mark.parametrize("source", PASSED)
def test_what_may_be_is_let_pass(source: str) -> None:
    assert findings(source) == []


def test_a_finding_says_where() -> None:
    (found,) = findings("class A:\n async def f(self):\n  await anyio.sleep(1)")
    assert found == Finding("A.f", 3, "sleeps for a while")
