"""Noise's handshake patterns as data, and as the steps of one side. Framework, sections 7 to 9."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from transport.core.constants import KEY_SIZE, TAG_SIZE
from transport.core.errors import LocalError

SUITE_NAME: Final = "25519_ChaChaPoly_BLAKE2b"
HASH_SIZE: Final = 64
PSKS_MAX: Final = 4
"""Pre-shared keys of one pattern; src/crypto/noise.h has room for as many."""

# Section 7 and 18. Before the colon is the name; what comes before "..." is known beforehand.
_PATTERNS = {
    name.strip(): text.strip()
    for name, text in (
        line.split(":", 1)
        for line in """
        N:    <- s ... -> e, es
        K:    -> s | <- s ... -> e, es, ss
        X:    <- s ... -> e, es, s, ss
        NN:   -> e | <- e, ee
        KN:   -> s ... -> e | <- e, ee, se
        NK:   <- s ... -> e, es | <- e, ee
        KK:   -> s | <- s ... -> e, es, ss | <- e, ee, se
        NX:   -> e | <- e, ee, s, es
        KX:   -> s ... -> e | <- e, ee, se, s, es
        XN:   -> e | <- e, ee | -> s, se
        IN:   -> e, s | <- e, ee, se
        XK:   <- s ... -> e, es | <- e, ee | -> s, se
        IK:   <- s ... -> e, es, s, ss | <- e, ee, se
        XX:   -> e | <- e, ee, s, es | -> s, se
        IX:   -> e, s | <- e, ee, se, s, es
        NK1:  <- s ... -> e | <- e, ee, es
        NX1:  -> e | <- e, ee, s | -> es
        X1N:  -> e | <- e, ee | -> s | <- se
        X1K:  <- s ... -> e, es | <- e, ee | -> s | <- se
        XK1:  <- s ... -> e | <- e, ee, es | -> s, se
        X1K1: <- s ... -> e | <- e, ee, es | -> s | <- se
        X1X:  -> e | <- e, ee, s, es | -> s | <- se
        XX1:  -> e | <- e, ee, s | -> es, s, se
        X1X1: -> e | <- e, ee, s | -> es, s | <- se
        K1N:  -> s ... -> e | <- e, ee | -> se
        K1K:  -> s | <- s ... -> e, es | <- e, ee | -> se
        KK1:  -> s | <- s ... -> e | <- e, ee, se, es
        K1K1: -> s | <- s ... -> e | <- e, ee, es | -> se
        K1X:  -> s ... -> e | <- e, ee, s, es | -> se
        KX1:  -> s ... -> e | <- e, ee, se, s | -> es
        K1X1: -> s ... -> e | <- e, ee, s | -> se, es
        I1N:  -> e, s | <- e, ee | -> se
        I1K:  <- s ... -> e, es, s | <- e, ee | -> se
        IK1:  <- s ... -> e, s | <- e, ee, se, es
        I1K1: <- s ... -> e, s | <- e, ee, es | -> se
        I1X:  -> e, s | <- e, ee, s, es | -> se
        IX1:  -> e, s | <- e, ee, se, s | -> es
        I1X1: -> e, s | <- e, ee, s | -> se, es
        """.strip().splitlines()
    )
}
_NAME = re.compile(r"Noise_([A-Z]1?(?:[A-Z]1?)?)((?:psk\d(?:\+psk\d)*)?)_" + SUITE_NAME)


class Pattern(NamedTuple):
    """A handshake pattern, ready to run."""

    first_hash: bytes
    """h and ck after InitializeSymmetric."""
    known: tuple[bytes, bytes]
    """Whose static keys are known beforehand, a byte each, as the responder and as the initiator
    see it: 0 ours, 1 theirs."""
    messages: tuple[tuple[str, ...], ...]
    """Tokens, message by message; the initiator writes the first."""
    psks: int
    """How many pre-shared keys the tokens consume."""


@lru_cache(64)
def pattern(name: str) -> Pattern:
    """The pattern of a full protocol name. Raises `LocalError` for a name this cannot run."""
    match = _NAME.fullmatch(name)
    if match is None or match[1] not in _PATTERNS:
        raise LocalError(f"no Noise protocol {name!r}")
    before, dots, after = _PATTERNS[match[1]].rpartition("...")
    messages = [[token.strip() for token in text[2:].split(",")] for text in _lines(after)]
    modifiers = [int(digit) for digit in re.findall(r"psk(\d)", match[2])]
    for place in modifiers:
        if place > len(messages):
            raise LocalError(f"{name!r} has no message {place}")
        # Section 9.4: psk0 comes before the first message, pskN at the end of the Nth.
        if place == 0:
            messages[0].insert(0, "psk")
        else:
            messages[place - 1].append("psk")
    if len(modifiers) > PSKS_MAX:
        raise LocalError(f"{name!r} has more than {PSKS_MAX} pre-shared keys")
    encoded = name.encode()
    return Pattern(
        encoded.ljust(HASH_SIZE, b"\0") if len(encoded) <= HASH_SIZE else blake2b(encoded).digest(),
        (_known(before if dots else "", "<-"), _known(before if dots else "", "->")),
        tuple(tuple(message) for message in messages),
        len(modifiers),
    )


def _known(before: str, ours: str) -> bytes:
    """The initiator's key is mixed in first (5.3)."""
    told = [line[:2] for line in _lines(before)]
    return bytes(way != ours for way in ("->", "<-") if way in told)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("|") if line.strip()]


