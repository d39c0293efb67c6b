"""The public surface: what is promised, and that each thing says what it is."""

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

from mypy import api

import consensus
import quorate
from transport.core.errors import TransportError

PROMISED = {
    "Accept", "BlobRef", "ConsensusError", "Decision", "Group", "GroupBusy", "GroupClosed",
    "GroupConfig", "GroupEnded", "GroupError", "GroupSuspended", "Node", "NodeConfig", "Outcome",
    "OutcomeUnknown", "Proposal", "Reject", "Rejected", "SuspensionChanged", "ViewChanged",
    "ViewInfo", "accept", "reject",
}  # fmt: skip
"""Taking one of these away breaks programs. What is new is added here."""
ECONOMY = {
    quorate.Node: {"open", "found", "join", "ask", "on", "know", "connect", "address"},
    quorate.Group: {
        "propose", "invite", "revoke", "kick", "leave", "decisions", "events", "on", "share",
        "fetch", "view", "suspended", "ended",
    },
}  # fmt: skip


def test_the_package_beneath_gives_the_same() -> None:
    """`import consensus` goes on working, and no object exists twice."""
    assert quorate.__all__ == consensus.__all__
    for name in (*quorate.__all__, "__version__"):
        assert getattr(quorate, name) is getattr(consensus, name)


def test_what_is_promised_is_there() -> None:
    assert set(quorate.__all__) >= PROMISED
    for kind, names in ECONOMY.items():
        assert names <= set(dir(kind))


def test_everything_public_says_what_it_is() -> None:
    silent = []
    for name in quorate.__all__:
        thing = getattr(quorate, name)
        if not inspect.getdoc(thing):
            silent.append(name)
        if inspect.isclass(thing):
            silent += [
                f"{name}.{member}"
                for member, value in vars(thing).items()
                if not member.startswith("_")
                and (inspect.isfunction(value) or isinstance(value, property))
                and not inspect.getdoc(value)
            ]
    assert silent == []


def test_what_is_told_to_users_cannot_be_changed_by_them() -> None:
    for name in ("Decision", "Proposal", "ViewInfo", "ViewChanged", "GroupEnded", "GroupConfig"):
        thing = getattr(quorate, name)
        assert dataclasses.is_dataclass(thing)
        assert vars(thing)["__dataclass_params__"].frozen


def test_errors_have_two_bases_the_groups_and_the_networks() -> None:
    for name in quorate.__all__:
        thing = getattr(quorate, name)
        if inspect.isclass(thing) and issubclass(thing, Exception):
            assert issubclass(thing, quorate.ConsensusError | TransportError)


HANDLERS = """
from quorate import Accept, Group, Node, Proposal, Reject, accept, reject

def use(node: Node, group: Group, proposal: Proposal) -> None:
    @node.on("plain")
    def plain(proposal: Proposal) -> Accept:
        return accept(proposal.body)

    @group.on("waits")
    async def waits(proposal: Proposal, limit: int = 3) -> Accept | Reject:
        return reject("no")

    async def call() -> None:
        first: Accept = plain(proposal)
        second: Accept | Reject = await waits(proposal, limit=4)
        third: Reject = plain(proposal)  # wrong
        plain()  # wrong
        await waits(proposal, most=4)  # wrong

    node.on("short")(lambda proposal: accept())
    node.on("nothing")(lambda: accept())  # wrong
    node.on("number")(lambda proposal: 7)  # wrong
    node.on(plain)  # wrong
"""


def test_decorators_give_back_the_handler_as_it_was_written(tmp_path: Path) -> None:
    source = tmp_path / "handlers.py"
    source.write_text(HANDLERS)
    out, errors, _ = api.run(["--strict", "--follow-imports=silent", str(source)])
    assert errors == ""
    found = {int(line) for line in re.findall(r"handlers.py:(\d+): error", out)}
    lines = HANDLERS.splitlines()
    assert found == {at for at, line in enumerate(lines, 1) if line.endswith("# wrong")}, out


def test_strict_typing_sees_every_public_name(tmp_path: Path) -> None:
    source = tmp_path / "names.py"
    source.write_text(f"from quorate import {', '.join(quorate.__all__)}, __version__\n")
    out, errors, status = api.run(["--strict", "--follow-imports=silent", str(source)])
    assert (status, errors) == (0, ""), out


def test_the_version_is_told_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quorate", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"quorate {quorate.__version__}\n"


IMPORTED = """
import sys, threading
import quorate

above = ("quorate.cli", "scenarios")
print(threading.active_count(), [name for name in sys.modules if name.startswith(above)])
"""


def test_importing_it_prints_and_starts_nothing_and_brings_no_command() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTED], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1 []\n", "")
