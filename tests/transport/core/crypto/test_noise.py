"""The published vectors, both roles, through the code that runs the handshake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from transport.core.crypto import noise
from transport.core.crypto.keys import KeyPair, diffie_hellman_untrusted
from transport.core.crypto.noise import CipherState, HandshakeState, hkdf
from transport.core.crypto.noise_native import NativeRun
from transport.core.crypto.noise_portable import PortableRun
from transport.core.crypto.patterns import pattern
from transport.core.errors import LocalError, WireError

_FILE = Path(__file__).parents[3] / "vectors" / "noise.json"
VECTORS: list[dict[str, Any]] = json.loads(_FILE.read_text())["vectors"]
RUNS = [PortableRun, NativeRun]
NN = "Noise_NN_25519_ChaChaPoly_BLAKE2b"
NNPSK0 = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2b"
KX = "Noise_KX_25519_ChaChaPoly_BLAKE2b"


@pytest.fixture(params=RUNS, autouse=True)
def both_runs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A primitive at a time, and a message at a time natively."""
    monkeypatch.setattr(noise, "Run", request.param)


def pair(value: str | None) -> KeyPair | None:
    return None if value is None else KeyPair(bytes.fromhex(value))


def side(vector: dict[str, Any], role: str, *, ahead: bool = False) -> HandshakeState:
    """One side of a vector's run. `ahead`: with the Diffie-Hellman of its ephemeral and the other's
    static key computed beforehand, where it knows that key."""
    remote = vector.get(f"{role}_remote_static")
    secret = vector.get(f"{role}_ephemeral")
    shared = None
    if ahead and remote is not None and secret is not None:
        shared = diffie_hellman_untrusted(bytes.fromhex(secret), bytes.fromhex(remote))
    return HandshakeState(
        vector["protocol_name"],
        initiator=role == "init",
        prologue=bytes.fromhex(vector[f"{role}_prologue"]),
        static=pair(vector.get(f"{role}_static")),
        ephemeral=pair(vector.get(f"{role}_ephemeral")),
        remote_static=None if remote is None else bytes.fromhex(remote),
        psks=tuple(bytes.fromhex(psk) for psk in vector.get(f"{role}_psks", [])),
        shared=shared,
    )


def test_the_file_holds_what_it_should() -> None:
    assert len(VECTORS) == 59
    assert len({vector["protocol_name"] for vector in VECTORS}) == 59


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["protocol_name"].split("_")[1])
def test_vector(vector: dict[str, Any], ahead: bool) -> None:
    name = vector["protocol_name"]
    sides = [side(vector, role, ahead=ahead) for role in ("init", "resp")]
    rounds = len(pattern(name).messages)
    messages = [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in vector["messages"]
    ]
    assert len(messages) > rounds, "the vector covers transport messages too"
    for index, (payload, ciphertext) in enumerate(messages[:rounds]):
        writer, reader = sides[index % 2], sides[1 - index % 2]
        assert writer.write_message(payload) == ciphertext
        assert reader.read_message_untrusted(ciphertext) == payload
    for state in sides:
        assert state.hash == bytes.fromhex(vector["handshake_hash"])
    assert sides[0].split() == sides[1].split()
    senders = [CipherState(key) for key in sides[0].split()]
    receivers = [CipherState(key) for key in sides[1].split()]
    one_way = rounds == 1
    for index, (payload, ciphertext) in enumerate(messages[rounds:], start=rounds):
        direction = 0 if one_way else index % 2
        assert senders[direction].encrypt(b"", payload) == ciphertext
        assert receivers[direction].decrypt_untrusted(b"", ciphertext) == payload


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["protocol_name"].split("_")[1])
def test_flipped_bits_of_the_last_message_are_refused(vector: dict[str, Any]) -> None:
    rounds = len(pattern(vector["protocol_name"]).messages)
    messages = [bytes.fromhex(message["ciphertext"]) for message in vector["messages"]]
    last = messages[rounds - 1]
    role = "resp" if (rounds - 1) % 2 == 0 else "init"
    for place in (0, len(last) // 2, len(last) - 1):
        states = {"init": side(vector, "init"), "resp": side(vector, "resp")}
        for index, message in enumerate(vector["messages"][: rounds - 1]):
            writer, reader = ("init", "resp") if index % 2 == 0 else ("resp", "init")
            states[writer].write_message(bytes.fromhex(message["payload"]))
            states[reader].read_message_untrusted(messages[index])
        broken = bytearray(last)
        broken[place] ^= 1
        with pytest.raises(WireError):
            states[role].read_message_untrusted(bytes(broken))


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        (NNPSK0, (("psk", "e"), ("e", "ee"))),
        ("Noise_KXpsk2_25519_ChaChaPoly_BLAKE2b", (("e",), ("e", "ee", "se", "s", "es", "psk"))),
        (
            "Noise_XXpsk0+psk3_25519_ChaChaPoly_BLAKE2b",
            (("psk", "e"), ("e", "ee", "s", "es"), ("s", "se", "psk")),
        ),
    ],
)
def test_psk_placement_comes_from_the_name(name: str, messages: object) -> None:
    assert pattern(name).messages == messages


