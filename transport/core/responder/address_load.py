"""Which address ranges the load comes from: they wait behind the others and work more (HR29).

Only P3s whose cookie and solution are right are counted, so nobody can be blamed for what it did
not send. IPv4 addresses count as /32 and /24, IPv6 ones as /64, /56 and /48: whoever has a range
has all of its addresses.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from transport.core.constants import (
    ADDRESS_LOAD_COUNTED_MIN,
    ADDRESS_LOAD_RANGES_MAX,
    ADDRESS_LOAD_SHARE,
)
from transport.core.types import Address

# Bits that name the range, and how many levels a range of that size is let off: many people share
# a wide one.
_IPV4: Final = ((32, 0), (24, 2))
_IPV6: Final = ((64, 0), (56, 1), (48, 2))
LEVEL_MAX: Final = ADDRESS_LOAD_SHARE.bit_length()

Range = tuple[int, int, int]
"""IP version, bits, and the prefix of so many bits."""


def ranges_of(address: Address) -> tuple[Range, ...]:
    """The ranges of a numeric address, narrowest first; none for what is no such address."""
    return _ranges_of_host(address[0])


@lru_cache(1024)
def _ranges_of_host(host: str) -> tuple[Range, ...]:
    try:
        if ":" in host:
            number = int(IPv6Address(host))
            return tuple((6, bits, number >> (128 - bits)) for bits, _ in _IPV6)
        first, second, third, fourth = host.split(".")
        number = int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)
    except ValueError:
        return ()
    return tuple((4, bits, number >> (32 - bits)) for bits, _ in _IPV4)


class AddressLoad:
    """Counts that halve every interval."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[Range, int] = {}
        self._total = 0

    def count(self, address: Address) -> None:
        """One more P3 from here. Ranges beyond `ADDRESS_LOAD_RANGES_MAX` are not told apart."""
        self._total += 1
        counts = self._counts
        for one in ranges_of(address):
            if one in counts:
                counts[one] += 1
            elif len(counts) < ADDRESS_LOAD_RANGES_MAX:
                counts[one] = 1

    def level(self, address: Address) -> int:
        """0 for whoever sends little, up to `LEVEL_MAX`: one more for each doubling of its share.

        Level 1 is a sixteenth of all P3s, level 5 is all of them.
        """
        total = self._total
        if total < ADDRESS_LOAD_COUNTED_MIN:
            return 0
        level = 0
        ranges = ranges_of(address)
        kinds = _IPV6 if len(ranges) == len(_IPV6) else _IPV4
        for one, (_, let_off) in zip(ranges, kinds, strict=False):
            share = self._counts.get(one, 0) * ADDRESS_LOAD_SHARE // total
            level = max(level, share.bit_length() - let_off)
        return level

    def halve(self) -> None:
        """An interval is over."""
        self._total //= 2
        self._counts = {one: count // 2 for one, count in self._counts.items() if count > 1}

    def __len__(self) -> int:
        return len(self._counts)
