"""A blob costs its disk, and not memory: two processes, at a size that a test can afford."""

from benchmarks.blob_memory import measure

SIZE = 128 << 20
PEAK_MIB = 64.0


def test_neither_side_holds_a_blob_in_memory() -> None:
    """Twice what either process may hold in all, interpreter included."""
    figures = measure(SIZE)
    assert figures["fetch_peak_mib"] < PEAK_MIB
    assert figures["share_peak_mib"] < PEAK_MIB
