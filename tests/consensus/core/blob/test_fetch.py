"""Fetching a blob, without a network: bytes handed from one object to the other."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.core.blob import pieces, wire
from consensus.core.blob import tree as blobtree
from consensus.core.blob.fetch import Fetch
from consensus.core.blob.fetch_events import (
    Drop,
    Failed,
    FetchConfig,
    Finished,
    Progress,
    StoreChunk,
    StorePage,
    StoreRoot,
)
from consensus.core.blob.rarity import COUNT_MAX, Rarity
from consensus.core.blob.serve import Opened, ReadChunk, ReadNodes, Serve
from consensus.core.blob.tree import CHUNK_SIZE, Tree
from tests.support.nodes.swarm import swarm
from tests.support.nodes.transfers import DATA, FULL, TREE, Holder, Rig, content, tree_of


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


def test_a_tree_of_several_pages_is_asked_of_several_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With pages of 16 hashes, so that a few chunks fill several."""
    monkeypatch.setattr(blobtree, "PAGE_LEAVES", 16)
    monkeypatch.setattr(blobtree, "PAGE_SIZE", 16 * blobtree.HASH_SIZE)
    monkeypatch.setattr(pieces, "PAGE_LEAVES", 16)
    chunks = 3 * 16 + 5
    data = content(chunks)
    tree = tree_of(data)
    rig = Rig(tree.ref)
    holders = [Holder(data, tree) for _ in range(2)]
    for holder in holders:
        rig.add(holder)
    rig.run()
    assert [type(output) for output in rig.outputs].count(StorePage) == 4
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


def test_sources_that_promise_and_give_nothing_do_not_hold_a_fetch_for_ever() -> None:
    """Whoever they are and however often they come again."""
    config = FetchConfig()
    rig = Rig(TREE.ref)
    while not rig.fetch.done:
        if len(rig.channels) < 2:
            rig.channels.pop(rig.add(Holder(DATA, TREE)))
            number = max(rig.fetch._sources)
            rig.fetch.receive_data(number, FULL, rig.now)
        rig.wait()
    assert rig.now == config.stalled_s
    assert rig.last() == Failed("nothing has come for 60 s")
    assert rig.fetch.next_timeout() is None


def test_a_disk_that_takes_its_time_is_no_stall() -> None:
    rig = Rig(TREE.ref)
    number = rig.fetch.add_source(0.0)
    holder = Holder(DATA, TREE)
    serve = holder.channel()
    while not any(isinstance(o, StoreChunk) for o in rig.outputs):
        for _, data in rig.fetch.poll_writes():
            serve.receive_data_untrusted(data)
        holder.work(serve)
        rig.fetch.receive_data(number, b"".join(serve.poll_writes()), 0.0)
        while (output := rig.fetch.poll()) is not None:
            rig.outputs.append(output)
    rig.fetch.handle_timeout(FetchConfig().stalled_s - 1.0)
    late = 10 * FetchConfig().stalled_s
    rig.fetch.handle_timeout(late)
    assert not rig.fetch.done
    for output in rig.outputs:
        if isinstance(output, StoreChunk):
            rig.fetch.chunk_stored(output.index, late)
    rig.fetch.handle_timeout(late + 1.0)
    assert not any(isinstance(rig.fetch.poll(), Failed) for _ in range(40))


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


def test_sharing_with_seven_costs_the_origin_about_one_upload() -> None:
    """256 MiB over uplinks of 100 Mbit/s: 47.7 chunks a second."""
    took, alone, sent = swarm(members=7, chunks=1024, uplink_chunks_s=47.7)
    assert took <= 1.3 * alone
    assert sent <= 1.3 * 1024


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
