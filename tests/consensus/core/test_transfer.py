"""Fetching and serving a blob, without a network: bytes handed from one object to the other."""

import heapq
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.core import transferwire as wire
from consensus.core.blobtree import CHUNK_SIZE, PAGE_LEAVES, BlobRef, Tree, TreeHasher
from consensus.core.rarity import COUNT_MAX, Rarity
from consensus.core.serving import REQUESTS_MAX, Opened, ReadChunk, ReadNodes, Serve
from consensus.core.transfer import SOURCES_MAX, Fetch
from consensus.core.transferevents import (
    Drop,
    Failed,
    FetchConfig,
    FetchOutput,
    Finished,
    Progress,
    SourceDropped,
    StoreChunk,
    StorePage,
    StoreRoot,
)
from consensus.core.transferwire import TransferError


def content(chunks: int, tail: int = 0) -> bytes:
    return b"".join(bytes((n % 251, n // 251)) * (CHUNK_SIZE // 2) for n in range(chunks)) + bytes(
        tail
    )


def tree_of(data: bytes) -> Tree:
    hasher = TreeHasher()
    hasher.update(data)
    return hasher.finish()


class Holder:
    """A holder with all or some of a blob in memory, and the channels it serves."""

    def __init__(self, data: bytes, tree: Tree, mask: int | None = None) -> None:
        self.data = data
        self.tree = tree
        self.mask = (1 << tree.ref.chunks) - 1 if mask is None else mask
        self.serves: list[Serve] = []
        self.alter: Callable[[int, bytes], bytes] = lambda index, chunk: chunk
        self.served = 0

    def channel(self) -> Serve:
        self.serves.append(Serve())
        return self.serves[-1]

    def work(self, serve: Serve) -> None:
        """Do everything the channel asks for."""
        while (output := serve.poll()) is not None:
            self.answer(serve, output)

    def answer(self, serve: Serve, output: Opened | ReadNodes | ReadChunk) -> None:
        if isinstance(output, Opened):
            if output.ref == self.tree.ref and self.tree.complete:
                serve.holding(self.mask)
            else:
                serve.absent()
        elif isinstance(output, ReadNodes):
            hashes = (
                self.tree.page_hashes if output.page is None else self.tree.page(output.page)
            )
            serve.nodes_read(output.page, hashes or b"")
        else:
            at = output.index * CHUNK_SIZE
            self.served += 1
            serve.chunk_read(
                output.index, self.alter(output.index, self.data[at : at + CHUNK_SIZE])
            )

    def receive(self, serve: Serve, data: bytes) -> None:
        """Bytes from a fetcher."""
        asked = serve.receive_data_untrusted(data)
        for other in self.serves:
            if other is not serve:
                other.given(asked)

    def gain(self, index: int) -> None:
        self.mask |= 1 << index
        for serve in self.serves:
            serve.gained(1 << index)


class Rig:
    """One fetch and its holders, time standing still unless told."""

    def __init__(self, ref: BlobRef, seed: int = 1, **options: object) -> None:
        self.random = Random(seed)
        self.fetch = Fetch(ref, self.random.randbytes, 0.0, **options)  # type: ignore[arg-type]
        self.channels: dict[int, tuple[Holder, Serve]] = {}
        self.outputs: list[FetchOutput] = []
        self.stored: dict[int, bytes] = {}
        self.now = 0.0
        self.piece = 1 << 16

    def add(self, holder: Holder) -> int:
        number = self.fetch.add_source(self.now)
        self.channels[number] = (holder, holder.channel())
        return number

    def run(self, rounds: int = 1_000_000) -> None:
        """Until nothing moves, or so many rounds."""
        moved = True
        while moved and rounds:
            rounds -= 1
            moved = self.step()

    def step(self) -> bool:
        moved = self.drain()
        for number, data in self.fetch.poll_writes():
            moved = True
            if number in self.channels:
                holder, serve = self.channels[number]
                holder.receive(serve, data)
        for number, (holder, serve) in list(self.channels.items()):
            holder.work(serve)
            data = b"".join(serve.poll_writes())
            for at in range(0, len(data), self.piece):
                moved = True
                self.fetch.receive_data(number, data[at : at + self.piece], self.now)
                self.drain()
        return moved

    def drain(self) -> bool:
        moved = False
        while (output := self.fetch.poll()) is not None:
            moved = True
            self.outputs.append(output)
            if isinstance(output, StoreChunk):
                assert output.index not in self.stored
                self.stored[output.index] = bytes(output.data)
                self.fetch.chunk_stored(output.index, self.now)
            elif isinstance(output, SourceDropped):
                self.channels.pop(output.source, None)
        return moved

    def wait(self) -> None:
        """To the next timeout."""
        at = self.fetch.next_timeout()
        assert at is not None
        self.now = max(self.now, at)
        self.fetch.handle_timeout(self.now)
        self.run()

    @property
    def whole(self) -> bytes:
        return b"".join(self.stored[index] for index in sorted(self.stored))

    def drops(self) -> list[tuple[int, Drop]]:
        return [(o.source, o.reason) for o in self.outputs if isinstance(o, SourceDropped)]

    def last(self) -> FetchOutput:
        return self.outputs[-1]


DATA = content(12, tail=77)
TREE = tree_of(DATA)


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1])
@pytest.mark.parametrize("piece", [7, 1 << 18])
def test_a_blob_of_any_size_is_fetched(size: int, piece: int) -> None:
    data = bytes(size)
    tree = tree_of(data)
    rig = Rig(tree.ref)
    rig.piece = piece
    rig.add(Holder(data, tree))
    rig.run()
    assert rig.whole == data
    assert [type(output) for output in rig.outputs].count(Finished) == 1
    assert rig.fetch.done
    assert rig.fetch.next_timeout() is None


