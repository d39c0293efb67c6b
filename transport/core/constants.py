"""Constants of the protocol, which both sides must share, and then those a side may tune.

Sizes are bytes, times seconds unless the name says otherwise. The assertions at the end hold the
relations the argument in `docs/protocol/handshake.md` rests on.
"""

from __future__ import annotations

from typing import Final

# --- Datagrams -----------------------------------------------------------------------------------

DATAGRAM_SIZE_MAX: Final = 1200
"""Largest UDP payload ever sent: fits IPv6's minimum MTU of 1280 with room for tunnels."""

SEALED_SIZE_MAX: Final = 1120
"""Largest sealed datagram, so that a relay can wrap it."""

PAYLOAD_SIZE_MAX: Final = 1024
"""Largest application payload in one datagram."""

FIRST_DATA_SIZE_MAX: Final = 896
"""Largest first data that rides in P3, whatever else P3 has to carry."""

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
SIGNATURE_SIZE: Final = 64
CID_SIZE: Final = 8
PACKET_NUMBER_SIZE_MAX: Final = 9
PACKET_NUMBER_MAX: Final = 2**63 - 1
PACKET_NUMBER_AMBIGUITY_FACTOR: Final = 32
"""A packet number is told apart among this many times the distance to the last acknowledged one."""

REPLAY_WINDOW_MESSAGES: Final = 64
REPLAY_WINDOW_BULK: Final = 8192

# --- Handshake: what is on the wire --------------------------------------------------------------

MAGIC: Final = b"\xf1\x9a\x71"
"""Opens every handshake datagram; connection ids that begin with it are drawn again."""

VERSION: Final = 1
"""Generation of the layouts of P1 to P4."""

KIND_HELLO: Final = 1
KIND_CHALLENGE: Final = 2
KIND_INITIATE: Final = 3
KIND_ACCEPT: Final = 4
KIND_INITIATE_KNOWN: Final = 5
"""A P3 without a cookie, to a transient that is known already (0-RTT)."""
KIND_PROBE: Final = 6
"""A probe of a simultaneous open."""
KIND_INITIATE_CIRCLE: Final = 7
"""A P3 of limited circulation, with an outer MAC."""
KIND_INITIATE_ANONYMOUS: Final = 8
"""A P3 of an initiator that keeps its name to itself."""
KIND_INITIATE_MET: Final = 9
"""A P3 of a simultaneous open."""
KIND_INITIATE_TICKET: Final = 10
"""A P3 with the responder's own ticket."""
KIND_INITIATE_VOUCHED: Final = 11
"""A P3 with a third party's ticket."""

HANDSHAKE_1: Final = 1
HANDSHAKE_2: Final = 2
"""The two unauthenticated protocol ids. They differ in the label of the prologue only: there are
two so that the negotiation is something every peer does and every test run covers."""

SUITE_XCHACHA20: Final = 1
SUITE_AEGIS256: Final = 2
FRAMES_1: Final = 1
"""The three authenticated protocol ids: two suites for data and one generation of frames."""

ECHO_SIZE: Final = 8
COOKIE_SIZE: Final = 16
HINT_SIZE: Final = 8
HASH_SIZE: Final = 32
REFUSAL_HASH_SIZE: Final = 16
NONCE_SIZE: Final = 8
TID_SIZE: Final = 4
PUZZLE_PARTS: Final = 8
PUZZLE_PART_SIZE: Final = 3
SOLUTION_SIZE: Final = PUZZLE_PARTS * PUZZLE_PART_SIZE
EFFORT_MAX: Final = 2**23
"""Largest total effort: an eighth of it per part, so that among the 2^24 candidates of a part none
solves it with a probability below e^-16."""

OFFER_MAX: Final = 4
"""Handshake ids in one P1."""
LISTS_MAX: Final = 4
LISTS_SIZE_MAX: Final = 14
"""Encoded protocol lists, sealed or in a refusal."""

CIRCLE_TAG_SIZE: Final = 2
CLUE_SIZE: Final = 8
OUTER_MAC_SIZE: Final = 14
"""With the tag, as long as the refusal's hash, which a circle has no use for."""
INVITATION_ID_SIZE: Final = 16
INVITATION_MAC_SIZE: Final = 16
MEETING_TOKEN_SIZE: Final = 16

CLEAR_TICKS_PER_S: Final = 65536
"""Unit of the times in clear, which are 32-bit and start at a random origin."""

