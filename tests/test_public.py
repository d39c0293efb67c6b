"""The public surface: what is promised, and that each thing says what it is."""

import dataclasses
import inspect
import subprocess
import sys

import consensus
from transport.core.errors import TransportError

PROMISED = {
    "Accept", "BlobRef", "ConsensusError", "Decision", "Group", "GroupBusy", "GroupClosed",
    "GroupConfig", "GroupEnded", "GroupError", "GroupSuspended", "Node", "NodeConfig", "Outcome",
    "OutcomeUnknown", "Proposal", "Reject", "Rejected", "SuspensionChanged", "ViewChanged",
    "ViewInfo", "accept", "reject",
}  # fmt: skip
"""Taking one of these away breaks programs. What is new is added here."""
ECONOMY = {
    consensus.Node: {"open", "found", "join", "ask", "on", "know", "connect", "address"},
    consensus.Group: {
        "propose", "invite", "revoke", "kick", "leave", "decisions", "events", "on", "share",
        "fetch", "view", "suspended", "ended",
    },
}  # fmt: skip


def test_what_is_promised_is_there() -> None:
    assert set(consensus.__all__) >= PROMISED
    for kind, names in ECONOMY.items():
        assert names <= set(dir(kind))


def test_everything_public_says_what_it_is() -> None:
    silent = []
    for name in consensus.__all__:
        thing = getattr(consensus, name)
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
        thing = getattr(consensus, name)
        assert dataclasses.is_dataclass(thing)
        assert thing.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_errors_have_two_bases_the_groups_and_the_networks() -> None:
    for name in consensus.__all__:
        thing = getattr(consensus, name)
        if inspect.isclass(thing) and issubclass(thing, Exception):
            assert issubclass(thing, consensus.ConsensusError | TransportError)


def test_importing_it_prints_nothing_and_starts_nothing() -> None:
    code = "import consensus, threading; print(threading.active_count())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
