"""Complete runs of the other variants with all their secrets: `tests/vectors/variants.json`.

Each side's draws are in the order in which it draws them. Responder: number of the transient, `T`,
its clock, cookie secret, `E3`. Initiator: P1's clock (not in a closed group), nonce, `E`, `E2`; at
once, `E` (not with an own ticket) and `E2`. The file pins every byte;
`python -m tests.transport.core.handshake.test_variant_vectors` writes it anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.pair.handshake import seeded
from transport.core.crypto.keys import Identity
from transport.core.handshake.circle import CircleSecret
from transport.core.handshake.negotiation import HandshakeConfig
from transport.core.handshake.ticket import Invitation, meeting
from transport.core.handshake.transient import decode_record_untrusted
from transport.core.handshake.variants import TICKET, VOUCHED
from transport.core.initiator.initiator import Initiator
from transport.core.initiator.simultaneous_open import is_responder, probe_of
from transport.core.responder.incoming import Admitted
from transport.core.responder.responder import Reply, Responder

FILE = Path(__file__).parents[3] / "vectors" / "variants.json"
NAMES = ("limited circulation", "anonymous initiator", "own ticket", "third party's ticket")
MET = "simultaneous open"
NOW = 1000.0
UNIX_OFFSET_S = 1_700_000_000.0
ADDRESS = ("192.0.2.1", 4001)
GROUP = bytes(range(32))
INVITATION_ID, INVITATION_SECRET = bytes(range(16)), bytes(range(100, 132))
TOKEN = bytes(range(200, 216))
CONTEXT = bytes(range(64))

Draw = Callable[[int], bytes]


class Draws:
    """Randomness that is written down, or read back."""

    def __init__(self, source: Draw | None, kept: list[str] | None = None) -> None:
        self._source = source
        self.kept: list[str] = [] if kept is None else list(kept)
        self._at = 0

    def __call__(self, size: int) -> bytes:
        if self._source is not None:
            self.kept.append(self._source(size).hex())
        drawn = bytes.fromhex(self.kept[self._at])
        self._at += 1
        assert len(drawn) == size
        return drawn

    @property
    def used_up(self) -> bool:
        return self._at == len(self.kept)


def run(name: str, ours: Draws, theirs: Draws) -> dict[str, str]:
    """One whole run, field by field."""
    here, there = Identity.generate(seeded(41)), Identity.generate(seeded(42))
    if not is_responder(there.static, here.static):
        here, there = there, here
    config = HandshakeConfig(
        circles=(CircleSecret(GROUP),) if name == "limited circulation" else (),
        unix_offset_s=UNIX_OFFSET_S,
        anonymous=name == "anonymous initiator",
    )
    responder = Responder(there, config, theirs, NOW)
    initiator = Initiator(
        here,
        there.key,
        config,
        ours,
        message_cid=b"iiiimmmm",
        bulk_cid=b"iiiibbbb",
        incarnation=1,
        anonymous=config.anonymous,
    )
    fields = {"initiator_seed": here.seed, "responder_seed": there.seed}
    if name in ("limited circulation", "anonymous initiator"):
        fields["p1"] = initiator.hello(NOW)
        p2 = responder.receive_untrusted(fields["p1"], ADDRESS, NOW)
        assert isinstance(p2, Reply)
        fields["p2"] = p2.data
        assert initiator.receive_challenge_untrusted(p2.data, NOW)
        fields["p3"] = initiator.initiate(b"first data", NOW)
    else:
        fields |= _invited(name, here, there, initiator, responder)
    admitted = responder.receive_untrusted(fields["p3"], ADDRESS, NOW)
    assert isinstance(admitted, Admitted)
    made = admitted.accept(b"reply", b"rrrrmmmm", b"rrrrbbbb", 2, NOW)
    fields["p4"] = made.datagram
    done = initiator.receive_accept_untrusted(made.datagram, NOW)
    assert done is not None
    fields["initiator_as_the_responder_knows_it"] = made.peer
    fields["handshake_hash"] = done.handshake_hash
    fields["initiator_message_send"] = done.keys.message_send
    fields["initiator_bulk_receive"] = done.keys.bulk_receive
    fields["rekey"] = done.keys.rekey
    return {field: value.hex() for field, value in fields.items()}


def _invited(
    name: str, here: Identity, there: Identity, initiator: Initiator, responder: Responder
) -> dict[str, bytes]:
    record = responder.published(NOW)
    known = decode_record_untrusted(there.key, record, 2, NOW)
    if name == MET:
        own = Responder(here, HandshakeConfig(), seeded(43), NOW).published(NOW)
        context = own[:172] + record[:172]
        invitation = meeting(TOKEN, here.key, context, NOW + 10.0)
        extra = {
            "token": TOKEN,
            "initiators_record": own,
            "initiators_probe": probe_of(TOKEN, here.key),
            "responders_probe": probe_of(TOKEN, there.key),
        }
    else:
        variant = TICKET if name == "own ticket" else VOUCHED
        invitation = Invitation(
            variant, here.key, INVITATION_ID, INVITATION_SECRET, NOW + 60.0, CONTEXT
        )
        extra = {"id": INVITATION_ID, "secret": INVITATION_SECRET, "context": CONTEXT}
    responder.invite(invitation, NOW)
    if name == "own ticket":
        p3 = initiator.initiate_ticket(invitation, b"first data", NOW)
    else:
        p3 = initiator.initiate_invited(invitation, known, b"first data", NOW)
    return {"record": record, "p3": p3, **extra}


def made(name: str) -> dict[str, Any]:
    """A vector, drawn anew (the same each time)."""
    ours, theirs = Draws(seeded(1)), Draws(seeded(2))
    result = run(name, ours, theirs)
    return {
        "name": name,
        "now_s": NOW,
        "unix_offset_s": UNIX_OFFSET_S,
        "host": ADDRESS[0],
        "port": ADDRESS[1],
        "group_secret": GROUP.hex() if name == "limited circulation" else "",
        "initiator_draws": ours.kept,
        "responder_draws": theirs.kept,
        "result": result,
    }


def vectors() -> list[dict[str, Any]]:
    """Those in the file."""
    loaded: list[dict[str, Any]] = json.loads(FILE.read_text())["vectors"] if FILE.exists() else []
    return loaded


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    ours = Draws(None, vector["initiator_draws"])
    theirs = Draws(None, vector["responder_draws"])
    assert run(vector["name"], ours, theirs) == vector["result"]
    assert ours.used_up
    assert theirs.used_up


def test_every_variant_that_is_no_first_contact_has_one() -> None:
    assert {vector["name"] for vector in vectors()} == {*NAMES, MET}


if __name__ == "__main__":
    FILE.write_text(
        json.dumps({"vectors": [made(name) for name in (*NAMES, MET)]}, indent=1) + "\n"
    )
