"""A whole node in the simulated world: the shipped machine and the shipped native bulk path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from consensus.core.blob.tree import BlobRef
from consensus.core.outputs import VoteWanted
from consensus.core.types import Proposal, Vote
from consensus.machine.hosted_group import GroupEvent, PairEvent
from consensus.machine.instant import Clocks, Instant
from consensus.machine.machine import Machine, MachineConfig
from scenarios.world.blobs import MemoryBlobs
from scenarios.world.world import Host
from transport.core.crypto.keys import Identity
from transport.core.events import BulkClosed, BulkPlane, PathMoved
from transport.core.types import Address, Transmit
from utp_native import Pump

Judge = Callable[[Proposal], Vote]


def clocks_of(host: Host) -> Clocks:
    """What leases of its nodes are counted by."""
    return lambda: Instant(host.world.now, host.now, host.now)


class SimulatedNode:
    """The four verbs over a machine, a pump without a socket, and blobs in memory.

    `judge` votes on every proposal, once the blobs it names are held.
    """

    def __init__(
        self, host: Host, now: float, identity: Identity, judge: Judge,
        config: MachineConfig | None = None, clocks: Clocks | None = None,
    ) -> None:  # fmt: skip
        """`clocks`: the host's if not said otherwise."""
        self.machine = Machine(
            identity, config or MachineConfig(), host.random_bytes, now, host.incarnation,
            clocks or clocks_of(host),
        )  # fmt: skip
        self.key = identity.key
        self.pump = Pump(None, random=host.random_bytes, now=now)
        self.blobs = MemoryBlobs(self.pump, host.random_bytes, self._fetched)
        self._judge = judge
        self._planes: dict[bytes, int] = {}
        self._waiting: dict[BlobRef, list[tuple[int, Proposal]]] = {}
        self._events: list[object] = []
        self._now = now

    # The four verbs.

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> None:
        """Bulk to the pump, what is left to the machine."""
        self._now = now
        control = self.pump.inject(batch, now)
        if control:
            self.machine.receive_datagrams(control, now)
        self._settle()

    def handle_timeout(self, now: float) -> None:
        """Do what is due in all parts."""
        self._now = now
        at = self.machine.next_timeout()
        if at is not None and at <= now:
            self.machine.handle_timeout(now)
        self.pump.handle_timeout(now)
        self.blobs.handle_timeout(now)
        self._settle()

    def poll_transmits(self) -> list[Transmit]:
        """Control and bulk."""
        self._settle()
        bulk = [Transmit(data, address) for data, address in self.pump.collect()]
        return self.machine.poll_transmits() + bulk

    def poll_events(self) -> list[object]:
        """What the machine said that this node has not dealt with itself."""
        events, self._events = self._events, []
        return events

    def next_timeout(self) -> float | None:
        """The earliest of the parts'."""
        times = (
            self.machine.next_timeout(), self.pump.next_timeout(), self.blobs.next_timeout(),
        )  # fmt: skip
        return min((at for at in times if at is not None), default=None)

    # What the endpoint and the node do otherwise.

    def do(self, action: Callable[[Machine, float], Any], now: float) -> Any:
        """Something with the machine; use as `host.call(lambda n, now: n.do(..., now))`."""
        self._now = now
        self.pump.handle_timeout(now)
        return action(self.machine, now)

    def _settle(self) -> None:
        while True:
            happened = self.pump.poll_events()
            events = self.machine.poll_events()
            if not happened and not events:
                return
            for each in happened:
                self.blobs.take(each, self._now)
            for event in events:
                self._take(event)

    def _take(self, event: object) -> None:
        match event:
            case BulkPlane(peer, _, plane):
                if peer in self._planes:
                    self.pump.rekey_plane(self._planes[peer], plane, send_now=plane.initiator)
                else:
                    mine = replace(plane, initiator=self.key < peer)
                    self._planes[peer] = self.pump.add_plane(mine)
            case PathMoved(peer, address) if peer in self._planes:
                self.pump.move_plane(self._planes[peer], address)
            case BulkClosed(peer) if peer in self._planes:
                self.pump.remove_plane(self._planes.pop(peer))
            case PairEvent(peer, VoteWanted(proposal)):
                vote = self._judge(proposal)
                self.machine.answer_peer(peer, proposal.id, vote, self._now)
            case GroupEvent(number, VoteWanted(proposal)):
                self._consider(number, proposal)
            case _:
                self._events.append(event)

    def _consider(self, number: int, proposal: Proposal) -> None:
        for root, size in proposal.content.blobs:
            ref = BlobRef(root, size)
            held = self.blobs.held.get(ref)
            if held is None:
                self._waiting.setdefault(ref, []).append((number, proposal))
                self.blobs.fetch(ref, list(self._planes.values()), self._now)
                return
            if len(held.chunks) < ref.chunks:
                self._waiting.setdefault(ref, []).append((number, proposal))
                return
        self.machine.answer(number, proposal.id, self._judge(proposal), self._now)

    def _fetched(self, ref: BlobRef, ok: bool) -> None:
        for number, proposal in self._waiting.pop(ref, ()):
            if ok:
                self._consider(number, proposal)
            else:
                vote = Vote(False, b"", "could not get the blob")
                self.machine.answer(number, proposal.id, vote, self._now)
