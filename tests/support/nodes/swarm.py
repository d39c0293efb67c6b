"""Members that fetch one blob at a time from each other, behind uplinks of limited rate."""

import heapq
from collections.abc import Callable

from consensus.core.blob.fetch_events import SourceDropped, StoreChunk, StorePage
from consensus.core.blob.serve import ReadChunk, Serve
from consensus.core.blob.tree import Tree
from tests.support.nodes.transfers import Holder, Rig, content, tree_of

Wire = tuple[int, int, Serve, Rig, int]
"""From, to, the channel at its holder, the fetch at its end, and its number as a source there."""


def swarm(members: int, chunks: int, uplink_chunks_s: float) -> tuple[float, float, int]:
    """`members` fetch a blob of one origin; every uplink carries so many chunks a second.

    Returns the simulated seconds until all have it and until one would have had it alone, and how
    many chunks the origin sent. Each uplink sends one chunk at a time, its channels in turn.
    """
    data = content(chunks)
    tree = tree_of(data)
    latency_s, chunk_s = 0.01, 1.0 / uplink_chunks_s
    holders = [Holder(data, tree)]
    holders += [Holder(data, Tree(tree.ref), mask=0) for _ in range(members)]
    rigs = [Rig(tree.ref, seed=member) for member in range(members)]
    outgoing: list[list[Wire]] = [[] for _ in holders]
    incoming: list[dict[int, Wire]] = [{} for _ in holders]  # by source number
    for to, rig in enumerate(rigs, 1):
        for source in range(members + 1):
            if source != to:
                number = rig.fetch.add_source(0.0)
                w = source, to, holders[source].channel(), rig, number
                outgoing[source].append(w)
                incoming[to][number] = w
    agenda: list[tuple[float, int, Callable[[], None]]] = []
    order = 0
    busy = [False] * (members + 1)
    turn = [0] * (members + 1)
    now = 0.0

    def later(delay_s: float, what: Callable[[], None]) -> None:
        nonlocal order
        order += 1
        heapq.heappush(agenda, (now + delay_s, order, what))

    def deliver(w: Wire, data: bytes) -> None:
        _, to, _, rig, number = w
        rig.fetch.receive_data(number, data, now)
        while (output := rig.fetch.poll()) is not None:
            if isinstance(output, StoreChunk):
                rig.stored[output.index] = b""
                rig.fetch.chunk_stored(output.index, now)
                holders[to].gain(output.index)
            elif isinstance(output, StorePage) and output.tree_complete:
                holders[to].tree = tree
                for serve in holders[to].serves:
                    serve.holding(holders[to].mask)
            assert not isinstance(output, SourceDropped)
        touch(to)

    def free(source: int) -> None:
        busy[source] = False
        touch(source)

    def touch(member: int) -> None:
        """What this one has to send: requests, announcements and hashes go out at once, chunks
        one at a time."""
        if member:
            for number, data in rigs[member - 1].fetch.poll_writes():
                w = incoming[member][number]

                def arrive(w: Wire = w, data: bytes = data) -> None:
                    holders[w[0]].receive(w[2], data)
                    touch(w[0])

                later(latency_s, arrive)
        mine = outgoing[member]
        for w in mine:
            flush(w)
        for step in range(len(mine)):
            w = mine[(turn[member] + step) % len(mine)]
            if busy[member]:
                break
            output = w[2].poll()
            while output is not None and not isinstance(output, ReadChunk):
                holders[member].answer(w[2], output)
                flush(w)
                output = w[2].poll()
            if output is not None:
                turn[member] += step + 1
                busy[member] = True
                holders[member].answer(w[2], output)
                data = b"".join(w[2].poll_writes())
                later(chunk_s, lambda: free(member))
                later(chunk_s + latency_s, lambda w=w, data=data: deliver(w, data))  # type: ignore[misc]

    def flush(w: Wire) -> None:
        data = b"".join(w[2].poll_writes())
        if data:
            later(latency_s, lambda: deliver(w, data))

    for member in range(members + 1):
        touch(member)
    while agenda and not all(rig.fetch.done for rig in rigs):
        now, _, what = heapq.heappop(agenda)
        what()
    assert all(rig.fetch.done for rig in rigs)
    return now, chunks * chunk_s + 4 * latency_s, holders[0].served
