"""Fuzzes what reads bytes natively: packets of real transfers, altered, in any order.

    python -m tests.utp_native.fuzz --seconds 3600

builds with AddressSanitizer, UBSan and assertions and runs itself under them. Every session is a
function of its seed: that of one that breaks something is kept, and later runs begin with those
that are; `--seed N` runs that one again. Bare planes let altered packets through to libutp; sealed
ones try the opening of datagrams; a hostile peer that holds the keys seals what it has altered.
Planes get new keys, move, go and come again meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.utp_native import sanitized
from tests.utp_native.helpers import A, B, key_pair, seeded
from tests.utp_native.hostile import PACKET_MAX, Hostile
from utp_native import (
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
    Address,
    ChannelClosed,
    EventKind,
    Pump,
    PumpConfig,
    source,
)

STEPS = 300
FOUND = Path(__file__).resolve().parents[2] / "fuzz" / "found" / "native"
CURRENT = source.cache_directory() / "fuzz-native.current"
CONFIG = PumpConfig(
    send_buffer=64 * 1024, receive_buffer=64 * 1024, receive_budget=256 * 1024, incoming_max=8
)
BATCH = 256 * 2048
"""Bytes that come with one batch: as much may exceed the budget, and a packet for each channel."""
SPARE = 128 * 32768
"""Bytes of pieces that a pump keeps for the next channel."""
HALF_USED = 2 * 2 * 32768
"""Bytes of a channel's two queues that hold nothing: pieces being read or filled."""
INTERESTING = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFE, 0xFF)
FIELDS = ((0, 1), (1, 1), (2, 2), (4, 4), (8, 4), (12, 4), (16, 2), (18, 2))
"""Offset and size of each field of a µTP header (BEP 29)."""


def mutated(data: bytes, choose: random.Random) -> bytes:
    """`data` with one to four alterations."""
    changed = bytearray(data)
    for _ in range(choose.randint(1, 4)):
        match choose.randrange(7):
            case 0 if changed:
                changed[choose.randrange(len(changed))] ^= 1 << choose.randrange(8)
            case 1 if changed:
                changed[choose.randrange(len(changed))] = choose.choice(INTERESTING)
            case 2:
                del changed[choose.randint(0, len(changed)) :]
            case 3:
                changed += choose.randbytes(choose.randint(1, 40))
            case 4 if len(changed) >= 20:
                offset, size = choose.choice(FIELDS)
                changed[offset : offset + size] = bytes([choose.choice(INTERESTING)]) * size
            case 5 if len(changed) >= 20:
                # A sequence or acknowledgement number near to what it was.
                offset = choose.choice((16, 18))
                number = int.from_bytes(changed[offset : offset + 2], "big")
                number += choose.randint(-2000, 2000)
                changed[offset : offset + 2] = (number & 0xFFFF).to_bytes(2, "big")
            case _ if len(changed) >= 20:
                # A chain of extensions before the payload.
                chain = bytearray()
                for _ in range(choose.randint(1, 4)):
                    length = choose.choice((0, 1, 4, 8, 128, 255))
                    chain += bytes([choose.randrange(4), length]) + choose.randbytes(length)
                changed[1] = choose.choice((1, 2, 3))
                changed[20:20] = chain
    return bytes(changed[:1400])