E, S, PSK, DH = range(4)
_KEY_SIZES = {E: KEY_SIZE, S: KEY_SIZE + TAG_SIZE}


class Step(NamedTuple):
    """A token as one side carries it out."""

    kind: int
    keyed: bool
    """Something is encrypted before the next key is mixed in, so the key has to be derived."""
    ours_static: bool
    theirs_static: bool


class Message(NamedTuple):
    """A message as one side carries it out."""

    steps: tuple[Step, ...]
    code: bytes
    """The steps, a byte each: what src/crypto/noise.h says."""
    needs_ephemeral: bool
    needs_static: bool
    """Of our own keys; those of the other side have come, or are known beforehand."""
    brings_ephemeral: bool
    brings_static: bool
    """Of the other side's, if it is read."""
    overhead_max: int
    """Bytes beyond the payload, at most."""


@lru_cache(128)
def plan(name: str, initiator: bool) -> tuple[Message, ...]:
    """Message by message, what this side does. Raises as `pattern` does."""
    run = pattern(name)
    made = []
    for turn, tokens in enumerate(run.messages):
        writes = (turn % 2 == 0) is initiator
        steps = tuple(_steps(tokens, initiator, run.psks > 0))
        shared = [step for step in steps if step.kind == DH]
        kinds = [step.kind for step in steps]
        message = Message(
            steps,
            bytes(map(_code, steps)),
            (writes and E in kinds) or any(not step.ours_static for step in shared),
            (writes and S in kinds) or any(step.ours_static for step in shared),
            not writes and E in kinds,
            not writes and S in kinds,
            sum(_KEY_SIZES.get(kind, 0) for kind in kinds) + TAG_SIZE,
        )
        made.append(message)
    return tuple(made)


def _code(step: Step) -> int:
    return step.kind | step.keyed << 2 | step.ours_static << 3 | step.theirs_static << 4


def _steps(message: tuple[str, ...], initiator: bool, psk_mode: bool) -> Iterator[Step]:
    for token, following in zip(message, (*message[1:], ""), strict=True):
        mixes_next = following not in ("", "s") and (following != "e" or psk_mode)
        if token in ("e", "s", "psk"):
            kind = {"e": E, "s": S, "psk": PSK}[token]
            yield Step(kind, not mixes_next, False, False)
        else:
            # The first letter is the initiator's key, the second the responder's.
            ours, theirs = (token[0], token[1]) if initiator else (token[1], token[0])
            yield Step(DH, not mixes_next, ours == "s", theirs == "s")
