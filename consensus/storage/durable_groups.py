"""Durable groups on disk: what is written before anything is said, and starting from it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial

import anyio
from anyio import to_thread

from consensus.core.config import GroupConfig
from consensus.core.durable.durable_group import DurableGroup
from consensus.core.engine.group import Group as CoreGroup
from consensus.core.engine.state_codec import FrozenError, LogDamaged, freeze, thaw
from consensus.core.evidence.notary import Notary
from consensus.core.lives import generation, life
from consensus.core.outputs import Persist
from consensus.core.tables.membership_rules import REASON_LEFT
from consensus.core.types import Decision, Member
from consensus.decision import GroupEnded
from consensus.machine.machine import Machine, group_number
from consensus.node_context import NodeContext
from consensus.storage.files import NodeFiles
from consensus.storage.node_store import (
    OVER,
    GroupRecord,
    InvitationRecord,
    NodeStore,
    StoreCorrupt,
)
from transport.core.crypto.keys import verify

DECISIONS_KEPT = 100_000
"""Decisions of a group kept on disk for `Group.recorded`; checked at checkpoints."""
DECISIONS_READ = 1000
"""Decisions read from the disk at a time."""
INDEX_MAX = (1 << 63) - 1
"""More than any index: what an integer of SQLite holds."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A durable group as it was rebuilt."""

    id: bytes
    name: str
    config: GroupConfig
    notary: Notary
    durable: DurableGroup
    state: tuple[int, bytes] | None
    """What a joiner was given, or a replica saved: the state, and the index it is after."""
    decisions: list[Decision]
    """Of a group that keeps a state: those after it, without a gap, to the last one delivered."""
    invitations: list[InvitationRecord]


@contextmanager
def unwrapped(kind: type[Exception]) -> Iterator[None]:
    """An error of this kind that has ended a task group comes out as itself."""
    try:
        yield
    except ExceptionGroup as group:
        found: BaseException | None = group.subgroup(kind)
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if found is None:
            raise
        raise found from found.__cause__


def _persisted(number: int, seq: int, machine: Machine, now: float) -> None:
    machine.persisted(number, seq, now)


class DurableGroups:
    """The durable groups of one node, and the one task that writes for all of them: what piles up
    while the disk is busy goes into the next transaction together."""

    def __init__(self, context: NodeContext, files: NodeFiles) -> None:
        self._context = context
        self._files = files
        self._waiting: list[tuple[bytes, int, Persist]] = []
        self._states: dict[bytes, tuple[int, bytes]] = {}
        self._over: dict[bytes, GroupEnded | None] = {}
        self._unwritten: dict[bytes, float] = {}
        """Since when the disk has something of a group to write, on the node's clock."""
        self._with_state: set[bytes] = set()
        """Groups that keep a state: what it lacks stays on the disk."""
        self._news = anyio.Event()
        self._writing = anyio.Lock()

    async def begin(
        self,
        name: str,
        group_id: bytes,
        config: GroupConfig,
        founding: bytes | None,
        own: Member,
        sponsor: Member | None,
    ) -> None:
        """Make room for a group, in the place of what is left of an earlier time in it. Raises
        StoreError."""
        origin = freeze([asdict(config), founding, sponsor])
        record = GroupRecord(group_id, name, own.incarnation, origin)
        self._with_state.discard(group_id)
        if config.asks_for_snapshots:
            self._with_state.add(group_id)
        await to_thread.run_sync(_save_anew, self._files.store, record)

    async def last_time(self, group_id: bytes) -> tuple[int, GroupEnded | None]:
        """The generation that this life of the node had in a group, which is over, or -1; and how
        that ended, or an earlier life's, if others did it. Raises StoreError."""
        await self._write_all()  # What is left of it, and that it is over.
        record = await to_thread.run_sync(self._files.store.group, group_id)
        if record is None:
            return -1, None
        member = Member(self._context.key, record.incarnation)
        same = life(member) == life(self._context.me)
        return generation(member) if same else -1, _why(record)

    def write(self, group_id: bytes, number: int, persist: Persist) -> None:
        """Have it written, in order."""
        self._unwritten.setdefault(group_id, self._context.clock())
        self._waiting.append((group_id, number, persist))
        self._news.set()

    def unwritten_since(self, group_id: bytes) -> float | None:
        """Since when the disk has something of the group to write, on the node's clock; None when
        it has written all."""
        return self._unwritten.get(group_id)

    def save_state(self, group_id: bytes, index: int, data: bytes) -> None:
        """Have the state that the group's decisions made written, as it is after `index`, which
        was reported here and is therefore on the disk."""
        self._states[group_id] = index, data
        self._news.set()

    def over(self, group_id: bytes, ended: GroupEnded | None) -> None:
        """The group has ended here, or was given up; `ended` if it was so by others. Harmless for
        one that is not durable."""
        if self._files.durable:
            by_others = ended is not None and ended.reason != REASON_LEFT
            self._over[group_id] = ended if by_others else None
            self._news.set()

    async def run(self) -> None:
        """Write until cancelled, and then what is left. Raises StoreError when the disk does not
        take it: a node that cannot write may not speak."""
        try:
            while True:
                await self._news.wait()
                await self._write_all()
        except anyio.get_cancelled_exc_class():
            await self._write_all()
            raise

    async def _write_all(self) -> None:
        """What waits, in one transaction, come what may; then the machine is told up to which turn
        of which group that was."""
        with anyio.CancelScope(shield=True):
            async with self._writing:
                if self._news.is_set():  # Else somebody waits for this one.
                    self._news = anyio.Event()
                waiting, self._waiting = self._waiting, []
                states, self._states = self._states, {}
                over, self._over = self._over, {}
                if waiting or states or over:
                    await to_thread.run_sync(self._write, waiting, states, over)
                now = self._context.clock()
                self._unwritten = dict.fromkeys((row[0] for row in self._waiting), now)
        if not self._context.endpoint.closed:
            for number, seq in {number: each.seq for _, number, each in waiting}.items():
                self._context.do(partial(_persisted, number, seq))

    def _write(
        self,
        waiting: list[tuple[bytes, int, Persist]],
        states: dict[bytes, tuple[int, bytes]],
        over: dict[bytes, GroupEnded | None],
    ) -> None:
        store = self._files.store
        with store.batch():
            for group_id, state in states.items():
                store.save_state(group_id, *state)
            for group_id, _, persist in waiting:
                _write_turn(store, group_id, persist, group_id in self._with_state)
            for group_id, ended in over.items():
                record = store.group(group_id)
                if record is not None:
                    store.forget_group(group_id)
                    store.save_group(_over(record, ended))

    async def recorded(self, group_id: bytes, after: int, limit: int) -> list[Decision]:
        """Decisions on disk."""
        return await to_thread.run_sync(_decisions, self._files.store, group_id, after, limit)

    def ended(self) -> list[tuple[bytes, str, GroupEnded]]:
        """The groups, by id and name, that this node was in until others, or what happened to
        them, ended that, and has not entered again. Raises StoreError."""
        found = []
        for record in self._files.stored_groups():
            why = _why(record)
            if why is not None:
                found.append((record.id, record.name, why))
        return found

    async def rebuild(self) -> list[tuple[int, Stored]]:
        """The groups in the file that live on. Raises StoreCorrupt when one is damaged."""
        found = []
        for record in self._files.stored_groups():
            if record.lives:
                stored = await to_thread.run_sync(self._rebuilt, record)
                found.append((group_number(record.id), stored))
        return found

    def _rebuilt(self, record: GroupRecord) -> Stored:
        store = self._files.store
        me = Member(self._context.key, record.incarnation)
        try:
            values, founding, sponsor = thaw(record.origin)
            config = GroupConfig(**values)
            notary = Notary(me, record.id, founding, self._context.sign, verify)

            def begin() -> CoreGroup:
                if sponsor is None:
                    return CoreGroup.found(me, config)
                return CoreGroup.joining(me, sponsor, config)

            durable = DurableGroup.resume(
                me, config, begin, notary, store.checkpoint(record.id), store.replay_log(record.id)
            )
            state = store.state(record.id)
            base = state[0] if state else 0
            _check(store, record.id, base, durable.group.index)
            decisions: list[Decision] = []
            if config.asks_for_snapshots:
                self._with_state.add(record.id)
                decisions = _after(store, record.id, base)
        except (LogDamaged, FrozenError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                f"the log of group {record.name!r} is damaged ({error}): it was left as it is."
                " Do not start from an older copy of the file, which would forget votes this member"
                " has given: move the file away, have the others remove this member, and join again"
            ) from error
        invitations = store.invitations(record.id)
        return Stored(
            record.id, record.name, config, notary, durable, state, decisions, invitations
        )


