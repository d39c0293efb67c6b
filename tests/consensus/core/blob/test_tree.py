"""The tree that names a blob."""

import contextlib
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.core.blob import tree as blobtree
from consensus.core.blob.tree import (
    CHUNK_SIZE,
    HASH_SIZE,
    PAGE_LEAVES,
    BlobRef,
    BlobRefError,
    Tree,
    TreeHasher,
    decode_ref_untrusted,
    parse_ref_untrusted,
    root_hash,
)


def tree_of(data: bytes, step: int = 1 << 20) -> Tree:
    hasher = TreeHasher()
    for at in range(0, len(data), step):
        hasher.update(data[at : at + step])
    return hasher.finish()


def refs() -> st.SearchStrategy[BlobRef]:
    roots = st.binary(min_size=32, max_size=32)
    return st.builds(BlobRef, roots, st.integers(0, blobtree.BLOB_SIZE_MAX))


def big_tree(chunks: int) -> Tree:
    """A tree of many chunks whose contents nobody needs: made from made-up leaf hashes."""
    leaves = [blake2b(str(index).encode(), digest_size=32).digest() for index in range(chunks)]
    pages = -(-chunks // PAGE_LEAVES)
    lists = [b"".join(leaves[p * PAGE_LEAVES : (p + 1) * PAGE_LEAVES]) for p in range(pages)]
    hashes = b"".join(blobtree.page_hash(p, each, p == pages - 1) for p, each in enumerate(lists))
    tree = Tree(BlobRef(root_hash(hashes, chunks * CHUNK_SIZE), chunks * CHUNK_SIZE))
    assert tree.add_root_untrusted(hashes)
    for page, each in enumerate(lists):
        assert tree.add_page_untrusted(page, each)
    return tree


# Roots of this construction, kept so that a change of it is seen: 0, 1 byte, one chunk, one chunk
# and a byte, all of zeros.
VECTORS = {
    0: "967b06dfc26b30a8470bde405fafe13a36c5276ae6fc28c147b971e4e4553add",
    1: "67e181d19fd6cfd4f6dae72c3f140961e5eec2e2f17f6216bc7d53791206c302",
    CHUNK_SIZE: "fa57ea636a21464e37e5c7b20e865f29aa718d58f8bebe7366f6d0250948bea0",
    CHUNK_SIZE + 1: "bef6fbddaab51fcfe6fc559fa8172b13c36705dc1f8546200afe6ff6a916d8db",
}


@pytest.mark.parametrize("size", VECTORS)
def test_roots_stay_what_they_are(size: int) -> None:
    assert tree_of(bytes(size)).ref == BlobRef(bytes.fromhex(VECTORS[size]), size)


def test_the_root_is_blake2s_own_tree_mode() -> None:
    """Two chunks, written out with the parameters of the BLAKE2 paper."""
    chunks = [b"a" * CHUNK_SIZE, b"b" * 10]
    level = {"digest_size": 32, "person": b"quorate blob 1", "fanout": 0, "depth": 3}
    level |= {"leaf_size": CHUNK_SIZE, "inner_size": 32}

    def node(data: bytes, **rest: int) -> bytes:
        return blake2b(data, **level, **rest).digest()  # type: ignore[arg-type]

    leaves = node(chunks[0], node_offset=0, last_node=False) + node(
        chunks[1], node_offset=1, last_node=True
    )
    page = node(leaves, node_offset=0, node_depth=1, last_node=True)
    size = CHUNK_SIZE + 10
    root = node(page + size.to_bytes(8, "big"), node_offset=0, node_depth=2, last_node=True)
    assert tree_of(b"".join(chunks)).ref == BlobRef(root, size)


@settings(max_examples=20)
@given(st.integers(0, 3 * CHUNK_SIZE + 5), st.lists(st.integers(1, CHUNK_SIZE * 2), max_size=6))
def test_pieces_of_any_size_give_one_root(size: int, cuts: list[int]) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    hasher, at = TreeHasher(), 0
    for cut in cuts:
        hasher.update(memoryview(data)[at : at + cut])
        at += cut
    hasher.update(data[at:])
    assert hasher.finish().ref == tree_of(data).ref


def test_chunks_are_verified_and_nothing_else_passes() -> None:
    data = b"".join(bytes((fill,)) * CHUNK_SIZE for fill in b"abc") + b"tail"
    tree = tree_of(data)
    chunks = [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)]
    for index, chunk in enumerate(chunks):
        assert tree.verify_chunk(index, chunk)
        flipped = bytes((chunk[0] ^ 1,)) + chunk[1:]
        assert not tree.verify_chunk(index, flipped)
        assert not tree.verify_chunk((index + 1) % len(chunks), chunk)
        assert not tree.verify_chunk(index, chunk[:-1])
        assert not tree.verify_chunk(index, chunk + b"\0")
    assert not tree.verify_chunk(-1, chunks[-1])
    assert not tree.verify_chunk(len(chunks), b"")