class Session:
    """Two pumps that talk over a network that alters, repeats and reorders."""

    def __init__(self, seed: int) -> None:
        self.choose = choose = random.Random(seed)
        self.now = choose.choice((1.0, 4293.0, 1e6))  # the second is near 2^32 microseconds
        self.kind = choose.choice(("bare", "bare", "sealed", "hostile"))
        # The packets of a hostile peer are sealed afterwards, so they have to be shorter.
        plain = replace(CONFIG, sealed_size_max=PACKET_MAX) if self.kind == "hostile" else CONFIG
        self.pumps = {
            A: Pump(None, random=seeded((seed, "a")), now=self.now, config=plain),
            B: Pump(None, random=seeded((seed, "b")), now=self.now, config=CONFIG),
        }
        self.suite = choose.choice((SUITE_XCHACHA20, SUITE_AEGIS256))
        self.damage = choose.choice((0.0, 0.02, 0.3))
        self.epoch = 0
        self.hostile: Hostile | None = None
        self.planes: dict[Address, int] = {}
        for side in (A, B):
            self.add_plane(side)
        self.channels: dict[Address, list[int]] = {A: [], B: []}
        self.seen: list[tuple[Address, bytes]] = []

    def run(self) -> None:
        """The whole session. Raises what is a defect."""
        for _ in range(STEPS):
            address = self.choose.choice((A, B))
            self.act(address)
            self.exchange()
            self.now += self.choose.choice((0, 0.0001, 0.01, 0.05, 0.3, 2.0))
            for side, pump in self.pumps.items():
                pump.handle_timeout(self.now)
                for event in pump.poll_events():
                    # One that went with its plane tells that it failed, and is no handle any more.
                    known = event.channel in self.channels[side]
                    if not known and event.kind is not EventKind.FAILED:
                        self.channels[side].append(event.channel)
                pump.poll_paths()
                self.check(pump)
        for pump in self.pumps.values():
            pump.close()

    def speaks_plainly(self, side: Address) -> bool:
        """Whether nothing is sealed by this side's pump."""
        return self.kind == "bare" or (self.kind == "hostile" and side == A)

    def add_plane(self, side: Address) -> None:
        """A plane with the keys of this epoch."""
        pump, other = self.pumps[side], B if side == A else A
        keys = key_pair(self.suite, epoch=str(self.epoch))
        if self.speaks_plainly(side):
            self.planes[side] = pump.add_bare_plane(other)
        else:
            self.planes[side] = pump.add_plane(keys[side == B])
        if self.kind == "hostile" and side == A:
            self.hostile = Hostile(keys[0], self.choose, lambda data: mutated(data, self.choose))

    def rekey(self, but: Address | None = None) -> None:
        """New keys for both sides, or for one where the other has them from the beginning."""
        choose = self.choose
        if but is None:
            self.epoch += 1
        keys = key_pair(self.suite, epoch=str(self.epoch))
        for side, pump in self.pumps.items():
            if self.hostile is not None and side == A:
                self.hostile.rekey(keys[0])
            elif side != but:
                pump.rekey_plane(
                    self.planes[side],
                    keys[side == B],
                    send_now=choose.random() < 0.5,
                    retire_s=choose.choice((0, 1, 30)),
                )

    def act(self, side: Address) -> None:
        pump, choose = self.pumps[side], self.choose
        channels = self.channels[side]
        if not channels or choose.random() < 0.03:
            if len(channels) < 8:
                channels.append(pump.open_channel(self.planes[side]))
            return
        channel = choose.choice(channels)
        try:
            match choose.randrange(12):
                case 0:
                    pump.finish(channel)
                case 1 if choose.random() < 0.2:
                    channels.remove(channel)
                    pump.close_channel(channel, abort=choose.random() < 0.3)
                case 2 if self.speaks_plainly(side):
                    pump.channel_figures(channel)
                case 2 if choose.random() < 0.3:
                    self.rekey()
                case 2 if choose.random() < 0.1:
                    pump.remove_plane(self.planes[side])
                    channels.clear()
                    self.epoch += 1
                    self.add_plane(side)
                    self.rekey(but=side)
                case 2:
                    pump.move_plane(self.planes[side], choose.choice((A, B)))
                case 3 | 4 | 5 | 6:
                    pump.read(channel, choose.choice((1, 1000, 100_000)))
                case _:
                    pump.write(channel, bytes(choose.choice((1, 100, 5000, 50_000))))
        except ChannelClosed:
            pass

    def exchange(self) -> None:
        for sender, target in ((A, B), (B, A)):
            batch = [datagram.data for datagram in self.pumps[sender].collect()]
            if self.hostile is not None:
                if sender == A:
                    batch = self.hostile.sealed(batch, self.damage)
                else:
                    batch = self.hostile.opened(batch)
            delivered = []
            for data in batch:
                self.seen.append((sender, data))
                fate = self.choose.random()
                if fate < self.damage:
                    delivered.append(mutated(data, self.choose))
                if fate < 0.95:
                    delivered.append(data)
            if self.seen and self.choose.random() < 0.3:
                _, old = self.choose.choice(self.seen)  # of either side
                delivered.append(mutated(old, self.choose) if self.damage else old)
            if self.choose.random() < 0.2:
                self.choose.shuffle(delivered)
            self.pumps[target].inject([(data, sender) for data in delivered], self.now)
        del self.seen[:-200]

    def check(self, pump: Pump) -> None:
        counters = pump.counters()
        channels = counters["channels"]
        # Those of closed channels count too: nothing but the bound keeps a peer from filling them.
        assert counters["buffered_max"] <= CONFIG.receive_budget + BATCH
        assert counters["buffered"] <= channels * CONFIG.receive_buffer
        waiting = channels * CONFIG.send_buffer
        assert counters["held"] <= counters["buffered"] + waiting + channels * HALF_USED + SPARE
        # Open, and over but still answering: those the peer opened, and those opened here.
        assert channels <= 17 * CONFIG.incoming_max + 64


def found() -> list[int]:
    """Seeds of sessions that broke something once."""
    return sorted(int(path.stem, 16) for path in FOUND.glob("*.seed"))


def _under_sanitizers(arguments: Sequence[str]) -> int:
    CURRENT.parent.mkdir(parents=True, exist_ok=True)
    CURRENT.unlink(missing_ok=True)
    status = sanitized.run(["-m", "tests.utp_native.fuzz", *arguments])
    if status and CURRENT.exists():
        seed = int(CURRENT.read_text(encoding="ascii"))
        FOUND.mkdir(parents=True, exist_ok=True)
        CURRENT.rename(FOUND / f"{seed:x}.seed")
        print(f"\nsession --seed {seed} is kept in {FOUND}", file=sys.stderr)
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="run one session again")
    options = parser.parse_args(arguments)
    if "UTP_NATIVE_MODULE" not in os.environ:
        return _under_sanitizers(sys.argv[1:] if arguments is None else arguments)
    if options.seed is not None:
        Session(options.seed).run()
        return 0
    end = time.monotonic() + options.seconds
    sessions = 0
    first = int.from_bytes(os.urandom(6), "big")
    for seed in itertools.chain(found(), itertools.count(first)):
        if time.monotonic() >= end:
            break
        # Said beforehand: a sanitizer ends the process where it stands.
        CURRENT.write_text(str(seed), encoding="ascii")
        Session(seed).run()
        sessions += 1
    CURRENT.unlink(missing_ok=True)
    print(f"{sessions} sessions of {STEPS} steps, nothing found", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
