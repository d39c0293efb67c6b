"""Members that fetch one blob at a time from each other, behind uplinks of limited rate."""

import heapq
from collections.abc import Callable

from consensus.core.blobtree import Tree
from consensus.core.serving import ReadChunk, Serve
from consensus.core.transferevents import (
    SourceDropped,
    StoreChunk,
    StorePage,
)
from tests.support.transfers import Holder, Rig, content, tree_of


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
    wires: list[tuple[int, int, Serve, Rig, int]] = []  # from, to, channel, fetch, source number
    for to, rig in enumerate(rigs, 1):
        for source in range(members + 1):
            if source != to:
                serve = holders[source].channel()
                wires.append((source, to, serve, rig, rig.fetch.add_source(0.0)))
    agenda: list[tuple[float, int, Callable[[], None]]] = []
    order = 0
    busy = [False] * (members + 1)
    turn = [0] * (members + 1)
    now = 0.0

    def later(delay_s: float, what: Callable[[], None]) -> None:
        nonlocal order
        order += 1
        heapq.heappush(agenda, (now + delay_s, order, what))

    def deliver(w: tuple[int, int, Serve, Rig, int], data: bytes) -> None:
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
        touch()

    def free(source: int) -> None:
        busy[source] = False
        touch()

    def touch() -> None:
        """Requests go out at once, announcements and hashes too; chunks one at a time."""
        for rig in rigs:
            for number, data in rig.fetch.poll_writes():
                w = next(each for each in wires if each[3] is rig and each[4] == number)

                def arrive(w: tuple[int, int, Serve, Rig, int] = w, data: bytes = data) -> None:
                    holders[w[0]].receive(w[2], data)
                    touch()

                later(latency_s, arrive)
        for source in range(members + 1):
            mine = [w for w in wires if w[0] == source]
            for w in mine:
                flush(w)
            for step in range(len(mine)):
                w = mine[(turn[source] + step) % len(mine)]
                if busy[source]:
                    break
                output = w[2].poll()
                while output is not None and not isinstance(output, ReadChunk):
                    holders[source].answer(w[2], output)
                    flush(w)
                    output = w[2].poll()
                if output is not None:
                    turn[source] += step + 1
                    busy[source] = True
                    holders[source].answer(w[2], output)
                    data = b"".join(w[2].poll_writes())
                    later(chunk_s, lambda source=source: free(source))  # type: ignore[misc]
                    later(chunk_s + latency_s, lambda w=w, data=data: deliver(w, data))  # type: ignore[misc]

    def flush(w: tuple[int, int, Serve, Rig, int]) -> None:
        data = b"".join(w[2].poll_writes())
        if data:
            later(latency_s, lambda: deliver(w, data))

    touch()
    while agenda and not all(rig.fetch.done for rig in rigs):
        now, _, what = heapq.heappop(agenda)
        what()
    assert all(rig.fetch.done for rig in rigs)
    return now, chunks * chunk_s + 4 * latency_s, holders[0].served
