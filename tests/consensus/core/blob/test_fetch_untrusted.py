"""Whatever comes over the channel of a transfer, from either side."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.core.blob import wire
from consensus.core.blob.fetch import SOURCES_MAX, Fetch
from consensus.core.blob.fetch_events import Drop, FetchConfig
from consensus.core.blob.serve import REQUESTS_MAX, Serve
from consensus.core.blob.tree import BLOB_SIZE_MAX, CHUNK_SIZE, BlobRef
from consensus.core.blob.wire import TransferError
from tests.support.nodes.transfers import DATA, FULL, TREE, Holder, Rig

# what does not keep to the protocol


def test_announcements_cost_little_however_they_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 KiB of them for the largest blob, one in a frame: a set of all its chunks is made once
    for each kind, and not for each frame, which took fifteen times as long."""
    ref = BlobRef(bytes(32), BLOB_SIZE_MAX)
    fetch = Fetch(ref, Random(1).randbytes, 0.0)
    source = fetch.add_source(0.0)
    fetch.receive_data(source, wire.frame(wire.HOLDING, bytes(ref.chunks // 8)), 0.0)
    indexes = Random(2).sample(range(ref.chunks), (1 << 18) // 18)
    data = b"".join(
        wire.indexed(kind, index) for index in indexes for kind in (wire.HAVE, wire.GIVEN)
    )
    indexes_untrusted, made = wire.indexes_untrusted, []

    def counted(bodies: list[bytes], chunks: int) -> int:
        made.append(len(bodies))
        return indexes_untrusted(bodies, chunks)

    monkeypatch.setattr(wire, "indexes_untrusted", counted)
    fetch.receive_data(source, data, 1.0)
    assert made == [len(indexes)] * 2
    assert fetch._given == fetch._sources[source].have
    assert fetch._given == sum(1 << index for index in indexes)


def test_a_chunk_that_is_lost_is_asked_for_again() -> None:
    rig = Rig(TREE.ref)
    rig.add(Holder(DATA, TREE))
    rig.fetch.chunk_lost(0, 0.0)  # It was not there.
    while not rig.fetch.held & 1:
        rig.run(rounds=1)
    rig.fetch.chunk_lost(0, 0.0)
    assert not rig.fetch.held & 1
    del rig.stored[0]
    rig.run(rounds=100)
    assert rig.fetch.done
    assert rig.fetch.received_size == TREE.ref.size + CHUNK_SIZE
    rig.fetch.chunk_lost(0, 0.0)
    assert rig.fetch.held & 1


def asked_rig() -> tuple[Rig, int]:
    """A fetch whose only source has said what it holds and been asked for hashes."""
    rig = Rig(TREE.ref)
    number = rig.add(Holder(DATA, TREE))
    rig.run(rounds=2)
    return rig, number


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
            read |= wire.indexes_untrusted([body], chunks)
    assert read == mask
