"""A second implementation of the protocol, written from docs/protocol alone.

What is here of the protocol was taken from the pages handshake.md and presence.md and from the
Noise specification, with PyNaCl's primitives. Nothing of `transport` is imported: what a page
leaves out, or says otherwise than the code does it, shows in `tests/transport/test_independent.py`.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass, field
from hashlib import blake2b

from nacl import bindings as sodium

MAGIC = bytes.fromhex("f19a71")


def hashed(data: bytes, size: int = 32, key: bytes = b"") -> bytes:
    return blake2b(data, digest_size=size, key=key).digest()


# --- Noise, as far as it is needed (noiseprotocol.org, revision 34) -------------------------------


class Noise:
    """A symmetric state with BLAKE2b and ChaCha20-Poly1305."""

    def __init__(self, name: bytes, prologue: bytes) -> None:
        self.h = self.ck = name.ljust(64, b"\0")
        self.k: bytes | None = None
        self.n = 0
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        self.h = hashed(self.h + data, 64)

    def hkdf(self, material: bytes, count: int) -> list[bytes]:
        def mac(key: bytes, data: bytes) -> bytes:
            return hmac.new(key, data, "blake2b").digest()

        secret, out, last = mac(self.ck, material), list[bytes](), b""
        for number in range(1, count + 1):
            last = mac(secret, last + bytes([number]))
            out.append(last)
        return out

    def mix_key(self, material: bytes) -> None:
        self.ck, key = self.hkdf(material, 2)
        self.k, self.n = key[:32], 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self.ck, middle, key = self.hkdf(material, 3)
        self.mix_hash(middle)
        self.k, self.n = key[:32], 0

    def encrypt(self, plaintext: bytes) -> bytes:
        sealed = plaintext
        if self.k is not None:
            nonce = bytes(4) + struct.pack("<Q", self.n)
            sealed = sodium.crypto_aead_chacha20poly1305_ietf_encrypt(
                plaintext, self.h, nonce, self.k
            )
            self.n += 1
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        assert self.k is not None
        nonce = bytes(4) + struct.pack("<Q", self.n)
        plaintext = sodium.crypto_aead_chacha20poly1305_ietf_decrypt(
            sealed, self.h, nonce, self.k
        )
        self.n += 1
        self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        one, two = self.hkdf(b"", 2)
        return one[:32], two[:32]


@dataclass
class Key:
    """An X25519 key pair."""

    secret: bytes = field(default_factory=lambda: os.urandom(32))

    @property
    def public(self) -> bytes:
        return sodium.crypto_scalarmult_base(self.secret)

    def with_(self, public: bytes) -> bytes:
        return sodium.crypto_scalarmult(self.secret, public)


class Name:
    """Section 1: an Ed25519 key whose sign bit is 0, and the same point on Curve25519."""

    def __init__(self) -> None:
        while True:
            self.key, secret = sodium.crypto_sign_seed_keypair(os.urandom(32))
            if not self.key[31] & 0x80:
                break
        self.static = Key(sodium.crypto_sign_ed25519_sk_to_curve25519(secret))


# --- the initiator: sections 2 to 7 of handshake.md -----------------------------------------------


class Initiator:
    """P1 and P3 of a first contact; then the two directions of the message plane."""

    def __init__(self, me: Name, peer: bytes) -> None:
        self.me, self.peer = me, peer
        self.peer_static = sodium.crypto_sign_ed25519_pk_to_curve25519(peer)
        self.cid = os.urandom(8)

    def hello(self) -> bytes:
        offer = bytes([1, 2])  # one handshake, number 2
        p1 = MAGIC + bytes([1, 1]) + os.urandom(8) + os.urandom(4) + offer + bytes(3)
        self.p1 = p1.ljust(185, b"\0")
        return self.p1

    def initiate(self, p2: bytes, first_data: bytes) -> bytes:
        assert len(p2) == 185
        assert p2[:4] == MAGIC + b"\x02"
        assert p2[4:12] == hashed(self.p1)[:8]
        choice, time = p2[12:13], p2[13:17]
        transient, tid, not_before, details = p2[17:49], p2[49:53], p2[53:57], p2[57:89]
        signature, hint = p2[89:153], p2[153:161]
        effort, sequence, cookie = p2[161:165], p2[165:169], p2[169:185]
        assert hint == hashed(b"quorate hint" + transient, 8, key=self.peer)
        start = int.from_bytes(not_before, "big")
        assert (int.from_bytes(time, "big") - start) % 2**32 <= 240 * 65536
        end = ((start + 240 * 65536) % 2**32).to_bytes(4, "big")
        record = self.peer + transient + tid + not_before + end + details
        label = b"quorate transient record"
        sodium.crypto_sign_open(signature + bytes([len(label)]) + label + record, self.peer)

        header = MAGIC + b"\x03" + choice + tid + hashed(self.p1) + time + effort + sequence
        header += cookie
        assert len(header) == 69
        names = {1: b"quorate first contact 1", 2: b"quorate first contact 2"}
        prologue = hashed(
            names[choice[0]] + bytes([1, 1]) + choice + hashed(self.p1) + p2 + header
        )
        noise = Noise(b"Noise_KX_25519_ChaChaPoly_BLAKE2b", prologue)
        noise.mix_hash(self.peer_static)
        noise.mix_hash(transient)
        noise.encrypt(b"")
        ephemeral = Key()
        noise.mix_hash(ephemeral.public)
        noise.mix_key(ephemeral.with_(transient))
        noise.mix_key(ephemeral.with_(self.peer_static))
        sealed_static = noise.encrypt(self.me.static.public)
        noise.mix_key(self.me.static.with_(transient))
        lists = bytes([3, 2, 1, 2, 1, 1, 1, 1])
        sealed_part = self.cid + os.urandom(8) + bytes(7) + b"\x0b" + struct.pack(">q", 1_000_000)
        sealed_part += bytes(4) + b"\x00" + lists
        message = ephemeral.public + sealed_static + noise.encrypt(sealed_part + first_data)

        psk, _ = noise.split()
        second = Noise(
            b"Noise_NNpsk0_25519_ChaChaPoly_BLAKE2b", b"quorate second half accept " + noise.h
        )
        second.mix_key_and_hash(psk)
        self.e2 = Key()
        second.mix_hash(self.e2.public)
        second.mix_key(self.e2.public)
        message += self.e2.public + second.encrypt(b"")
        self.second = second

        solution = solved(cookie, hashed(header + message), int.from_bytes(effort, "big"))
        return header + solution + message

    def accepted(self, p4: bytes) -> bytes:
        """The reply."""
        assert p4[:12] == MAGIC + b"\x04" + hashed(self.p1)[:8]
        theirs, sealed = p4[12:44], p4[44:]
        second = self.second
        second.mix_hash(theirs)
        second.mix_key(theirs)
        second.mix_key(self.e2.with_(theirs))
        part = second.decrypt(sealed)
        to_cid = part[:8]
        at = 36
        suites = b""
        for layer in range(part[at]):
            at += 1
            ids = part[at + 1 : at + 1 + part[at]]
            suites = ids if layer == 1 else suites
            at += part[at]
        assert 1 in suites
        one, two = second.split()
        self.rekey = hashed(b"quorate rekey secret", key=one + two)
        self.out = Direction(to_cid, data_key(one, 1, 1), data_key(one, 1, 2))
        self.inward = Direction(self.cid, data_key(two, 2, 1), data_key(two, 2, 2))
        return part[at + 1 :]


def data_key(split: bytes, direction: int, use: int) -> bytes:
    plane = suite = 1
    return hashed(b"quorate data key" + bytes([direction, plane, suite, use]), key=split)


def solved(cookie: bytes, rest: bytes, effort: int) -> bytes:
    """The puzzle: handshake.md, section 6."""
    if effort == 0:
        return bytes(24)
    parts = b""
    for number in range(8):
        for candidate in range(2**24):
            x = candidate.to_bytes(3, "big")
            work = hashed(b"quorate puzzle" + cookie + rest + bytes([number]) + x, 4)
            if int.from_bytes(work, "big") * -(-effort // 8) <= 2**32 - 1:
                parts += x
                break
    return parts


class Direction:
    """Sealed datagrams one way: section 1 of presence.md."""

    def __init__(self, cid: bytes, key: bytes, header_key: bytes) -> None:
        self.cid, self.key, self.header_key = cid, key, header_key
        self.next = 0
        self.largest = -1

    def mask(self, datagram_end: bytes, counter: bytes) -> bytes:
        mask = hashed(datagram_end, 16, key=self.header_key)
        return bytes(a ^ b for a, b in zip(counter, mask, strict=False))

    def seal(self, payload: bytes) -> bytes:
        number, self.next = self.next, self.next + 1
        # Two groups of seven bits: more than it needs, which is allowed.
        counter = bytes([0x80 | number >> 7 & 0x7F, number & 0x7F])
        sealed = sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
            payload, self.cid + counter, number.to_bytes(24, "big"), self.key
        )
        return self.cid + self.mask(sealed[-16:], counter) + sealed

    def open(self, datagram: bytes) -> bytes:
        assert datagram[:8] == self.cid
        counter, low = b"", 0
        while True:
            size = len(counter) + 1
            counter = self.mask(datagram[-16:], datagram[8 : 8 + size])
            low = low << 7 | counter[-1] & 0x7F
            if not counter[-1] & 0x80:
                break
        span = 1 << 7 * len(counter)
        expected = self.largest + 1
        near = expected - (expected - low) % span
        number = min((near, near + span), key=lambda each: abs(each - expected))
        payload = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
            datagram[8 + len(counter) :], self.cid + counter, number.to_bytes(24, "big"), self.key
        )
        self.largest = max(self.largest, number)
        return payload


# --- frames: sections 2, 3 and 6 of presence.md ---------------------------------------------------


def lane_open(ours: int, theirs: int) -> bytes:
    return struct.pack(">BQQ", 0x06, ours, theirs)


def lane_packet(number: int, group: int, entry: bytes, upto: int | None = None) -> bytes:
    head = struct.pack(">BI", 0x40 | (upto is not None), number)
    if upto is not None:
        head += struct.pack(">IB", upto, 0)
    return head + struct.pack(">HQ", 0x8000 | len(entry), group) + entry


def entries(frames: bytes) -> tuple[list[tuple[int, bytes]], dict[int, bytes]]:
    """The entries of a lane packet, and the frames before it by kind."""
    found, others, at, group = list[tuple[int, bytes]](), dict[int, bytes](), 0, 0
    sizes = {0x01: 4, 0x02: 4, 0x03: 8, 0x04: 8, 0x05: 1, 0x06: 16, 0x08: 0, 0x11: 4}
    while at < len(frames):
        kind = frames[at]
        at += 1
        if kind & 0xF8 == 0x50:
            at += 5 + (8 if kind & 2 else 0)
        elif kind & 0xF8 == 0x40:
            at += 4 + (5 if kind & 1 else 0) + (8 if kind & 2 else 0)
            while at < len(frames):
                (head,) = struct.unpack_from(">H", frames, at)
                at += 2
                if head & 0x8000:
                    (group,) = struct.unpack_from(">Q", frames, at)
                    at += 8
                size = head & 0x3FFF
                found.append((group, frames[at : at + size]))
                at += size
        elif kind == 0x10:
            forms, size = struct.unpack_from(">BH", frames, at + 10)
            size += 13 + sum((0, 1, 1, 32)[forms >> place & 3] for place in (0, 2, 4))
            others[kind] = frames[at : at + size]
            at += size
        else:
            others[kind] = frames[at : at + sizes[kind]]
            at += sizes[kind]
    return found, others
