"""Translators between inner addresses and the network, in RFC 4787's terms.

`mapping` says when an inner address gets a new outer port, `filtering` who may send to it; full
cone, restricted, port restricted and symmetric NATs are the four usual pairs of the two.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from scenarios.world.network import Address

__all__ = ["Nat", "NatKind"]

Dependence = Literal["endpoint", "address", "port"]


@dataclass(frozen=True)
class NatKind:
    """RFC 4787, sections 4.1 and 5: on what of the other side a NAT's behaviour depends."""

    mapping: Dependence = "endpoint"
    """Independent of it ("endpoint"), or one for each host ("address") or host and port."""
    filtering: Dependence = "port"
    """Who is let in: anybody ("endpoint"), hosts sent to ("address"), or their very ports."""
    lifetime_s: float = 120.0
    """A mapping not used outwards for this long is gone."""
    mappings_max: int = 1024
    """More are refused, as on a small router."""

    @classmethod
    def full_cone(cls) -> NatKind:
        """One outer port, open to anybody."""
        return cls("endpoint", "endpoint")

    @classmethod
    def port_restricted(cls) -> NatKind:
        """One outer port, open to those sent to: most home routers."""
        return cls("endpoint", "port")

    @classmethod
    def symmetric(cls) -> NatKind:
        """A new outer port for each destination: cannot be punched from another of its kind."""
        return cls("port", "port")


@dataclass(slots=True)
class _Mapping:
    inner: Address
    outside: Address
    key: tuple[Address, str | Address | None]
    used_at: float
    sent_to: set[Address]


class Nat:
    """One translator with the outer host name `host`; ports are drawn from a seeded generator."""

    def __init__(self, host: str, kind: NatKind, seed: int = 0):
        self.host = host
        self.kind = kind
        self._random = random.Random(f"nat {host} {seed}")
        self._by_inner: dict[tuple[Address, str | Address | None], _Mapping] = {}
        self._by_port: dict[int, _Mapping] = {}

    def outward(self, source: Address, destination: Address, now: float) -> Address | None:
        """The source the network sees; None when the table of mappings is full."""
        part: str | Address | None = None
        if self.kind.mapping != "endpoint":
            part = destination if self.kind.mapping == "port" else destination[0]
        key = (source, part)
        mapping = self._by_inner.get(key)
        if mapping is None or now - mapping.used_at > self.kind.lifetime_s:
            if mapping is not None:
                self._forget(mapping)
            self._expire(now)
            if len(self._by_port) >= self.kind.mappings_max:
                return None
            mapping = _Mapping(source, (self.host, self._free_port()), key, now, set())
            self._by_inner[key] = self._by_port[mapping.outside[1]] = mapping
        mapping.used_at = now
        mapping.sent_to.add(destination)
        return mapping.outside

    def inward(self, source: Address, outside: Address, now: float) -> Address | None:
        """The inner address behind `outside`; None if unmapped or filtered."""
        mapping = self._by_port.get(outside[1])
        if mapping is None or now - mapping.used_at > self.kind.lifetime_s:
            return None
        if self.kind.filtering == "port" and source not in mapping.sent_to:
            return None
        if self.kind.filtering == "address" and all(
            source[0] != host for host, _ in mapping.sent_to
        ):
            return None
        return mapping.inner

    def reboot(self) -> None:
        """All mappings are gone, as after a power cut."""
        self._by_inner.clear()
        self._by_port.clear()

    def _expire(self, now: float) -> None:
        for mapping in list(self._by_port.values()):
            if now - mapping.used_at > self.kind.lifetime_s:
                self._forget(mapping)

    def _forget(self, mapping: _Mapping) -> None:
        self._by_inner.pop(mapping.key, None)
        self._by_port.pop(mapping.outside[1], None)

    def _free_port(self) -> int:
        while True:
            port = self._random.randrange(1024, 65536)
            if port not in self._by_port:
                return port