def _over(record: GroupRecord, ended: GroupEnded | None) -> GroupRecord:
    """What is left of a group that is over here: which member this node was, and why it is not."""
    why = b"" if ended is None else OVER + freeze([ended.expelled, ended.reason])
    return GroupRecord(record.id, record.name, record.incarnation, why)


def _why(record: GroupRecord) -> GroupEnded | None:
    """Why a group is over here, if others have ended it."""
    if record.lives or not record.origin:
        return None
    expelled, reason = thaw(record.origin[len(OVER) :])
    return GroupEnded(expelled, reason)


def _save_anew(store: NodeStore, record: GroupRecord) -> None:
    with store.batch():
        store.forget_group(record.id)
        store.save_group(record)


def _write_turn(
    store: NodeStore, group_id: bytes, persist: Persist, with_state: bool
) -> None:
    if store.append_log(group_id, persist.record) != persist.seq:
        raise StoreCorrupt("somebody else has written to the log of a group")
    if persist.restored is not None:
        index, data = persist.restored
        store.trim_decisions(group_id, 0, index)
        store.save_state(group_id, index, data)
    for decision in persist.decisions:
        store.append_decision(group_id, decision.index, freeze(decision))
    if persist.checkpoint is not None:
        store.save_checkpoint(group_id, persist.checkpoint)
        store.trim_log(group_id, persist.seq)
        through = store.state_index(group_id) if with_state else INDEX_MAX
        store.trim_decisions(group_id, DECISIONS_KEPT, through)


def _decisions(store: NodeStore, group_id: bytes, after: int, limit: int) -> list[Decision]:
    return [thaw(data) for _, data in store.decisions(group_id, after, limit)]


def _check(store: NodeStore, group_id: bytes, base: int, index: int) -> None:
    """Raise LogDamaged unless the decisions on disk are those up to `index`, the last one in the
    log, without a gap. `base` is the index that a joiner began with, or of a state saved later."""
    kept = store.decisions_kept(group_id)
    if kept.number:
        whole = kept.last == index and kept.last - kept.first + 1 == kept.number
    else:
        whole = index == base
    if not whole or base > index:
        raise LogDamaged(f"the decisions up to {index} are not all there")


def _after(store: NodeStore, group_id: bytes, base: int) -> list[Decision]:
    """All decisions above an index. Raises LogDamaged when the first of them is not there."""
    found: list[Decision] = []
    while some := _decisions(store, group_id, base + len(found), DECISIONS_READ):
        if some[0].index != base + len(found) + 1:
            raise LogDamaged(f"decision {base + 1} is not there, and the state lacks it")
        found += some
    return found
