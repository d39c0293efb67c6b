"""What may be chosen about a group, and the bounds that may not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from consensus.core.errors import GroupError
from consensus.core.view import VIEW_SIZE_MAX

KIND_SIZE_MAX = 64
"""Bytes of UTF-8 in a proposal's kind."""
BODY_SIZE_MAX = 48 * 1024
"""Bytes in a proposal's body; what is larger travels as a blob, or over a channel."""
BLOBS_MAX = 16
"""Blobs a proposal may name."""
ANSWER_SIZE_MAX = 1024
"""Bytes in an answer: it is sent to everyone, and a trim carries those of all members."""
REASON_SIZE_MAX = 256
"""Bytes of UTF-8 in a reason."""
WHERE_SIZE_MAX = 1024
"""Bytes of addresses of a joiner."""
DEADLINE_MS_MAX = 24 * 3600 * 1000
"""The longest a program may take to answer."""
SNAPSHOT_SIZE_MAX = 4 * 1024 * 1024
"""Bytes of application state a joiner gets with its snapshot; more goes as a blob named in it."""
WINDOW_TOTAL_MAX = 256
"""Proposals all members of a view together may have in flight; each has an equal share."""
WINDOW_BYTES = 2 * 1024 * 1024
"""Bytes of contents all members together may have in flight; each has an equal share."""
VOTE_KEYS_MAX = WINDOW_TOTAL_MAX
"""Proposals one VOTE is about. A voter may have more to say at once: of one proposer alone it takes
up to HOLD_FACTOR windows. It says so in several (D17)."""
CONTENT_OVERHEAD = 64
"""Bytes a content costs beside its body, for the window's account."""
DEPARTURES_MAX = 4
"""So many leaves and kicks of one proposer find room beyond its full window: what fills it may be
waiting for nothing but them."""
DEPARTURES_BYTES = DEPARTURES_MAX * (REASON_SIZE_MAX + CONTENT_OVERHEAD)
HOLD_FACTOR = 4
"""How many windows of one proposer another member may have to hold: its open proposals, those
delivered that it does not know everyone to have delivered, and what lanes that lag behind each
other add to both."""
BACKLOG_MAX = 4096
"""Own proposals that wait for room in the window, or for the next view."""
CLOCK_STEP_MAX = 1 << 20
"""How far a message's clock may be ahead: far more than windows allow, far less than overflow."""
CLOCK_MAX = 1 << 56
"""No clock gets here by steps of a window in the life of a group."""
MARK_STEP_MAX = HOLD_FACTOR * (WINDOW_TOTAL_MAX + VIEW_SIZE_MAX * DEPARTURES_MAX)
"""How far a message's mark may be ahead: what one member has delivered and another has not is open
to its proposers, and in their windows. So this is four times what can be."""
STOPPED_MAX = 4 * WINDOW_TOTAL_MAX
"""Messages of a newer view kept for one sender: its window, its votes on everyone else's
windows, and a few of the next change."""
JOIN_ATTEMPTS_MAX = 3
"""How often a sponsor proposes one joiner before it gives up; times when another joiner was let in
instead do not count."""
DELAY_MAX_S = 3600.0
"""The longest of a member's own delays."""
LEASE_MS_MAX = 1000
"""The longest lease: how long the dead may hold up a change at most."""
ROUND_MAX = 1 << 32
"""Rounds of one synod."""
ROUND_STEP_MAX = 1 << 16
"""How far a ballot's round may be ahead of those seen: rounds grow one by one."""
STRUCK_MAX = 64
"""Keys whose strikes are remembered; the oldest go."""
STALL_TICKS = 5
"""Into so many parts the wait for a stall is cut, so that what a member was late itself is not
counted: a timer that fires late counts as one part."""
BACKOFF_ROUNDS = 6
"""Takeover delays double with each round of a synod up to this one."""

assert WINDOW_TOTAL_MAX // VIEW_SIZE_MAX >= 1
assert WINDOW_BYTES // VIEW_SIZE_MAX >= BODY_SIZE_MAX + BLOBS_MAX * 40 + WHERE_SIZE_MAX
# A window with no room for one more body is full of more than a quarter: of that, marks are sent.
assert WINDOW_BYTES // VIEW_SIZE_MAX * 3 // 4 >= BODY_SIZE_MAX + CONTENT_OVERHEAD


