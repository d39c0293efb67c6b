"""The clocks of this machine that leases are counted by."""

from __future__ import annotations

from consensus.machine.instant import Clocks, Instant
from transport.surroundings import current


def lease_clocks() -> Clocks | None:
    """Reads them; None where the system lacks one, as all but Linux do."""
    read = current().clock_reader()
    if read is None:
        return None
    return lambda: Instant(*read())
