"""The native Noise messages are the portable ones, and their BLAKE2b is hashlib's."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pair.handshake import seeded
from transport.core.crypto import noise_native, noise_portable
from transport.core.crypto.keys import KeyPair
from transport.core.crypto.noise_native import NativeRun
from transport.core.crypto.noise_portable import PortableRun
from transport.core.crypto.patterns import HASH_SIZE, pattern, plan
from transport.core.errors import WireError
from utp_native.noise import ffi

_FILE = Path(__file__).parents[3] / "vectors" / "noise.json"
NAMES = [vector["protocol_name"] for vector in json.loads(_FILE.read_text())["vectors"]]
Run = NativeRun | PortableRun


def both_sides(kinds: tuple[type[Run], type[Run]], name: str) -> tuple[Run, Run]:
    """The initiator's and the responder's run, of these kinds, with keys drawn from the name."""
    draw = seeded(len(name))
    its = pattern(name)
    statics = [KeyPair.generate(draw) for _ in range(2)]
    ephemerals = [KeyPair.generate(draw) for _ in range(2)]
    psks = tuple(draw(32) for _ in range(its.psks))
    runs: list[Run] = []
    for side, kind in enumerate(kinds):
        known = its.known[side == 0]
        remote = statics[1 - side].public if 1 in known else None
        ephemeral = ephemerals[side]
        run = kind(
            its.first_hash, b"prologue", psks, statics[side], remote, ephemeral, None, known
        )
        runs.append(run)
    return runs[0], runs[1]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.split("_")[1])
@pytest.mark.parametrize("kinds", [(NativeRun, PortableRun), (PortableRun, NativeRun)])
def test_either_reads_what_the_other_writes(name: str, kinds: tuple[type[Run], type[Run]]) -> None:
    sides = both_sides(kinds, name)
    plans = plan(name, True), plan(name, False)
    for turn in range(len(plans[0])):
        writer, reader = sides[turn % 2], sides[1 - turn % 2]
        payload = bytes([turn]) * 100 * turn
        written = writer.write(plans[turn % 2][turn], payload)
        assert reader.read_untrusted(plans[1 - turn % 2][turn], written) == payload
        assert writer.hash == reader.hash
    assert sides[0].split() == sides[1].split()
    draw = seeded(len(name))
    statics = [KeyPair.generate(draw).public for _ in range(2)]
    for side, other in zip(sides, reversed(statics), strict=True):
        assert side.remote_static in (None, other)


@given(data=st.binary(max_size=1300))
def test_the_prologue_is_hashed_as_blake2b_does(data: bytes) -> None:
    before = bytes(range(HASH_SIZE))
    for size in (len(data), len(data) // 128 * 128, max(0, len(data) // 128 * 128 - HASH_SIZE)):
        for kind in (NativeRun, PortableRun):
            run = kind(before, data[:size], (), None, None, None, None, b"")
            assert run.hash == blake2b(before + data[:size]).digest()


@given(
    key=st.binary(min_size=32, max_size=32),
    labels=st.lists(st.binary(min_size=20, max_size=20), min_size=1, max_size=8),
)
def test_keys_are_derived_alike(key: bytes, labels: list[bytes]) -> None:
    there = noise_portable.derive(key, tuple(labels))
    assert noise_native.derive(key, tuple(labels)) == there
    assert there[0] == blake2b(labels[0], digest_size=32, key=key).digest()


@given(data=st.data())
def test_what_is_cut_or_altered_is_refused_by_both(data: st.DataObject) -> None:
    name = "Noise_KX_25519_ChaChaPoly_BLAKE2b"
    first, second = plan(name, True)
    for kind in (NativeRun, PortableRun):
        initiator, responder = both_sides((kind, kind), name)
        responder.read_untrusted(plan(name, False)[0], initiator.write(first, b""))
        message = bytearray(responder.write(plan(name, False)[1], b"payload"))
        place = data.draw(st.integers(0, len(message) - 1), label=kind.__name__)
        if data.draw(st.booleans()):
            del message[place:]
        else:
            message[place] ^= 1 << data.draw(st.integers(0, 7))
        with pytest.raises(WireError):
            # The top bit of a public key is ignored by X25519 (RFC 7748, 5), and is hashed.
            initiator.read_untrusted(second, bytes(message))


def test_a_low_order_key_is_refused_by_name() -> None:
    name = "Noise_NN_25519_ChaChaPoly_BLAKE2b"
    for kind in (NativeRun, PortableRun):
        initiator, _ = both_sides((kind, kind), name)
        initiator.write(plan(name, True)[0], b"")
        with pytest.raises(WireError, match="degenerate"):
            initiator.read_untrusted(plan(name, True)[1], bytes(48))


def test_a_dropped_run_leaves_no_keys() -> None:
    run, _ = both_sides((NativeRun, NativeRun), "Noise_KK_25519_ChaChaPoly_BLAKE2b")
    assert isinstance(run, NativeRun)
    memory = run._state
    assert any(bytes(ffi.buffer(memory)))
    copy = run.fork()
    del run
    assert not any(bytes(ffi.buffer(memory)))
    assert any(bytes(ffi.buffer(copy._state)))
    copy.split()
    assert not any(bytes(noise_native._split_view))