@dataclass(frozen=True)
class GroupConfig:
    """Agreed by all members of a group, except for the delays, which are each member's own."""

    casting_vote: bool = True
    """Exactly half of a view is a quorum too if it contains the most senior member. Without it
    (`strict`) a view of two cannot lose a member and go on."""
    ordered: bool = True
    """Outcomes are delivered in one total order. Only the view of two of `ask` does without."""
    changes: bool = True
    """There is a synod. Only the view of two of `ask` has none."""
    asks_application_about_joins: bool = False
    """The application votes on joins too, beside the engine's own test of reach."""
    asks_application_about_kicks: bool = False
    """The application votes on kicks; if not, the engine accepts them."""
    asks_for_snapshots: bool = False
    """A sponsor's application is asked for its state; if not, a joiner's snapshot is empty."""
    kicks_liars: bool = True
    """A member that broke the protocol is answered with a kick, once a second one has seen it."""
    kicks_need_two: bool = True
    """A kick needs a second member, beside its proposer, that wants it (KT1), and in a view of two
    the casting vote; if not, whoever has no reason against it accepts."""
    on_silence_kick: bool = False
    """A program that does not answer in time is answered with the kick of its member."""
    durable: bool = False
    """What members are given is on their disks before anything that depends on it is said or
    reported, so that they go on after their processes died. Costs a disk's commit a step."""
    window_total: int = WINDOW_TOTAL_MAX
    """Proposals in flight in the whole view (1 to 256, at least one a member)."""
    takeover_s: float = 0.5
    """What the second in line waits before it takes a change over; further ones wait longer."""
    settle_s: float = 2.0
    """How long a contradictory suspicion matrix must stand before anybody acts on it. It should
    exceed the transport's suspicion time, or one death is taken for a cut link."""
    join_s: float = 10.0
    """What a sponsor grants a joiner between the commit of its join and being ready."""
    kick_s: float = 5.0
    """What the target of a kick is granted to accept it before it is treated as silent."""
    stall_s: float = 5.0
    """How long a member waits for the lowest open proposal before it asks who holds it up, and then
    how long for the answers: twice this after a member stopped to make progress, though it is
    heard, it is suspected. A program's own deadline is never cut short by it."""
    linger_s: float = 30.0
    """How long a member that is out goes on answering, at most."""
    lease_s: float = 0.25
    """How long an undertaking not to change the view lasts, which lets another member read without
    asking (0 to 1; 0: reads always ask). Below the transport's suspicion time it costs nothing:
    who is found silent holds no lease any more."""
    lost_s: float = 10.0
    """How long the other of a view of two may be silent before the calls to it are unknown."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.type == "bool":
                good = isinstance(value, bool)
            elif each.type == "int":
                good = isinstance(value, int) and not isinstance(value, bool)
            else:
                good = isinstance(value, int | float) and not isinstance(value, bool)
            if not good:
                raise GroupError(f"{each.name} is of type {each.type}, not {value!r}")
        if not 1 <= self.window_total <= WINDOW_TOTAL_MAX:
            raise GroupError(f"window_total must be 1 to {WINDOW_TOTAL_MAX}")
        if not 0 <= self.lease_s <= LEASE_MS_MAX / 1000:
            raise GroupError(f"lease_s must be 0 to {LEASE_MS_MAX / 1000}")
        for name in ("takeover_s", "settle_s", "join_s", "kick_s", "stall_s", "linger_s", "lost_s"):
            if not 0 < getattr(self, name) <= DELAY_MAX_S:
                raise GroupError(f"{name} must be positive, and at most {DELAY_MAX_S:.0f}")

    def outlasting(self, suspicion_s: float) -> GroupConfig:
        """The same for a node that takes nobody for silent before `suspicion_s`, which is at most
        DELAY_MAX_S: what would end a member's silence earlier waits as long (D110)."""
        stall_s, settle_s = self.stall_s, self.settle_s
        if 2 * stall_s <= suspicion_s:
            stall_s = suspicion_s
        if settle_s <= suspicion_s:
            settle_s = min(suspicion_s * 1.25, DELAY_MAX_S)
        if (stall_s, settle_s) == (self.stall_s, self.settle_s):
            return self
        return replace(self, stall_s=stall_s, settle_s=settle_s)
