"""Keys of a bulk plane that come a second time: never installed again, and no fault of the node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.utp_native.helpers import A, B, key_pair, seeded
from transport.channel_table import ChannelTable
from transport.core.errors import LocalError
from transport.core.events import BulkPlane, PlaneKeys
from utp_native import Pump

OWN, PEER, OTHER = b"o" * 32, b"p" * 32, b"q" * 32


def plane(epoch: str, peer: bytes = PEER) -> BulkPlane:
    keys, _ = key_pair(a=A, b=B, epoch=epoch)
    return BulkPlane(peer, 7, PlaneKeys(**vars(keys)))


def table() -> tuple[Pump, ChannelTable]:
    pump = Pump(None, random=seeded("pump"), now=0.0)
    made = ChannelTable(
        OWN, pump, lambda: None, lambda: None,
        lambda peer, wanted: None, lambda peer, channel: None,
    )  # fmt: skip
    return pump, made


def sent_under(pump: Pump, event: BulkPlane) -> list[bytes]:
    cid = event.plane.send_cid
    return [data for data, _ in pump.collect() if data[:8] == cid]


def test_the_present_keys_told_again_change_nothing() -> None:
    pump, channels = table()
    first = plane("first")
    channels.add_plane(first)
    channels.open(PEER)
    one = sent_under(pump, first)
    channels.add_plane(first)
    channels.open(PEER)
    two = sent_under(pump, first)
    assert one
    assert two
    # Both open a channel under one key: the same masked counter would be the same nonce.
    assert not {data[:12] for data in one} & {data[:12] for data in two}


def test_earlier_keys_told_again_are_never_used_again() -> None:
    pump, channels = table()
    first, second = plane("first"), plane("second")
    for event in (first, second):
        channels.add_plane(event)
        channels.open(PEER)
        assert sent_under(pump, event)
    channels.add_plane(first)
    with pytest.raises(LocalError):
        channels.open(PEER)
    assert sent_under(pump, first) == []
    channels.add_plane(plane("third"))
    channels.open(PEER)
    assert sent_under(pump, plane("third"))


def test_an_id_in_use_by_another_peer_ends_nothing_but_this_peers_bulk() -> None:
    pump, channels = table()
    first, theirs = plane("first"), plane("theirs", OTHER)
    channels.add_plane(first)
    taken = replace(theirs.plane, receive_cid=first.plane.receive_cid)
    channels.add_plane(replace(theirs, plane=taken))  # the pump refuses it: raises nothing
    with pytest.raises(LocalError):
        channels.open(OTHER)
    channels.open(PEER)
    assert sent_under(pump, first)
