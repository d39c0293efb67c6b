"""Channels between peers, moved natively: libutp, and the pump that seals and sends for it.

The extension is loaded when a name of it is first asked for, so that the build, which is part of
this package, can run before it exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from utp_native.types import (
    SUITE_AEGIS256,
    SUITE_XCHACHA20,
    Address,
    ChannelClosed,
    ChannelEvent,
    EventKind,
    NativeError,
    PathEvent,
    PlaneKeys,
    PumpConfig,
    Reason,
    TooMany,
    Transmit,
    UnknownHandle,
)

if TYPE_CHECKING:
    from utp_native.pump import Pump

__all__ = [
    "SUITE_AEGIS256",
    "SUITE_XCHACHA20",
    "Address",
    "ChannelClosed",
    "ChannelEvent",
    "EventKind",
    "NativeError",
    "PathEvent",
    "PlaneKeys",
    "Pump",
    "PumpConfig",
    "Reason",
    "TooMany",
    "Transmit",
    "UnknownHandle",
]


def __getattr__(name: str) -> Any:
    if name == "Pump":
        from utp_native.pump import Pump

        return Pump
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