def test_equal_chunks_in_other_places_have_other_hashes() -> None:
    leaves = tree_of(bytes(3 * CHUNK_SIZE)).page(0)
    assert len({leaves[at : at + HASH_SIZE] for at in range(0, len(leaves), HASH_SIZE)}) == 3


def test_a_leaf_list_is_no_blob_of_the_same_name() -> None:
    """Second preimages from inner nodes: the bytes of a node, given as a blob, name another."""
    tree = tree_of(bytes(2 * CHUNK_SIZE))
    assert tree.page_hashes is not None
    assert tree_of(tree.page(0)).ref.root != tree.ref.root
    assert tree_of(tree.page_hashes).ref.root != tree.ref.root


def test_the_size_is_part_of_the_name() -> None:
    tree = tree_of(b"x" * 100)
    assert tree.page_hashes is not None
    other = Tree(BlobRef(tree.ref.root, 101))
    assert not other.add_root_untrusted(tree.page_hashes)


def test_a_tree_is_taken_in_by_verified_pieces() -> None:
    whole = big_tree(2 * PAGE_LEAVES + 3)
    assert whole.page_hashes is not None
    tree = Tree(whole.ref)
    assert tree.ref.pages == 3
    assert not tree.add_page_untrusted(0, whole.page(0))  # the root comes first
    assert not tree.add_root_untrusted(whole.page_hashes[:-1])
    assert not tree.add_root_untrusted(whole.page_hashes[32:] + whole.page_hashes[:32])
    assert tree.add_root_untrusted(whole.page_hashes)
    assert not tree.add_page_untrusted(0, whole.page(1))
    assert not tree.add_page_untrusted(3, b"")
    assert not tree.add_page_untrusted(-1, whole.page(2))
    assert not tree.add_page_untrusted(2, whole.page(2)[:-32])
    for page in (2, 0, 0, 1):
        assert not tree.complete
        assert tree.add_page_untrusted(page, whole.page(page))
    assert tree.complete


def test_the_tree_of_10_gib_comes_in_pieces_of_32_kib() -> None:
    ref = BlobRef(bytes(32), 10 << 30)
    assert (ref.chunks, ref.pages) == (40_960, 40)
    assert max(ref.page_length(page) for page in range(ref.pages)) == 32 << 10
    assert sum(ref.page_length(page) for page in range(ref.pages)) == 1_310_720


def test_the_largest_blob() -> None:
    ref = BlobRef(bytes(32), blobtree.BLOB_SIZE_MAX)
    assert (ref.chunks, ref.pages) == (blobtree.CHUNKS_MAX, blobtree.PAGES_MAX)
    with pytest.raises(BlobRefError):
        BlobRef(bytes(32), blobtree.BLOB_SIZE_MAX + 1)
    hasher = TreeHasher()
    hasher._size = blobtree.BLOB_SIZE_MAX
    with pytest.raises(BlobRefError):
        hasher.update(b"x")


def test_the_empty_blob_has_one_name() -> None:
    tree = TreeHasher().finish()
    assert tree.complete
    assert (tree.ref.chunks, tree.ref.pages) == (0, 0)
    assert not Tree(BlobRef(bytes(32), 0)).complete


@given(refs())
def test_a_reference_is_read_as_it_was_written(ref: BlobRef) -> None:
    assert parse_ref_untrusted(str(ref)) == ref
    assert decode_ref_untrusted(ref.encode()) == ref
    assert len(str(ref)) <= blobtree.REF_TEXT_SIZE_MAX


@given(st.one_of(st.text(max_size=100), st.text("abcdefg234567:=A0 \n", max_size=80)))
def test_one_error_whatever_the_text(text: str) -> None:
    for candidate in (text, blobtree.REF_PREFIX + text):
        with pytest.raises(BlobRefError):
            parse_ref_untrusted(candidate)


@given(refs(), st.data())
def test_a_changed_reference_is_another_or_none(ref: BlobRef, data: st.DataObject) -> None:
    text = str(ref)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    try:
        read = parse_ref_untrusted(changed)
    except BlobRefError:
        return
    assert str(read) == changed


@given(st.binary(max_size=60))
def test_one_error_whatever_the_bytes(data: bytes) -> None:
    with contextlib.suppress(BlobRefError):
        assert decode_ref_untrusted(data).encode() == data