TRANSIENT_PERIOD_S: Final = 120.0
TRANSIENT_LIFE_S: Final = 2 * TRANSIENT_PERIOD_S
"""A transient is offered for one period and accepted for two."""
COOKIE_LIFE_S: Final = 30.0
"""How long after its issue a challenge may be answered."""
CIRCLE_TAG_PERIOD_S: Final = 60.0
"""How long the tag of a circle stays the same."""
CLUE_SKEW_S: Final = 60.0
"""How far the time in a clue may be from the responder's, either way."""
CLUE_MEMORY_S: Final = 2 * CLUE_SKEW_S
"""How long the nonces of clues are remembered: as long as the clue could be taken again."""
INVITATION_LIFE_S: Final = 600.0
"""A ticket is good for so long at most."""
AMPLIFICATION_MAX: Final = 3
"""Bytes to an address that has not been validated, per byte that came from it."""

# --- Handshake: tuning ---------------------------------------------------------------------------

SEQUENCE_TRIES_MAX: Final = 3
"""P3s of little effort that may fail to authenticate under one sequence; with more it is one."""
SEQUENCE_TRIES_EFFORT: Final = 64
"""So much effort makes it one: a changed P3 then passes for solved by chance once in 2^24."""
SEQUENCES_MAX: Final = 2**17
"""Burnt sequences remembered per transient; a full table raises the effort."""
EPHEMERALS_MAX: Final = 2**17
"""Ephemerals remembered per transient."""
ANSWERS_MAX: Final = 2**13
"""P4s kept per transient to answer byte-identical P3s: 10 MB at worst."""
ANSWER_RESENDS_MAX: Final = 16
"""Times one P4 is sent again."""
CHALLENGES_MAX: Final = 3
"""P2s considered for one P1."""
CHALLENGE_CHECKS_MAX: Final = 16
"""Signatures of challenges verified for one P1: what forged ones can cost the initiator."""
REFUSALS_MAX: Final = 1
"""Refusals an attempt follows."""
PUZZLE_WORK_MAX: Final = 2**21
"""Hashes an attempt may spend on puzzles: about 2 s of one core."""

CLUES_MAX: Final = 2**16
"""Nonces of clues remembered; beyond it hellos of circles meet silence."""
CIRCLES_MAX: Final = 256
"""Group secrets one responder answers to."""
INVITATIONS_MAX: Final = 2**16
"""Tickets and meetings a responder remembers at once."""
PROBES_MAX: Final = 5
"""Probes sent to each address of a simultaneous open: what an introducer can make a node send."""
PROBE_ADDRESSES_MAX: Final = 8
"""Addresses probed in one simultaneous open."""

REPEAT_CHALLENGES_PER_S: Final = 1000.0
"""P2s in answer to P3s, which are not worth the answer when they come faster."""
REPEAT_CHALLENGES_BURST: Final = 100
KNOWN_BURST_S: Final = 0.1
"""Seconds' worth of 0-RTT P3s taken at once after a pause."""
EFFORT_INTERVAL_S: Final = 1.0
"""How often the effort follows the load."""
ADDRESS_LOAD_RANGES_MAX: Final = 4096
"""Address ranges told apart when load is attributed."""
ADDRESS_LOAD_COUNTED_MIN: Final = 32
"""P3s counted before any range has a level of load."""
ADDRESS_LOAD_SHARE: Final = 16
"""One part in so many is the least share that gives a range a level of load."""
WAITING_LOW_FRACTION: Final = 1 / 16
"""A queue that never held more than this fraction of its bound was nearly empty."""

assert PAYLOAD_SIZE_MAX + CID_SIZE + PACKET_NUMBER_SIZE_MAX + TAG_SIZE <= SEALED_SIZE_MAX
assert SEALED_SIZE_MAX < DATAGRAM_SIZE_MAX
assert COOKIE_LIFE_S < TRANSIENT_PERIOD_S
assert CLUE_MEMORY_S >= 2 * CLUE_SKEW_S, "a forgotten clue is too old to be taken again"
assert CIRCLE_TAG_SIZE + OUTER_MAC_SIZE == REFUSAL_HASH_SIZE
assert TRANSIENT_LIFE_S * CLEAR_TICKS_PER_S < 2**31, "clear times compare within half their range"
assert EFFORT_MAX // PUZZLE_PARTS * 16 <= 2 ** (8 * PUZZLE_PART_SIZE)