def test_hashes_come_first_and_progress_is_told() -> None:
    rig = Rig(TREE.ref)
    rig.add(Holder(DATA, TREE))
    rig.run()
    kinds = [type(output) for output in rig.outputs]
    assert kinds[:2] == [StoreRoot, StorePage]
    told = [output for output in rig.outputs if isinstance(output, Progress)]
    assert [each.chunks for each in told] == list(range(1, 14))
    assert told[-1] == Progress(13, 13, len(DATA), len(DATA))


def test_a_tree_of_several_pages_is_asked_of_several_sources() -> None:
    chunks = PAGE_LEAVES + 5
    data = content(chunks)
    tree = tree_of(data)
    rig = Rig(tree.ref)
    holders = [Holder(data, tree) for _ in range(2)]
    for holder in holders:
        rig.add(holder)
    rig.run()
    assert rig.whole == data
    assert sum(holder.served for holder in holders) == chunks  # nothing was fetched twice
    assert all(holder.served > chunks // 4 for holder in holders)


def test_what_is_held_already_is_not_fetched_again() -> None:
    rig = Rig(TREE.ref, tree=TREE, held=0b1010101)
    holder = Holder(DATA, TREE)
    rig.add(holder)
    rig.run()
    assert sorted(rig.stored) == [1, 3, 5, 7, 8, 9, 10, 11, 12]
    assert holder.served == 9
    assert isinstance(rig.outputs[-1], Finished)


def test_a_whole_blob_needs_no_source() -> None:
    rig = Rig(TREE.ref, tree=TREE, held=(1 << 13) - 1)
    rig.drain()
    assert rig.outputs == [Finished()]


def test_a_lying_source_is_dropped_and_its_chunks_come_from_elsewhere() -> None:
    liar, honest = Holder(DATA, TREE), Holder(DATA, TREE)
    liar.alter = lambda index, chunk: chunk if index < 3 else b"x" * len(chunk)
    rig = Rig(TREE.ref)
    number = rig.add(liar)
    rig.add(honest)
    rig.run()
    assert rig.drops() == [(number, Drop.LYING)]
    assert rig.whole == DATA


def test_what_a_liar_was_asked_for_is_asked_at_once_of_those_who_are_idle() -> None:
    rig = Rig(TREE.ref, tree=TREE, held=((1 << 13) - 1) & ~0b1111)
    liar = rig.fetch.add_source(0.0)
    rig.fetch.receive_data(liar, FULL, 0.0)  # it is asked for all four that are missing
    rig.add(Holder(DATA, TREE))
    rig.run()
    assert not rig.stored
    rig.fetch.receive_data(liar, wire.indexed(wire.CHUNK, 0, b"x" * CHUNK_SIZE), 0.0)
    rig.run()
    assert rig.drops() == [(liar, Drop.LYING)]
    assert sorted(rig.stored) == [0, 1, 2, 3]


@pytest.mark.parametrize("page", [None, 0])
def test_a_source_with_false_hashes_is_dropped(page: int | None) -> None:
    class Liar(Holder):
        def answer(self, serve: Serve, output: Opened | ReadNodes | ReadChunk) -> None:
            if isinstance(output, ReadNodes) and output.page == page:
                serve.nodes_read(output.page, bytes(32 if page is None else 13 * 32))
            else:
                super().answer(serve, output)

    rig = Rig(TREE.ref)
    number = rig.add(Liar(DATA, TREE))
    rig.run()
    assert rig.drops() == [(number, Drop.LYING)]
    assert not rig.stored
    rig.add(Holder(DATA, TREE))
    rig.run()
    assert rig.whole == DATA


def test_all_sources_lying_is_a_failure_that_is_said() -> None:
    liar = Holder(DATA, TREE)
    liar.alter = lambda index, chunk: chunk[:-1]
    rig = Rig(TREE.ref)
    rig.add(liar)
    rig.fetch.no_more_sources(0.0)
    rig.run()
    assert rig.last() == Failed("no source is left")


def test_a_source_that_vanishes_is_replaced() -> None:
    rig = Rig(TREE.ref)
    gone, other = rig.add(Holder(DATA, TREE)), rig.add(Holder(DATA, TREE))
    rig.run(rounds=3)
    rig.channels.pop(gone)
    rig.fetch.source_closed(gone, 0.0)
    rig.fetch.source_closed(gone, 0.0)  # twice is harmless
    rig.run()
    assert rig.drops() == [(gone, Drop.GONE)]
    assert other in rig.channels
    assert rig.whole == DATA


def test_a_silent_source_does_not_hold_up_the_end_and_is_dropped() -> None:
    config = FetchConfig()
    rig = Rig(TREE.ref)
    silent = rig.add(Holder(DATA, TREE))
    rig.run(rounds=2)  # it has said what it holds and been asked
    rig.channels.pop(silent)
    rig.run()
    rig.add(Holder(DATA, TREE))
    rig.run()
    assert not rig.fetch.done
    rig.wait()
    assert rig.now <= 2 * config.double_after_s
    while not rig.fetch.done:
        rig.wait()
    assert rig.whole == DATA
    assert rig.now < config.piece_timeout_s


def test_a_source_that_is_slow_for_too_long_is_dropped() -> None:
    config = FetchConfig(double_after_s=1000.0)
    rig = Rig(TREE.ref, config=config)
    silent = rig.add(Holder(DATA, TREE))
    rig.run(rounds=2)
    rig.channels.pop(silent)
    while not rig.drops():
        rig.wait()
    assert rig.drops() == [(silent, Drop.SLOW)]
    assert rig.now == config.piece_timeout_s
    rig.add(Holder(DATA, TREE))
    rig.run()
    assert rig.whole == DATA


def test_nobody_holds_it() -> None:
    other = tree_of(b"other")
    rig = Rig(TREE.ref)
    rig.add(Holder(b"other", other))
    rig.fetch.no_more_sources(0.0)
    rig.run()
    assert not rig.fetch.done  # it may be fetching it itself, and begin to hold it
    rig.wait()
    assert rig.now == FetchConfig().absent_grace_s
    assert rig.last() == Failed("no source holds any of it")


def test_some_chunks_are_nowhere() -> None:
    rig = Rig(TREE.ref)
    rig.add(Holder(DATA, TREE, mask=0b1111111111101))
    rig.fetch.no_more_sources(0.0)
    rig.run()
    rig.wait()
    assert rig.now == FetchConfig().starved_s
    assert rig.last() == Failed("no source holds the 1 chunks that are missing")


def test_who_fetches_serves_what_it_has() -> None:
    """B has nothing at first; C knows B only and gets everything through it."""
    b = Rig(TREE.ref)
    relay = Holder(DATA, Tree(TREE.ref), mask=0)
    c = Rig(TREE.ref)
    c.add(relay)
    c.run()
    assert c.fetch.next_timeout() is not None
    assert not c.stored
    b.add(Holder(DATA, TREE))
    told = 0
    while not b.fetch.done:
        b.step()
        for output in b.outputs[told:]:
            if isinstance(output, StorePage) and output.tree_complete:
                relay.tree = TREE
                relay.serves[0].holding(relay.mask)
            elif isinstance(output, StoreChunk):
                relay.gain(output.index)
        told = len(b.outputs)
        c.run()
    c.run()
    assert c.whole == DATA
    assert relay.served == 13


def test_what_others_are_given_is_asked_for_last() -> None:
    """A fetcher that is told what others get from the origin asks it for something else."""
    tree = tree_of(content(40))
    fetch = Fetch(tree.ref, Random(1).randbytes, 0.0, tree=tree)
    origin = fetch.add_source(0.0)
    fetch.add_source(0.0)  # a peer that has said nothing yet: so it is a swarm
    fetch.poll_writes()
    kept_back = {3, 11, 12, 39}
    given = sum(1 << index for index in range(40) if index not in kept_back)
    data = wire.frame(wire.HOLDING, wire.bitmap((1 << 40) - 1, 40))
    fetch.receive_data(origin, data + b"".join(wire.indexes(wire.GIVEN, given)), 0.0)
    ((_, asked),) = fetch.poll_writes()
    frames = wire.FrameReader(wire.TO_HOLDER).frames_untrusted(asked)
    assert {wire.index_untrusted(body) for _, body in frames} == kept_back


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


def test_sharing_with_seven_costs_the_origin_about_one_upload() -> None:
    """Uplinks of 100 Mbit/s: 47.7 chunks a second."""
    took, alone, sent = swarm(members=7, chunks=128, uplink_chunks_s=47.7)
    assert took <= 1.3 * alone
    assert sent <= 1.3 * 128


# what does not keep to the protocol


def asked_rig() -> tuple[Rig, int]:
    """A fetch whose only source has said what it holds and been asked for hashes."""
    rig = Rig(TREE.ref)
    number = rig.add(Holder(DATA, TREE))
    rig.run(rounds=2)
    return rig, number


FULL = wire.frame(wire.HOLDING, wire.bitmap((1 << 13) - 1, 13))


@pytest.mark.parametrize(
    "data",
    [
        wire.frame(99),
        wire.frame(wire.OPEN),
        wire.frame(wire.ABSENT, b"x"),
        wire.frame(wire.HOLDING, bytes(3)),
        wire.frame(wire.HOLDING, b"\xff\xff"),
        FULL + FULL,
        wire.frame(wire.HAVE, bytes(4)),
        FULL + wire.frame(wire.HAVE),
        FULL + wire.frame(wire.HAVE, bytes(5)),
        FULL + wire.indexed(wire.HAVE, 13),
        FULL + wire.indexed(wire.GIVEN, 13),
        FULL + wire.indexed(wire.CHUNK, 0, DATA[:CHUNK_SIZE]),
        FULL + wire.frame(wire.CHUNK, b"abc"),
        FULL + wire.indexed(wire.NODES, 0, TREE.page(0)),
        (CHUNK_SIZE + 5).to_bytes(4, "big") + bytes((wire.CHUNK,)),
        b"\xff" * 5,
    ],
)
def test_a_source_that_breaks_the_protocol_is_dropped(data: bytes) -> None:
    rig = Rig(TREE.ref)
    number = rig.fetch.add_source(0.0)
    rig.fetch.receive_data(number, data, 0.0)
    rig.drain()
    assert rig.drops() == [(number, Drop.BROKE_PROTOCOL)]


OPENED = wire.frame(wire.OPEN, bytes((wire.VERSION,)) + TREE.ref.encode())


@pytest.mark.parametrize(
    "data",
    [
        wire.frame(99),
        wire.frame(wire.CHUNK),
        wire.frame(wire.OPEN),
        wire.frame(wire.OPEN, bytes(41)),
        wire.frame(wire.OPEN, b"\x01" + bytes(32) + b"\xff" * 8),
        wire.frame(wire.OPEN, b"\x01" + bytes(32)),
        wire.frame(wire.OPEN, bytes(42)),
        OPENED + OPENED,
        wire.indexed(wire.WANT_CHUNK, 0),
        OPENED + wire.indexed(wire.WANT_CHUNK, 13),
        OPENED + wire.indexed(wire.WANT_CHUNK, 2),
        OPENED + wire.indexed(wire.WANT_NODES, 1),
        OPENED + wire.frame(wire.WANT_CHUNK, b"abc"),
        OPENED + wire.indexed(wire.WANT_CHUNK, 0) * (REQUESTS_MAX + 1),
    ],
)
def test_a_fetcher_that_breaks_the_protocol_is_refused(data: bytes) -> None:
    serve, holder = Serve(), Holder(DATA, TREE, mask=0b1111111111011)

    def feed() -> None:
        first = len(OPENED)
        serve.receive_data_untrusted(data[:first])
        holder.work(serve)
        serve.receive_data_untrusted(data[first:])

    with pytest.raises(TransferError):
        feed()


def test_a_request_before_an_offer_is_refused() -> None:
    serve = Serve()
    with pytest.raises(TransferError, match="before anything was offered"):
        serve.receive_data_untrusted(OPENED + wire.indexed(wire.WANT_CHUNK, 0))


def test_a_holder_takes_as_many_requests_as_a_fetcher_may_make() -> None:
    assert FetchConfig().window_max * 2 <= REQUESTS_MAX
    serve, holder = Serve(), Holder(DATA, TREE)
    serve.receive_data_untrusted(OPENED)
    holder.work(serve)
    serve.receive_data_untrusted(wire.indexed(wire.WANT_CHUNK, 0) * REQUESTS_MAX)
    holder.work(serve)
    assert holder.served == REQUESTS_MAX


def test_the_number_of_sources_is_bounded() -> None:
    fetch = Fetch(TREE.ref, Random(1).randbytes, 0.0)
    for _ in range(SOURCES_MAX):
        fetch.add_source(0.0)
    with pytest.raises(TransferError):
        fetch.add_source(0.0)


def test_the_window_follows_the_pace_within_its_bounds() -> None:
    config = FetchConfig()
    data = content(300)
    tree = tree_of(data)
    for pace_s, least, most in ((0.0, config.window_max, config.window_max), (0.1, 4, 6)):
        rig = Rig(tree.ref)
        number = rig.add(Holder(data, tree))
        holder, serve = rig.channels[number]
        widest = 0
        while not rig.fetch.done:
            rig.drain()
            for _, writes in rig.fetch.poll_writes():
                serve.receive_data_untrusted(writes)
            output = serve.poll()
            if output is not None:
                holder.answer(serve, output)
            rig.now += pace_s
            rig.fetch.receive_data(number, b"".join(serve.poll_writes()), rig.now)
            rig.drain()
            asked = rig.fetch._sources[number].asked
            widest = max(widest, len(asked))
        assert least <= widest <= most


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_bytes_from_a_source_do_more_than_cost_it_its_place(data: st.DataObject) -> None:
    """Frames made up, flipped and cut, at any moment: nothing false is stored, nothing raises."""
    rig, number = asked_rig()
    rig.run(rounds=data.draw(st.integers(0, 4)))
    good = b"".join(
        (
            wire.indexed(wire.NODES, ROOT, TREE.page_hashes or b""),
            wire.indexed(wire.NODES, 0, TREE.page(0)),
            wire.indexed(wire.CHUNK, 12, DATA[12 * CHUNK_SIZE :]),
            wire.indexed(wire.HAVE, 5),
        )
    )
    at = data.draw(st.integers(0, len(good) - 1))
    flipped = good[:at] + bytes((good[at] ^ data.draw(st.integers(1, 255)),)) + good[at + 1 :]
    noise = data.draw(st.one_of(st.just(flipped), st.binary(max_size=64)))
    rig.fetch.receive_data(number, noise, 0.0)
    rig.drain()
    rig.channels.clear()
    for index, chunk in rig.stored.items():
        assert chunk == DATA[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE]
    rig.fetch.source_closed(number, 0.0)
    rig.add(Holder(DATA, TREE))
    rig.run()
    assert rig.whole == DATA


ROOT = wire.ROOT_PAGE


@given(st.lists(st.binary(max_size=60), max_size=5), st.integers(0, len(OPENED) - 1))
def test_no_bytes_from_a_fetcher_raise_anything_else(noise: list[bytes], at: int) -> None:
    serve, holder = Serve(), Holder(DATA, TREE)
    flipped = OPENED[:at] + bytes((OPENED[at] ^ 1,)) + OPENED[at + 1 :]
    try:
        for data in (flipped, *noise):
            serve.receive_data_untrusted(data)
            holder.work(serve)
    except TransferError:
        pass
    assert len(serve._outputs) <= REQUESTS_MAX


@given(st.integers(0, 1 << 700))
def test_masks_as_bytes_and_as_indexes(mask: int) -> None:
    chunks = 701
    assert wire.bitmap_untrusted(wire.bitmap(mask, chunks), chunks) == mask
    read, reader = 0, wire.FrameReader(wire.TO_FETCHER)
    for data in wire.indexes(wire.HAVE, mask):
        for _, body in reader.frames_untrusted(data):
            read |= wire.indexes_untrusted(body, chunks)
    assert read == mask


@given(st.lists(st.integers(0, 255), max_size=COUNT_MAX + 5), st.integers(0, 255))
def test_counts_for_all_chunks_at_once(masks: list[int], candidates: int) -> None:
    rarity = Rarity()
    for mask in masks:
        rarity.add(mask)
    counts = [min(COUNT_MAX, sum(mask >> chunk & 1 for mask in masks)) for chunk in range(8)]
    assert [rarity.count(chunk) for chunk in range(8)] == counts
    among = [chunk for chunk in range(8) if candidates >> chunk & 1]
    lowest = min((counts[chunk] for chunk in among), default=0)
    expected = sum(1 << chunk for chunk in among if counts[chunk] == lowest)
    assert rarity.rarest(candidates) == expected
