"""What the receivers of one member would accuse it of, lane by lane, found before it is sent.

A receiver of the engine refuses what no honest member could send, by rules that it applies to one
lane and what it knows of the view. The same rules stand here once more, from the sender's side, for
what a sender alone can know: all but whether it was asked for the lease it grants, whether its
proposals are within the window, and what of a value only its receiver can judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from consensus.core import message_kinds as kinds
from consensus.core.config import VOTE_KEYS_MAX
from consensus.core.messages import HELD_MAX
from consensus.core.numbers import RANK_BITS, RANK_MASK
from consensus.core.outputs import Installed, Output, Send

__all__ = ["Upright"]

_IN_VIEW = frozenset(
    (
        kinds.PROPOSE, kinds.VOTE, kinds.ANSWER, kinds.REJECT, kinds.NOTED, kinds.MARK,
        kinds.SUSPECT, kinds.PREPARE, kinds.PROMISE, kinds.ACCEPT, kinds.ACCEPTED, kinds.ASK,
        kinds.LEASE_ASK, kinds.LEASE, kinds.LEASES, kinds.STALL,
    )
)  # fmt: skip
"""What members of a view say to each other in it; nothing else is held against the head before."""


class _Lane:
    """What one receiver knows of the member, in the view it was last told of."""

    __slots__ = ("clock", "mark", "noted", "view", "voted")

    def __init__(self, view: int) -> None:
        self.view = view
        self.clock = 0
        self.mark = 0
        self.voted: set[int] = set()
        self.noted: set[int] = set()

    def copy(self) -> _Lane:
        twin = _Lane(self.view)
        twin.clock, twin.mark = self.clock, self.mark
        twin.voted, twin.noted = set(self.voted), set(self.noted)
        return twin


class Upright:
    """One member, as those it speaks to see it."""

    __slots__ = ("_lanes", "_ranks", "_sizes", "me")

    def __init__(self, me: Any) -> None:
        self.me = me
        self._lanes: dict[Any, _Lane] = {}
        self._ranks: dict[int, int] = {}
        """Its rank in each view it installed."""
        self._sizes: dict[int, int] = {}

    def copy(self) -> Upright:
        """An independent copy."""
        twin = Upright(self.me)
        twin._lanes = {to: lane.copy() for to, lane in self._lanes.items()}
        twin._ranks, twin._sizes = dict(self._ranks), dict(self._sizes)
        return twin

    def take(self, outputs: Iterable[Output]) -> tuple[Any, str] | None:
        """The first of what a poll returned that its receiver would refuse: who, and the rule."""
        for output in outputs:
            if type(output) is Send:
                rule = self._broken(output.to, output.message)
                if rule:
                    return output.to, rule
            elif type(output) is Installed:
                number, members = output.view.number, output.view.members
                self._sizes[number] = len(members)
                if self.me in members:
                    self._ranks[number] = members.index(self.me)
        return None

    def _broken(self, to: Any, message: Any) -> str:
        """The rule that a message breaks, or nothing; the lane has it then."""
        kind, view, clock, mark = message[:4]
        lane = self._lanes.get(to)
        if kind not in _IN_VIEW or (lane is not None and view < lane.view):
            return ""
        if lane is None or view > lane.view:
            lane = self._lanes[to] = _Lane(view)
        elif clock < lane.clock or (clock == lane.clock and kind == kinds.PROPOSE):
            return "clock went back"
        elif mark < lane.mark:
            return "mark went back"
        lane.clock, lane.mark = clock, mark
        rank = self._ranks.get(view, -1)
        if kind in (kinds.VOTE, kinds.ANSWER, kinds.REJECT, kinds.NOTED):
            return self._broken_vote(lane, rank, message)
        return self._broken_change(rank, self._sizes.get(view, 0), message)

    def _broken_vote(self, lane: _Lane, rank: int, message: Any) -> str:
        kind, clock = message.kind, message.clock
        keys = message.keys if kind == kinds.VOTE else (message.key,)
        if not 0 < len(keys) <= VOTE_KEYS_MAX:
            return "bad keys"
        for key in keys:
            if key >> RANK_BITS > clock:
                return "vote before its proposal"
            if kind == kinds.NOTED:
                if key in lane.noted or message.rejecter == rank:
                    return "false note"
                lane.noted.add(key)
                continue
            if key & RANK_MASK == rank or key in lane.voted or key in lane.noted:
                return "second vote"
            lane.voted.add(key)
            if kind == kinds.REJECT:
                lane.noted.add(key)
        return ""

    @staticmethod
    def _broken_change(rank: int, size: int, message: Any) -> str:
        kind = message.kind
        own = kind in (kinds.PREPARE, kinds.ACCEPT)
        if own and rank >= 0 and message.ballot & RANK_MASK != rank:
            return "somebody else's ballot"
        if kind == kinds.SUSPECT and size:
            against = message.down | message.stalled | message.disputed
            if (against | message.agreed) >> size or against >> rank & 1:
                return "suspects nobody there"
        if kind == kinds.PROMISE:
            keys = [held[0] for held in message.held]
            if keys != sorted(set(keys)) or len(keys) > HELD_MAX:
                return "impossible promise"
        return ""
