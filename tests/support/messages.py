"""Group messages written down by hand."""

from __future__ import annotations

from consensus.core.message_kinds import Message, message_of


def message(kind: int, *fields: object) -> Message:
    """The message of a kind with these fields: view, clock, mark, then what the kind says."""
    return message_of((kind, *fields))
