"""What can go wrong, by whose fault it is.

The rule: nothing a peer sends raises a `LocalError`, and nothing the caller does raises a
`RemoteError`.
"""

from __future__ import annotations


class TransportError(Exception):
    """Any error of the transport."""


class LocalError(TransportError):
    """The caller asked for something that cannot be done."""


class RemoteError(TransportError):
    """A peer, or somebody who pretends to be one, did not keep to the protocol."""


class WireError(RemoteError):
    """Bytes from the network that are not what they should be.

    The one error an untrusted decoder raises: malformed, unauthentic and out of bounds look alike,
    because no caller may treat them differently.
    """


class LaneFull(LocalError):
    """A peer's lane holds as much as it may; wait until it is relieved."""


class UnknownPeer(LocalError):
    """There is no presence with this key, and none is being set up."""
