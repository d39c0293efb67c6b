"""Planes for bulk that nobody uses: the pump hears of them when there is use, and never twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import anyio
import pytest

from tests.support.network.endpoints import open_pair
from tests.support.nodes.nodes import PATIENCE_S
from tests.transport.test_endpoint import Echo
from tests.utp_native.helpers import key_pair, seeded
from transport.channel import Channel
from transport.channel_table import ChannelTable
from transport.core.errors import LocalError
from transport.core.events import BulkPlane, PlaneKeys
from transport.core.types import Address
from transport.endpoint import Endpoint
from transport.udp_socket import bind
from utp_native import NativeError, Pump

OWN = b"m" * 32
HERE: Address = ("10.0.0.1", 1000)
CIDS_PER_PLANE = 2  # of the pump: the present keys, and those before

pytestmark = pytest.mark.anyio


async def test_the_pump_hears_of_a_plane_when_it_is_used() -> None:
    async with open_pair() as (one, other):
        assert (one.counters()["planes"], other.counters()["planes"]) == (0, 0)
        mine, theirs = await one.channel(other)
        assert (one.counters()["planes"], other.counters()["planes"]) == (1, 1)
        await mine.aclose()
        await theirs.aclose()


class Planes(Echo):
    """A machine that tells of a plane with the datagram that is named after it."""

    def __init__(self, planes: dict[bytes, BulkPlane]) -> None:
        super().__init__()
        self._planes = planes
        self.used = 0

    def receive_datagrams(self, batch: Sequence[tuple[bytes, Address]], now: float) -> bool:
        self.events += [self._planes[data] for data, _ in batch if data in self._planes]
        return False

    def keep(self, peer: bytes, wanted: bool) -> None:
        self.used += wanted


@pytest.mark.parametrize("used_before", [False, True])
async def test_bulk_that_comes_with_its_keys_is_not_lost(used_before: bool) -> None:
    """The first bulk under keys comes right behind the datagram that brings them, at the beginning
    of a presence and whenever its keys are renewed, whether or not the plane was used before."""
    with bind("127.0.0.1:0") as there, bind("127.0.0.1:0") as sock:
        ours: dict[bytes, BulkPlane] = {}
        theirs = []
        for name in (b"first", b"second"):
            a, b = key_pair(a=there.getsockname(), b=sock.getsockname(), epoch=name.decode())
            # The peer's key is the smaller one: its channels have even numbers.
            ours[name] = BulkPlane(b"a" * 32, 7, PlaneKeys(**vars(b)))
            theirs.append(a)
        peer = Pump(there.fileno(), random=seeded("peer"), now=anyio.current_time())
        machine = Planes(ours)
        endpoint = Endpoint(
            machine, OWN, sock, on_event=lambda event: None, on_channel=lambda peer, channel: None
        )
        opened = []
        with endpoint.opened():
            plane = peer.add_plane(theirs[0])
            there.sendto(b"first", endpoint.address)
            if used_before:
                peer.open_channel(plane)
            endpoint._readable()
            opened.append(endpoint._pump.counters()["bulk_opened"])
            peer.rekey_plane(plane, theirs[1], send_now=True)
            there.sendto(b"second", endpoint.address)
            peer.open_channel(plane)
            endpoint._readable()
            opened.append(endpoint._pump.counters()["bulk_opened"])
        peer.close()
    assert opened == [int(used_before), int(used_before) + 1]
    assert machine.used == 1


class CountingPump:
    """What a pump would refuse, and which keys it was given."""

    def __init__(self) -> None:
        self.planes: dict[int, list[bytes]] = {}
        self.routes: dict[bytes, int] = {}
        self.installed: Counter[tuple[bytes, bytes]] = Counter()
        self._last = 0

    def _install(self, handle: int, keys: PlaneKeys) -> None:
        if keys.receive_cid in self.routes:
            raise NativeError("in use")
        self.planes.setdefault(handle, []).append(keys.receive_cid)
        self.routes[keys.receive_cid] = handle
        self.installed[keys.receive_cid, keys.send_key] += 1

    def add_plane(self, keys: PlaneKeys) -> int:
        self._last += 1
        self._install(self._last, keys)
        return self._last

    def rekey_plane(self, handle: int, keys: PlaneKeys, *, send_now: bool) -> None:
        self._install(handle, keys)
        if len(self.planes[handle]) > CIDS_PER_PLANE:
            del self.routes[self.planes[handle].pop(0)]

    def remove_plane(self, handle: int) -> None:
        for cid in self.planes.pop(handle):
            del self.routes[cid]

    def move_plane(self, handle: int, address: Address) -> None:
        assert handle in self.planes

    def open_channel(self, handle: int) -> int:
        assert handle in self.planes
        self._last += 1
        return self._last

    def close_channel(self, handle: int, *, abort: bool) -> None:
        assert handle <= self._last

    def poll_events(self) -> list[object]:
        return []


def _consistent(table: ChannelTable, pump: CountingPump) -> None:
    idle = set(table._idle_of)
    assert {table._idle[cid].peer for cid in table._idle_of.values()} == idle
    assert len(table._idle) == len(idle)
    assert not idle & set(table._planes)
    assert not (idle | set(table._planes)) & set(table._expected)
    assert set(pump.planes) == {handle for handle, _, _ in table._planes.values()}
    assert set(table._used) <= set(table._planes)


@pytest.mark.parametrize("seed", range(300))
def test_whatever_happens_no_keys_are_installed_twice(seed: int) -> None:
    """Presences that come, are renewed, told again, moved, restarted and gone, with and without
    channels, ids that two peers share among them; and nothing is left at the end."""
    draw, pump = random.Random(seed), CountingPump()
    table = ChannelTable(
        OWN, pump, lambda: None, lambda: None,  # type: ignore[arg-type]
        lambda peer, wanted: None, lambda peer, channel: None,
    )  # fmt: skip
    peers = [bytes([65 + number]) * 32 for number in range(3)]
    told: dict[bytes, list[BulkPlane]] = {peer: [] for peer in peers}
    template = PlaneKeys(**vars(key_pair()[0]))
    lives = dict.fromkeys(peers, 1)
    for step in range(60):
        peer, action = draw.choice(peers), draw.randrange(9)
        if action <= 2:
            cid, key = step.to_bytes(8, "big"), step.to_bytes(32, "big")
            if draw.random() < 0.08 and table._idle:
                cid = draw.choice(list(table._idle))
            keys = replace(template, receive_cid=cid, send_key=key, suite=draw.choice((1, 1, 1, 2)))
            event = BulkPlane(peer, lives[peer], keys)
            if draw.random() < 0.1 and told[peer]:
                event = draw.choice(told[peer][-3:])
            told[peer].append(event)
            table.add_plane(event, needed=draw.random() < 0.2)
        elif action == 3:
            known = [event.plane.receive_cid for events in told.values() for event in events]
            batch = [(draw.choice([*known, bytes(8)]) + b"...", HERE) for _ in range(3)]
            idle = set(table._idle)
            assert table.claim(batch) == [each for each in batch if each[0][:8] in idle]
            assert not any(each[0][:8] in table._idle for each in batch)
        elif action == 4:
            try:
                assert isinstance(table.open(peer), Channel)
            except LocalError:
                assert peer not in table._planes
        elif action == 5:
            table.remove_plane(peer)
            table.expect(peer, False)
        elif action == 6:
            table.move_plane(peer, ("10.0.0.9", 9))
        elif action == 7:
            table.expect(peer, True)
        else:
            lives[peer] += 1
            table.remove_plane(peer)
            table.expect(peer, False)
            table.expect(peer, True)
        _consistent(table, pump)
    assert max(pump.installed.values(), default=0) <= 1
    table.close()
    assert not table._idle
    assert not table._idle_of
    assert not table._expected


async def test_who_waits_for_a_plane_is_woken_by_an_idle_one() -> None:
    pump = Pump(None, random=seeded("pump"), now=0.0)
    table = ChannelTable(
        OWN, pump, lambda: None, lambda: None,
        lambda peer, wanted: None, lambda peer, channel: None,
    )  # fmt: skip
    event = BulkPlane(b"p" * 32, 7, PlaneKeys(**vars(key_pair()[0])))
    table.expect(event.peer, True)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(table.expected, event.peer)
        await anyio.wait_all_tasks_blocked()
        table.add_plane(event, needed=False)
        with anyio.fail_after(PATIENCE_S):
            await table.expected(event.peer)
    assert pump.counters()["planes"] == 0
    assert table.open(event.peer)
    assert pump.counters()["planes"] == 1
    table.close()
    pump.close()
