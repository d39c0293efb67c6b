"""Complete runs with all their secrets, for whoever writes another implementation.

`tests/vectors/handshake.json` pins every byte. It was written by this code, so it proves that the
protocol does not change unnoticed; that the protocol is right is shown elsewhere.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transport.core.crypto.keys import Identity
from transport.core.handshake.negotiation import EpochKeys, Established, HandshakeConfig
from transport.core.initiator.initiator import Initiator
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder
from transport.core.types import RandomBytes

FILE = Path(__file__).parents[3] / "vectors" / "handshake.json"
VECTORS: list[dict[str, Any]] = json.loads(FILE.read_text())["vectors"]


def scripted(vector: dict[str, Any], names: list[str]) -> RandomBytes:
    """Randomness that is what the vector says, in this order, and nothing more."""
    draws = iter([bytes.fromhex(vector[name]) for name in names])

    def random(size: int) -> bytes:
        drawn = next(draws)
        assert len(drawn) == size
        return drawn

    return random


def run(vector: dict[str, Any]) -> tuple[dict[str, str], Established, Established]:
    """What the vector's secrets lead to, field by field."""
    now = vector["now_s"]
    address = (vector["host"], vector["port"])
    config = HandshakeConfig(
        aegis=vector["aegis"],
        effort_min=vector["effort"],
        handshakes=tuple(vector["handshakes"]),
    )
    here = Identity(bytes.fromhex(vector["initiator_seed"]))
    there = Identity(bytes.fromhex(vector["responder_seed"]))
    responder = Responder(
        there,
        config,
        scripted(vector, ["tid_draw", "t_secret", "t_clock", "cookie_secret", "e3_secret"]),
        now,
    )
    initiator = Initiator(
        here,
        there.key,
        config,
        scripted(vector, ["p1_clock", "p1_nonce", "e_secret", "e2_secret"]),
        message_cid=b"iiiimmmm",
        bulk_cid=b"iiiibbbb",
        incarnation=1,
    )
    p1 = initiator.hello(now)
    p2 = responder.receive_untrusted(p1, address, now)
    assert isinstance(p2, Reply)
    assert initiator.receive_challenge_untrusted(p2.data, now)
    p3 = initiator.initiate(b"first data", now)
    admitted = responder.receive_untrusted(p3, address, now)
    assert isinstance(admitted, Admitted)
    theirs = admitted.accept(b"reply", b"rrrrmmmm", b"rrrrbbbb", 2, now)
    ours = initiator.receive_accept_untrusted(theirs.datagram, now)
    assert ours is not None
    fields = {
        "p1": p1,
        "p2": p2.data,
        "p3": p3,
        "p4": theirs.datagram,
        "initiator_name": here.key,
        "initiator_static": here.static,
        "responder_name": there.key,
        "responder_static": there.static,
        "handshake_hash": ours.handshake_hash,
    }
    fields |= {f"initiator_{name}": getattr(ours.keys, name) for name in EpochKeys.__slots__}
    return {name: value.hex() for name, value in fields.items()}, ours, theirs


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    fields, ours, theirs = run(vector)
    assert fields == vector["result"]
    assert ours.suite == theirs.suite == vector["suite"]
    assert ours.keys.rekey == theirs.keys.rekey
