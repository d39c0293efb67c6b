"""Each P3 has a name that is burnt before its Diffie-Hellman: what another one under it gets."""

from __future__ import annotations

from hashlib import blake2b

from transport.core.handshake.states import On
from transport.core.handshake.transient import Burnt, Transient
from transport.core.handshake.variants import Variant
from transport.core.responder.admission_control import AdmissionControl
from transport.core.types import Address

_DIGEST_SIZE = 16


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_SIZE).digest()


class BurntNames:
    """Sequences, ephemerals and ids of invitations, each good for one P3 of one transient."""

    __slots__ = ("_admission", "_in_circle")

    def __init__(self, admission: AdmissionControl, *, in_circle: bool) -> None:
        """`in_circle`: the responder answers members of circles alone."""
        self._admission = admission
        self._in_circle = in_circle

    def burn(
        self,
        variant: Variant,
        transient: Transient,
        name: int | bytes,
        data: bytes,
        address: Address,
        tries_max: int,
        now: float,
    ) -> Burnt | bytes | None:
        """The entry to go on with; or what to answer to a P3 that came before."""
        entry = transient.burnt.get(name)
        if entry is not None:
            return self._again(entry, data, address, tries_max)
        entry = transient.burn(variant.name, name, _digest(data), len(data), address, now)
        if entry is None:
            self._admission.controller.strained()
        return entry

    def _again(
        self, entry: Burnt, data: bytes, address: Address, tries_max: int
    ) -> Burnt | bytes | None:
        """Another P3 under a name that is burnt."""
        digest = _digest(data)
        if entry.digest == digest:
            return self.repeated(entry, data, address)
        # What failed under this name was not authentic, so it may have been a damaged copy of this
        # one. At effort 0 it cost nobody work to send, hence the few tries.
        if entry.failures >= tries_max or not entry.take(On.ANOTHER):
            return None
        entry.digest = digest
        entry.bytes_received += len(data)
        return entry

    def repeated(self, entry: Burnt, data: bytes, address: Address) -> bytes | None:
        """What to say to another P3 under a name whose tries are used up: P4 again, or nothing."""
        if entry.digest != _digest(data):
            return None
        entry.take(On.SAME)
        if self._in_circle and entry.address != address:
            # A recording in a stranger's hands: to P3s with a ticket no cookie ties the address.
            return None
        return entry.resend(len(data))