@pytest.mark.parametrize(
    "name",
    [
        "Noise_NN_25519_AESGCM_BLAKE2b",
        "Noise_QQ_25519_ChaChaPoly_BLAKE2b",
        "Noise_NNpsk3_25519_ChaChaPoly_BLAKE2b",
        "Noise_NNpsk0+_25519_ChaChaPoly_BLAKE2b",
        "",
    ],
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(LocalError):
        pattern(name)


def test_what_was_computed_beforehand_is_what_is_mixed_in() -> None:
    """Something else in its place, and the other side refuses the message; what has another size is
    refused here."""
    here, there = KeyPair(bytes(range(32))), KeyPair(bytes(range(1, 33)))
    static = KeyPair(bytes(range(2, 34)))
    shared = diffie_hellman_untrusted(here.secret, static.public)
    for size in (0, 5, 31, 33):
        with pytest.raises(LocalError):
            HandshakeState(
                KX, initiator=False, static=here, remote_static=static.public, shared=bytes(size)
            )
    for given, opens in ((shared, True), (bytes(32), False)):
        reader = HandshakeState(KX, initiator=True, static=static, ephemeral=there)
        first = reader.write_message()
        writer = HandshakeState(
            KX, initiator=False, static=KeyPair(bytes(range(3, 35))), ephemeral=here,
            remote_static=static.public, shared=given,
        )  # fmt: skip
        writer.read_message_untrusted(first)
        message = writer.write_message(b"payload")
        if opens:
            assert reader.read_message_untrusted(message) == b"payload"
        else:
            with pytest.raises(WireError):
                reader.read_message_untrusted(message)


def test_missing_keys_and_turns() -> None:
    with pytest.raises(LocalError):
        HandshakeState(KX, initiator=True)
    with pytest.raises(LocalError):
        HandshakeState(NNPSK0, initiator=True)
    with pytest.raises(LocalError):
        HandshakeState(NNPSK0, initiator=True, psks=(b"short",))
    state = HandshakeState(NN, initiator=True, ephemeral=KeyPair(bytes(range(32))))
    with pytest.raises(LocalError):
        state.read_message_untrusted(b"")
    with pytest.raises(LocalError):
        state.split()
    state.write_message()
    with pytest.raises(LocalError):
        state.write_message()
    bare = HandshakeState(NN, initiator=True)
    with pytest.raises(LocalError):
        bare.write_message()


@pytest.mark.parametrize("point", [bytes(32), (1).to_bytes(32, "little")])
def test_low_order_points_are_refused(point: bytes) -> None:
    state = HandshakeState(NN, initiator=True, ephemeral=KeyPair(bytes(range(32))))
    state.write_message()
    with pytest.raises(WireError):
        state.read_message_untrusted(point + bytes(16))


def test_cut_messages_and_oversize() -> None:
    for message in (b"", bytes(31), bytes(65536)):
        state = HandshakeState(NN, initiator=False, ephemeral=KeyPair(bytes(range(32))))
        with pytest.raises(WireError):
            state.read_message_untrusted(message)
    state = HandshakeState(NN, initiator=True, ephemeral=KeyPair(bytes(range(32))))
    with pytest.raises(LocalError):
        state.write_message(bytes(65536))


def test_a_cipher_counts_and_a_forgery_does_not() -> None:
    sender, receiver = CipherState(bytes(32)), CipherState(bytes(32))
    for number in range(10):
        ciphertext = sender.encrypt(b"", b"x")
        with pytest.raises(WireError):
            receiver.decrypt_untrusted(b"", ciphertext[:-1] + bytes([ciphertext[-1] ^ 1]))
        with pytest.raises(WireError):
            receiver.decrypt_untrusted(b"", b"short")
        assert receiver.nonce == number
        assert receiver.decrypt_untrusted(b"", ciphertext) == b"x"
    sender.nonce = 2**64 - 1
    with pytest.raises(LocalError):
        sender.encrypt(b"", b"x")


def test_hkdf_is_hmac() -> None:
    import hashlib
    import hmac

    key, material = bytes(range(64)), b"material"
    temporary = hmac.digest(key, material, hashlib.blake2b)
    first = hmac.digest(temporary, b"\1", hashlib.blake2b)
    second = hmac.digest(temporary, first + b"\2", hashlib.blake2b)
    third = hmac.digest(temporary, second + b"\3", hashlib.blake2b)
    assert hkdf(key, material, 2) == (first, second)
    assert hkdf(key, material, 3) == (first, second, third)
