"""Durable groups on disk: what is written before anything is said, and starting from it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from consensus.core.config import GroupConfig
from consensus.core.durable import DurableGroup, LogDamaged
from consensus.core.errors import GroupError
from consensus.core.frozen import FrozenError, freeze, thaw
from consensus.core.group import Group as CoreGroup
from consensus.core.notary import Notary
from consensus.core.outputs import Persist
from consensus.core.types import Decision
from consensus.machine import Machine, group_number
from consensus.store import GroupRecord, StoreCorrupt
from transport.core.keys import verify

if TYPE_CHECKING:
    from consensus.files import NodeFiles
    from consensus.node import Node

DECISIONS_KEPT = 100_000
"""Decisions of a group kept on disk for `Group.recorded`; checked at checkpoints."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A durable group as it was rebuilt."""

    id: bytes
    name: str
    config: GroupConfig
    notary: Notary
    durable: DurableGroup


def _persisted(number: int, seq: int, machine: Machine, now: float) -> None:
    machine.persisted(number, seq, now)


class DurableGroups:
    """The durable groups of one node, and the one task that writes for all of them: what piles up
    while the disk is busy goes into the next transaction together."""

    def __init__(self, node: Node, files: NodeFiles) -> None:
        self._node = node
        self._files = files
        self._waiting: list[tuple[bytes, int, Persist]] = []
        self._over: set[bytes] = set()
        self._news = anyio.Event()

    async def begin(
        self,
        name: str,
        group_id: bytes,
        config: GroupConfig,
        founding: bytes | None,
        sponsor: bytes | None,
    ) -> None:
        """Make room for a new group. Raises GroupError if this life was in it, StoreError."""
        store = self._files.store
        if store.group(group_id) is not None:
            raise GroupError(
                "this life of the node was in that group: it joins again when all its durable"
                " groups have ended and it was opened anew"
            )
        life = None
        if sponsor is not None:
            life = self._node.member(sponsor)
        origin = freeze([asdict(config), founding, life])
        record = GroupRecord(group_id, name, self._node.me.incarnation, origin, 0)
        await to_thread.run_sync(store.save_group, record)

    def write(self, group_id: bytes, number: int, persist: Persist) -> None:
        """Have it written, in order."""
        self._waiting.append((group_id, number, persist))
        self._news.set()

    def over(self, group_id: bytes) -> None:
        """The group has ended here, or was given up. Harmless for one that is not durable."""
        if self._files.durable:
            self._over.add(group_id)
            self._news.set()

    async def run(self) -> None:
        """Write until cancelled. Raises StoreError when the disk does not take it: a node that
        cannot write may not speak."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            waiting, self._waiting = self._waiting, []
            over, self._over = self._over, set()
            await to_thread.run_sync(self._write, waiting, over)
            upto = {number: persist.seq for _, number, persist in waiting}
            for number, seq in upto.items():
                self._node.machine_do(partial(_persisted, number, seq))

    def _write(self, waiting: list[tuple[bytes, int, Persist]], over: set[bytes]) -> None:
        store = self._files.store
        with store.batch():
            for group_id, _, persist in waiting:
                if store.append_log(group_id, persist.record) != persist.seq:
                    raise StoreCorrupt("somebody else has written to the log of a group")
                for decision in persist.decisions:
                    store.append_decision(group_id, decision.index, freeze(decision))
                if persist.checkpoint is not None:
                    store.save_checkpoint(group_id, persist.checkpoint)
                    store.trim_log(group_id, persist.seq)
                    store.trim_decisions(group_id, DECISIONS_KEPT)
            for group_id in over:
                record = store.group(group_id)
                if record is not None:
                    store.forget_group(group_id)
                    store.save_group(GroupRecord(group_id, record.name, record.incarnation, b"", 0))

    async def recorded(self, group_id: bytes, after: int, limit: int) -> list[Decision]:
        """Decisions on disk."""
        rows = await to_thread.run_sync(self._files.store.decisions, group_id, after, limit)
        return [thaw(data) for _, data in rows]

    async def rebuild(self) -> list[tuple[int, Stored]]:
        """The groups in the file that live on. Raises StoreCorrupt when a log is damaged."""
        found = []
        for record in self._files.stored_groups():
            if record.origin:
                stored = await to_thread.run_sync(self._rebuilt, record)
                found.append((group_number(record.id), stored))
        return found

    def _rebuilt(self, record: GroupRecord) -> Stored:
        me, store = self._node.me, self._files.store
        try:
            values, founding, life = thaw(record.origin)
            config = GroupConfig(**values)
            notary = Notary(me, record.id, founding, self._node.sign, verify)

            def begin() -> CoreGroup:
                if life is None:
                    return CoreGroup.found(me, config)
                return CoreGroup.joining(me, life, config)

            durable = DurableGroup.resume(
                me, config, begin, notary, store.checkpoint(record.id), store.replay_log(record.id)
            )
        except (LogDamaged, FrozenError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                f"the log of group {record.name!r} is damaged ({error}): it was left as it is."
                " Do not start from an older copy of the file, which would forget votes this member"
                " has given: move the file away, have the others remove this member, and join again"
            ) from error
        return Stored(record.id, record.name, config, notary, durable)
