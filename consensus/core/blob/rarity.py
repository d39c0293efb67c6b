"""How many are known to hold each chunk, counted for all chunks at once.

The counts are bit-sliced: slice `k` is one long integer that holds bit `k` of every chunk's count,
so that adding a holder or finding the rarest of many candidates takes a few operations on integers
of one bit per chunk (5 KiB for 10 GiB) instead of a loop over chunks.
"""

SLICES = 6
COUNT_MAX = (1 << SLICES) - 1


class Rarity:
    """Counts up to COUNT_MAX, where they stay."""

    __slots__ = ("_slices",)

    def __init__(self) -> None:
        self._slices = [0] * SLICES

    def add(self, mask: int) -> None:
        """One more holds the chunks of `mask`."""
        slices = self._slices
        carry = mask
        for at in range(SLICES):
            if not carry:
                return
            slices[at], carry = slices[at] ^ carry, slices[at] & carry
        for at in range(SLICES):  # what overflowed stays at the most
            slices[at] |= carry

    def rarest(self, candidates: int) -> int:
        """Those of `candidates` with the lowest count."""
        for plane in reversed(self._slices):
            lower = candidates & ~plane
            if lower:
                candidates = lower
        return candidates

    def count(self, chunk: int) -> int:
        """How many hold `chunk`."""
        return sum((plane >> chunk & 1) << at for at, plane in enumerate(self._slices))
